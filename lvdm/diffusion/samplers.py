"""Samplers: functions that walk noise down a list of levels, over a closure that predicts x0 from (z, level).

They see the frames to make and nothing else, so no sampler can touch a given frame.

Not here: what the closure does (sampling.py: given frames, guidance, the network).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.diffusion.noise import draw_noise
from lvdm.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, float], Tensor]


def uniform_levels(start: float, steps: int) -> list[float]:
    """`steps` levels evenly down from `start`, then 0."""
    return [start * (1 - i / steps) for i in range(steps)] + [0.0]


def ddim(
    denoise: Denoise,
    z: Float[Tensor, "b ..."],
    schedule: Schedule,
    levels: Sequence[float],
    generators: Sequence[torch.Generator],
    eta: float,
) -> Float[Tensor, "b ..."]:
    """DDIM (arXiv 2010.02502, equations 12 and 16): z at levels[0] becomes z at levels[-1].

    `eta` is in [0, 1]: 0 draws nothing, 1 is the ancestral step of DDPM. Generator i draws the noise of row i.
    """
    for level, below in pairwise(levels):
        (alpha, sigma), (alpha_below, sigma_below) = _scalars(schedule, level), _scalars(schedule, below)
        x0 = denoise(z, level)
        fresh = eta * sigma_below / sigma * math.sqrt(max(0.0, 1 - (alpha / alpha_below) ** 2))
        kept = math.sqrt(max(0.0, sigma_below**2 - fresh**2))
        z = alpha_below * x0 + kept / sigma * (z - alpha * x0)
        if fresh > 0:
            z = z + fresh * draw_noise(generators, z)
    return z


def ddpm(
    denoise: Denoise,
    z: Float[Tensor, "b ..."],
    schedule: Schedule,
    levels: Sequence[float],
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "b ..."]:
    """DDPM (arXiv 2006.11239) with the posterior variance, over any levels: draws from q(z_below | z, x0).

    That is DDIM at eta = 1, algebraically and in every draw.
    """
    return ddim(denoise, z, schedule, levels, generators, eta=1.0)


def dpmpp2m(
    denoise: Denoise, z: Float[Tensor, "b ..."], schedule: Schedule, levels: Sequence[float]
) -> Float[Tensor, "b ..."]:
    """DPM-Solver++ (2M) (arXiv 2211.01095, algorithm 2): deterministic, second order in log SNR.

    A step from zero SNR, the step after it, and a last step to level 0 are of first order: there the half log SNR is
    infinite, and no second-order term exists.
    """
    x0_before, step_before = None, math.inf
    for level, below in pairwise(levels):
        (alpha, sigma), (alpha_below, sigma_below) = _scalars(schedule, level), _scalars(schedule, below)
        x0 = denoise(z, level)
        ratio = sigma_below / sigma
        decay = alpha * ratio / alpha_below  # exp(-step)
        step = -math.log(decay) if decay > 0 else math.inf  # of the half log SNR
        estimate = x0
        if x0_before is not None and math.isfinite(step):
            estimate = x0 + step / (2 * step_before) * (x0 - x0_before)
        z = ratio * z + alpha_below * (1 - decay) * estimate
        x0_before, step_before = x0, step
    return z


def _scalars(schedule: Schedule, level: float) -> tuple[float, float]:
    alpha, sigma = schedule.alpha_sigma(torch.tensor(level, dtype=torch.float64))
    return alpha.item(), sigma.item()
