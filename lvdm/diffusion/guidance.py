"""Guidance: away from what the denoiser would make without the given frames, and without the prompt.

Not here: the steps of sampling (samplers.py) and when guidance can have an effect (sampling.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lvdm.diffusion.frame_conditions import DenoiserFn, FrameConditions
from lvdm.diffusion.perturbation import add_perturbed_condition
from lvdm.models.condition import Condition

ROUNDING = 1e-9  # 1 - 0.7 - 0.3 is a little more than 0


@dataclass(frozen=True)
class Guidance:
    """How far to go away from predictions that are told less: at 0 they play no part, at -1 one is taken instead.

    `guided_prediction` has the equation.
    """

    frames: float  # w: away from the prediction that is told neither the given frames nor the prompt
    condition: float  # u: away from the prediction that is told the given frames without the prompt

    @property
    def of_passes(self) -> tuple[float, float, float]:
        """The weights of eps(z, c, y), eps(z) and eps(z, c), which sum to 1; a pass of weight 0 is not run."""
        conditional = 1 + self.frames + self.condition
        return 0.0 if abs(conditional) < ROUNDING else conditional, -self.frames, -self.condition

    @property
    def num_passes(self) -> int:
        return sum(weight != 0 for weight in self.of_passes)


def guided_prediction(
    denoiser: DenoiserFn,
    z: Float[Tensor, "b c t h w"],
    conditions: FrameConditions,
    stride: Int[Tensor, "b"],
    condition: Condition,
    *,
    noise: Float[Tensor, "b c t h w"],
    guidance: Guidance,
    perturbation_alpha: float,
) -> Float[Tensor, "b c t h w"]:
    """(1 + w) eps(z, c) - w eps(z), in the denoiser's own prediction; to be used on the frames to make alone.

    With c the given frames and y the prompt (label or text), w and u the weights of frames and prompt:

        eps = (1 + w + u) eps(z, c, y) - w eps(z) - u eps(z, c)

    In eps(z) the given frames are replaced by `noise`, at level 1, and the prompt is dropped: it sees neither.
    The weights sum to 1 and at equal z and level eps, v and x0 are affine in each other, so mixing v or x0 is mixing
    eps. At alpha = 0 only v and x0 still say something of the video, which is why the mix is not converted to eps.
    Passes of weight 0 are not run; the others run as one batch, and are mixed in float32.
    """
    null = condition.null()
    z_hidden = torch.where(rearrange(conditions.given, "b t -> b 1 t 1 1"), noise, z)
    conditional, unconditional, unprompted = guidance.of_passes
    passes = [
        (conditional, z, conditions.level, condition),
        (unconditional, z_hidden, conditions.hidden().level, null),
        (unprompted, z, conditions.level, null),
    ]
    weights, inputs, levels, asked = zip(*(p for p in passes if p[0] != 0), strict=True)
    n = len(weights)
    given = conditions.given.repeat(n, 1)
    outputs = denoiser(
        add_perturbed_condition(torch.cat(inputs), given, perturbation_alpha),
        torch.cat(levels),
        stride.repeat(n),  # laid out as any other batch: einops gives one window's as a view, compiled for by itself
        Condition.of_passes(asked),
    )
    return torch.stack([weight * o.float() for weight, o in zip(weights, outputs.chunk(n), strict=True)]).sum(dim=0)
