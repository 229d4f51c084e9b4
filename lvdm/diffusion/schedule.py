"""The noise schedule z = alpha x0 + sigma eps over levels in [0, 1], and what predicting eps, v or x0 means.

Level 0 is clean and level 1 the noisiest. Every schedule keeps alpha^2 + sigma^2 = 1, so it is an angle:
alpha = cos(u pi/2), sigma = sin(u pi/2), with u(level) rising from 0.

Not here: which frame is at which level (frame_conditions.py) and how levels are walked down (samplers.py).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Prediction = Literal["v", "eps", "x0"]

NUM_INDICES = 1000  # of the scaled-linear table; index i of it is level (i + 1) / NUM_INDICES
FIRST_BETA, LAST_BETA = 0.0015, 0.0155


@dataclass(frozen=True)
class Schedule:
    """`cosine`: u = level, thus alpha is exactly 0 at level 1 (zero terminal SNR).

    `scaled_linear`: the reference's 1,000 betas, linear in their root from 0.0015 to 0.0155. Index i of that table is
    level (i + 1) / 1000, level 0 comes before the table, and between two entries u is linear. At level 1 a little
    signal is left: alpha^2 = 0.00067.
    """

    name: Literal["cosine", "scaled_linear"]

    def alpha_sigma(self, level: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Signal and noise at `level`; exactly (1, 0) at level 0, and (0, 1) at level 1 of `cosine`."""
        turned = level if self.name == "cosine" else _interpolated(level)
        return torch.sin((1 - turned) * (math.pi / 2)), torch.sin(turned * (math.pi / 2))

    def diffuse(
        self, x0: Float[Tensor, "b c t h w"], noise: Float[Tensor, "b c t h w"], level: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b c t h w"]:
        """alpha x0 + sigma noise, every frame at its own level."""
        alpha, sigma = (rearrange(s, "b t -> b 1 t 1 1") for s in self.alpha_sigma(level))
        return alpha * x0 + sigma * noise


def x0_of(
    prediction: Prediction, value: Float[Tensor, "..."], z: Tensor, alpha: Tensor, sigma: Tensor
) -> Float[Tensor, "..."]:
    """x0 of what a network predicts at z: alpha z - sigma v, or (z - sigma eps) / alpha.

    At alpha = 0 neither z nor eps says anything of x0: its mean, 0, is given then.
    """
    match prediction:
        case "x0":
            return value
        case "eps":
            return torch.where(alpha == 0, 0, (z - sigma * value) / torch.where(alpha == 0, 1, alpha))
        case "v":
            return alpha * z - sigma * value


def target_of(prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Float[Tensor, "..."]:
    """What a network with this prediction should say: eps, x0, or v = alpha eps - sigma x0 (arXiv 2202.00512)."""
    match prediction:
        case "x0":
            return x0
        case "eps":
            return eps
        case "v":
            return alpha * eps - sigma * x0


def _interpolated(level: Tensor) -> Tensor:
    """u of the scaled-linear schedule."""
    table = _scaled_linear(level.device, level.dtype)
    position = level * NUM_INDICES
    below = position.detach().floor().clamp(0, NUM_INDICES - 1).long()
    return torch.lerp(table.take(below), table.take(below + 1), position - below)


@functools.cache
def _scaled_linear(device: torch.device, dtype: torch.dtype) -> Tensor:
    """u at levels 0, 1/1000 .. 1."""
    betas = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, NUM_INDICES, dtype=torch.float64).square()
    alpha = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0).sqrt()])
    return (alpha.acos() / (math.pi / 2)).to(device=device, dtype=dtype)
