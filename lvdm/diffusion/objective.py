"""The loss that a denoiser learns from: on frames to be made only, weighted by level.

Not here: the training loop (lvdm/training) and which task is drawn (frame_conditions.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lvdm.diffusion.frame_conditions import DenoiserFn, FrameConditions, draw_frame_conditions
from lvdm.diffusion.noise import draw_noise, draw_uniform
from lvdm.diffusion.perturbation import add_perturbed_condition
from lvdm.diffusion.schedule import Prediction, Schedule, target_of
from lvdm.models.condition import Condition
from lvdm.params import DenoiserObjective
from lvdm.transfers import sent


@dataclass(frozen=True)
class Draws:
    """All that is drawn for a batch of windows: the tasks, whose conditions are `dropped`, and the noise."""

    conditions: FrameConditions
    dropped: Bool[Tensor, "b"]
    noise: Float[Tensor, "b c t h w"]

    @classmethod
    def of(
        cls, objective: DenoiserObjective, latent: Float[Tensor, "b c t h w"], generators: Sequence[torch.Generator]
    ) -> Draws:
        """Those of each window from its own generator, the noise of the shape, dtype and device of `latent`.

        With raised given frames the condition is dropped too, which is the unconditional pass of guidance.
        """
        conditions = draw_frame_conditions(objective, latent.shape[2], generators)
        dropped = draw_uniform(generators, 1).squeeze(1) < objective.drop_condition
        return cls(conditions, dropped | conditions.raised.any(dim=1), draw_noise(generators, latent))

    def to(self, device: torch.device) -> Draws:
        return Draws(self.conditions.to(device), sent(self.dropped, device), sent(self.noise, device))


@dataclass(frozen=True)
class DenoisingLoss:
    """The weighted `loss` to minimise, and the unweighted `error` of every window."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, "b"]


def denoising_loss(
    denoiser: DenoiserFn,
    latent: Float[Tensor, "b c t h w"],
    stride: Int[Tensor, "b"],
    condition: Condition,
    objective: DenoiserObjective,
    draws: Draws,
    level: float | None = None,
) -> DenoisingLoss:
    """The loss on a batch of whitened windows, for what was drawn for them, on their device.

    A window's loss is the mean over its frames to make (given frames carry no weight), the batch's the mean over its
    windows. A `level` replaces the one drawn for the frames to make; task and noise stay as drawn. So, with generators
    seeded by window, a validation loss is always of the same tasks, levels and noise.
    """
    schedule, noise = Schedule(objective.schedule), draws.noise
    conditions = draws.conditions if level is None else draws.conditions.at(level)

    z = add_perturbed_condition(
        conditions.noised(schedule, latent, noise), conditions.given, objective.perturbation.alpha
    )
    output = denoiser(z, conditions.level, stride, condition.dropped(draws.dropped))

    alpha, sigma = schedule.alpha_sigma(conditions.level)
    over_frames = (rearrange(s, "b t -> b 1 t 1 1") for s in (alpha, sigma))
    residual = output - target_of(objective.prediction, latent, noise, *over_frames)
    error = reduce(residual.abs() if objective.loss == "l1" else residual.square(), "b c t h w -> b t", "mean")
    weight = torch.ones_like(error)
    if objective.min_snr_gamma is not None:
        weight = min_snr_weight(objective.prediction, alpha, sigma, objective.min_snr_gamma)
        weight = weight.sqrt() if objective.loss == "l1" else weight

    made = ~conditions.given
    num_made = made.sum(dim=1)
    return DenoisingLoss(
        loss=((weight * error * made).sum(dim=1) / num_made).mean(),
        error=((error * made).sum(dim=1) / num_made).detach(),
    )


def min_snr_weight(
    prediction: Prediction, alpha: Float[Tensor, "*shape"], sigma: Float[Tensor, "*shape"], gamma: float
) -> Float[Tensor, "*shape"]:
    """The weight of a squared error that makes it min(SNR, gamma) times the squared error of x0 (arXiv 2303.09556).

    Errors of x0, eps and v relate as 1 : alpha/sigma : 1/sigma, thus the weights are min(SNR, gamma),
    min(SNR, gamma) / SNR and min(SNR, gamma) / (SNR + 1); finite at both ends of the schedule.
    An absolute error takes the root of it.
    """
    signal, noise = alpha.square(), sigma.square()
    match prediction:
        case "x0":
            return (signal / noise).clamp(max=gamma)
        case "eps":
            return (gamma * noise / signal).clamp(max=1)
        case "v":
            return torch.minimum(signal, gamma * noise)
