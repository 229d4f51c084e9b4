"""Which frames of a window are given and at what level: all that a denoiser is told of its task.

Nothing given is unconditional generation, first frames given is prediction, both ends given is interpolation. Training
may add windows in which every frame is to be made from a level of its own (diffusion forcing, arXiv 2407.01392).

Not here: the network that is told (lvdm/models/denoiser.py) and the loss (objective.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lvdm.diffusion.noise import draw_uniform
from lvdm.diffusion.schedule import Schedule
from lvdm.models.condition import Condition
from lvdm.params import DenoiserObjective
from lvdm.transfers import sent

# (z "b c t h w", level "b t", stride "b", condition of b windows) -> "b c t h w" in the network's own prediction
DenoiserFn = Callable[[Tensor, Tensor, Tensor, Condition], Tensor]


@dataclass(frozen=True)
class FrameConditions:
    """Frames that are `given`, and the noise `level` of every frame, in [0, 1]."""

    given: Bool[Tensor, "b t"]
    level: Float[Tensor, "b t"]

    def to(self, device: torch.device) -> FrameConditions:
        return FrameConditions(sent(self.given, device), sent(self.level, device))

    @property
    def raised(self) -> Bool[Tensor, "b t"]:
        """The given frames at level 1, of which the denoiser sees nothing."""
        return self.given & (self.level == 1)

    def hidden(self) -> FrameConditions:
        """All given frames raised: what the unconditional pass of guidance is told."""
        return FrameConditions(self.given, self.level.masked_fill(self.given, 1.0))

    def at(self, level: float) -> FrameConditions:
        """The same task with all frames to make at `level`."""
        return FrameConditions(self.given, self.level.masked_fill(~self.given, level))

    def noised(
        self, schedule: Schedule, latent: Float[Tensor, "b c t h w"], noise: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b c t h w"]:
        """The window as the denoiser sees it: each frame diffused to its level, given frames at level 1 pure noise.

        The latter is exact for any schedule: nothing of a hidden frame is left, though alpha(1) may be above 0.
        """
        raised = rearrange(self.raised, "b t -> b 1 t 1 1")
        return torch.where(raised, noise, schedule.diffuse(latent, noise, self.level))


def draw_frame_conditions(
    objective: DenoiserObjective, window: int, generators: Sequence[torch.Generator]
) -> FrameConditions:
    """The task of each training window, drawn from its own generator.

    Frames to make share a level t of (0, 1], the top included; in a window of independent levels nothing is given and
    each frame has its own. Given frames share a level s of [0, max_level) and, with probability `raise_given`, are
    hidden at level 1 instead: the pattern of the unconditional pass of guidance.
    """
    tasks = objective.tasks
    assert window >= 3 or tasks.interpolate == 0, "a frame to make between the ends that interpolation is given"
    assert objective.max_given < window, "a frame to make after those that prediction is given"
    drawn, t_of_frames = draw_uniform(generators, 5 + window).split([5, window], dim=1)
    task, count, t, s, raised = drawn.unsqueeze(-1).unbind(1)
    position = torch.arange(window, device=task.device)
    predict = task < tasks.predict
    interpolate = ~predict & (task < tasks.predict + tasks.interpolate)
    independent = task >= 1 - tasks.independent
    first = position <= (count * objective.max_given).floor()
    ends = (position == 0) | (position == window - 1)
    given = predict & first | interpolate & ends
    given_level = torch.where(raised < objective.raise_given, 1.0, s * objective.perturbation.max_level)
    return FrameConditions(given, torch.where(given, given_level, 1 - torch.where(independent, t_of_frames, t)))
