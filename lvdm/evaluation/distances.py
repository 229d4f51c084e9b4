"""What is done with features: the Frechet and kernel distances of torchmetrics, in float64, and gaps of means.

Not here: where features come from (features.py).
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from lvdm.evaluation.metrics import Metric


class _Given(nn.Module):
    """A feature network whose input already is the features."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Float64[Tensor, "n d"], fake: Float64[Tensor, "m d"]) -> float:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)), covariances over n - 1; rounding below 0 is cut off."""
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return max(metric.compute().item(), 0.0)


def kernel_distance(real: Float64[Tensor, "n d"], fake: Float64[Tensor, "n d"]) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 over all rows at once; 0 on average for equal sets."""
    return poly_mmd(real, fake).item()


def distance(metric: Metric, real: Float64[Tensor, "n d"], fake: Float64[Tensor, "n d"]) -> float:
    """`metric` of two sets of features, as many on both sides; of a caption metric, the mean over the fakes."""
    match metric.measure:
        case "frechet":
            return frechet_distance(real, fake)
        case "kernel":
            return kernel_distance(real, fake)
        case "mean_gap":
            return (real.mean() - fake.mean()).abs().item()
        case "caption":
            return fake.mean().item()
        case "identity":
            raise AssertionError("measured of long videos, not of features: identity.py")
