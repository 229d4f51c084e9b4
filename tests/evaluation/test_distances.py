"""Distances against closed forms and against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lvdm.evaluation.distances import distance, frechet_distance, kernel_distance
from lvdm.evaluation.metrics import METRICS


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def whitened(x: Tensor) -> Tensor:
    """`x` with mean exactly 0 and covariance exactly the identity."""
    x = x - x.mean(dim=0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T


def test_frechet_distance_has_the_closed_form_of_gaussians() -> None:
    real, fake = whitened(normal(0, 500, 6)), whitened(normal(1, 500, 6))
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 0.1], dtype=torch.float64)
    shift = torch.tensor([0.0, 1.0, -2.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    expected = shift.square().sum() + (1 - scale).square().sum()
    assert frechet_distance(real, fake * scale + shift) == pytest.approx(expected.item(), rel=1e-9)


def test_frechet_distance_of_fewer_samples_than_features_equals_the_nuclear_norm_form() -> None:
    real, fake = normal(0, 20, 64), 2 * normal(1, 20, 64) + 0.3
    a, b = (x - x.mean(dim=0) for x in (real, fake))
    root = np.linalg.norm((a @ b.T).numpy(), "nuc") / 19
    shift = (real.mean(dim=0) - fake.mean(dim=0)).square().sum().item()
    expected = shift + (a.square().sum().item() + b.square().sum().item()) / 19 - 2 * root
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_set_to_itself_is_zero_and_never_below() -> None:
    for seed in range(5):
        real = normal(seed, 30, 50) * 10
        assert 0 <= frechet_distance(real, real) < 1e-3


def test_kernel_distance_equals_the_sums_written_out() -> None:
    x, y = normal(0, 9, 4), normal(1, 9, 4) + 0.5

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / (9 * 8)
    across = sum(k(x[i], y[j]) for i, j in pairs) / 81
    assert kernel_distance(x, y) == pytest.approx(within - 2 * across, rel=1e-12)


def test_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    values = torch.tensor([kernel_distance(normal(2 * i, 50, 8), normal(2 * i + 1, 50, 8)) for i in range(200)])
    assert values.min() < 0
    assert values.mean().abs() < 3 * values.std() / 200**0.5


def test_gaps_of_means_and_caption_means_are_what_they_say() -> None:
    real, fake = torch.tensor([[1.0], [3.0]]).double(), torch.tensor([[4.0], [8.0]]).double()
    assert distance(METRICS["motion_gap"], real, fake) == 4
    assert distance(METRICS["clipsim"], real, fake) == 6
