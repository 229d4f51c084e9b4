from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from lvdm.diffusion.schedule import NUM_INDICES, Schedule, target_of, x0_of

SCHEDULES = [Schedule("cosine"), Schedule("scaled_linear")]


def level(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_ends_in_exactly_nothing_but_noise(dtype):
    alpha, sigma = Schedule("cosine").alpha_sigma(torch.tensor([0.0, 1.0], dtype=dtype))
    assert alpha.tolist() == [1, 0]
    assert sigma.tolist() == [0, 1]


def test_cosine_is_the_cosine():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    alpha, sigma = Schedule("cosine").alpha_sigma(t)
    assert torch.allclose(alpha, torch.cos(t * math.pi / 2), atol=1e-12)
    assert torch.allclose(sigma, torch.sin(t * math.pi / 2), atol=1e-12)


def test_scaled_linear_is_the_table_of_diffusers():
    table = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0155).alphas_cumprod
    alpha, _ = Schedule("scaled_linear").alpha_sigma(torch.arange(1, NUM_INDICES + 1) / NUM_INDICES)
    assert torch.allclose(alpha.square(), table, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("index", "alpha_bar"), [(50, 0.918), (100, 0.829), (150, 0.733), (200, 0.634), (249, 0.537), (999, 0.00067)]
)
def test_scaled_linear_has_the_reference_s_values(index, alpha_bar):
    alpha, _ = Schedule("scaled_linear").alpha_sigma(level((index + 1) / 1000))
    assert alpha.square().item() == pytest.approx(alpha_bar, abs=5e-4 if index < 999 else 5e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_variance_is_preserved_and_signal_falls_with_the_level(schedule, low, high):
    alpha, sigma = schedule.alpha_sigma(level(*sorted((low, high))))
    assert torch.allclose(alpha.square() + sigma.square(), level(1, 1), atol=1e-12)
    assert alpha[0] >= alpha[1]
    assert schedule.alpha_sigma(level(0.0)) == (1, 0)


def test_every_frame_is_diffused_to_its_own_level():
    x0, noise = torch.ones(1, 2, 3, 1, 1), torch.full((1, 2, 3, 1, 1), 10.0)
    z = Schedule("cosine").diffuse(x0, noise, torch.tensor([[0, 0.5, 1]]))
    assert torch.allclose(z[0, 0, :, 0, 0], torch.tensor([1, 11 / math.sqrt(2), 10]))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", ["v", "eps", "x0"])
def test_every_prediction_says_x0_exactly(schedule, prediction):
    x0, eps = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).split(1)
    alpha, sigma = schedule.alpha_sigma(level(0.001, 0.1, 0.5, 0.9, 0.999))
    z = alpha * x0 + sigma * eps
    value = target_of(prediction, x0, eps, alpha, sigma)
    assert torch.allclose(x0_of(prediction, value, z, alpha, sigma), x0, atol=1e-9)


def test_at_the_top_x0_is_its_mean_where_nothing_says_it():
    x0, eps = level(2.0), level(3.0)
    assert x0_of("eps", eps, eps, level(0.0), level(1.0)) == 0
    assert x0_of("v", -x0, eps, level(0.0), level(1.0)) == x0
