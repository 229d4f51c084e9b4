from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.samplers import ddim, ddpm, dpmpp2m, uniform_levels
from lvdm.diffusion.schedule import NUM_INDICES, Schedule, x0_of
from lvdm.errors import ParamsError
from lvdm.params import Sample
from lvdm.section import parse

TABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0155}
DIFFUSERS_NAME = {"v": "v_prediction", "eps": "epsilon", "x0": "sample"}
SHAPE = (1, 2, 3, 4, 4)
KINDS = [
    *(
        ("scaled_linear", prediction, spacing)
        for prediction in ("v", "eps", "x0")
        for spacing in ("leading", "trailing")
    ),
    *(("cosine", prediction, "leading") for prediction in ("v", "eps", "x0")),
    *(("cosine", prediction, "trailing") for prediction in ("v", "x0")),  # from zero SNR, where eps says nothing
]
of_every_kind = pytest.mark.parametrize(("name", "prediction", "spacing"), KINDS)


def network(z: torch.Tensor, level: float) -> torch.Tensor:
    """Some smooth function that depends on both; what it says of the video is the prediction's business."""
    return torch.tanh(z * (1.5 - level)) + 0.3 * level


class NearlyZero(Schedule):
    """The cosine schedule with the least SNR that has a log of use."""

    def alpha_sigma(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        alpha, _ = super().alpha_sigma(level)
        return alpha.clamp(min=2**-12), (1 - alpha.clamp(min=2**-12).square()).sqrt()


def denoiser(schedule: Schedule, prediction: str):
    """The network as our samplers see it: x0 of what it predicts."""

    def denoise(z: torch.Tensor, level: float) -> torch.Tensor:
        alpha, sigma = schedule.alpha_sigma(torch.tensor(level, dtype=torch.float64))
        return x0_of(prediction, network(z, level), z, alpha, sigma)

    return denoise


def in_double(scheduler, name: str):
    """diffusers keeps its table in float32, and its cosine is another; here both are computed in float64."""
    betas = torch.linspace(0.0015**0.5, 0.0155**0.5, NUM_INDICES, dtype=torch.float64).square()
    angle = torch.arange(1, NUM_INDICES + 1, dtype=torch.float64) * (math.pi / 2 / NUM_INDICES)
    cosine = torch.cat([angle[:-1].cos().square(), torch.zeros(1, dtype=torch.float64)])
    scheduler.alphas_cumprod = (1 - betas).cumprod(0) if name == "scaled_linear" else cosine
    scheduler.final_alpha_cumprod = scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def start() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def levels_of(timesteps: torch.Tensor) -> list[float]:
    return [(t + 1) / NUM_INDICES for t in timesteps.tolist()] + [0.0]


def by_diffusers(scheduler, **step) -> torch.Tensor:
    z = start()
    for t in scheduler.timesteps:
        z = scheduler.step(network(z, (t.item() + 1) / NUM_INDICES), t, z, **step).prev_sample
    return z


def table_of(prediction: str, spacing: str) -> dict[str, object]:
    return {**TABLE, "prediction_type": DIFFUSERS_NAME[prediction], "timestep_spacing": spacing}


@of_every_kind
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_agrees_with_diffusers(name, prediction, spacing, eta):
    scheduler = in_double(DDIMScheduler(**table_of(prediction, spacing), clip_sample=False), name)
    scheduler.set_timesteps(20)
    expected = by_diffusers(scheduler, eta=eta, generator=generator_of(0))
    levels = levels_of(scheduler.timesteps)
    ours = ddim(denoiser(Schedule(name), prediction), start(), Schedule(name), levels, [generator_of(0)], eta)
    assert torch.allclose(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "prediction", "spacing", "steps"),
    [*((*kind, 50) for kind in KINDS), ("scaled_linear", "eps", "leading", NUM_INDICES)],  # the last is the reference
)
def test_ddpm_which_is_ddim_at_eta_1_agrees_with_diffusers(name, prediction, spacing, steps):
    scheduler = in_double(DDPMScheduler(**table_of(prediction, spacing), clip_sample=False), name)
    scheduler.set_timesteps(steps)
    expected = by_diffusers(scheduler, generator=generator_of(0))
    levels, generators = levels_of(scheduler.timesteps), [generator_of(0)]
    ours = ddpm(denoiser(Schedule(name), prediction), start(), Schedule(name), levels, generators)
    assert torch.allclose(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers with numpy 2
@of_every_kind
@pytest.mark.parametrize("steps", [4, 20])
def test_dpmpp2m_agrees_with_diffusers(name, prediction, spacing, steps):
    """It takes the log of the SNR, so that is nearly zero for zero; it rounds z to float32 at every step."""
    scheduler = in_double(DPMSolverMultistepScheduler(**table_of(prediction, spacing)), name)
    schedule = NearlyZero(name) if name == "cosine" else Schedule(name)
    scheduler.alphas_cumprod.clamp_(min=2**-24)
    scheduler.set_timesteps(steps)
    below = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], torch.ones(1, dtype=torch.float64)])
    scheduler.sigmas = ((1 - below) / below).sqrt()
    expected, levels = by_diffusers(scheduler), levels_of(scheduler.timesteps)
    ours = dpmpp2m(denoiser(schedule, prediction), start(), schedule, levels)
    assert torch.allclose(ours, expected, atol=1e-5, rtol=1e-5)
    exactly = dpmpp2m(denoiser(Schedule(name), prediction), start(), Schedule(name), levels)
    assert torch.allclose(exactly, expected, atol=0.05)  # zero is the limit, as slow as a log


MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.8, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)


def exact(schedule: Schedule):
    """E[x0 | z] of the Gaussian: mean + alpha S (alpha^2 S + sigma^2)^-1 (z - alpha mean)."""

    def denoise(z: torch.Tensor, level: float) -> torch.Tensor:
        alpha, sigma = schedule.alpha_sigma(torch.tensor(level, dtype=torch.float64))
        marginal = alpha**2 * COVARIANCE + sigma**2 * torch.eye(3, dtype=torch.float64)
        return MEAN + (z - alpha * MEAN) @ torch.linalg.solve(marginal, alpha * COVARIANCE)

    return denoise


@pytest.mark.parametrize("name", ["cosine", "scaled_linear"])
@pytest.mark.parametrize(("sampler", "steps", "tolerance"), [("ddim", 400, 2e-2), ("dpmpp2m", 100, 2e-2)])
def test_deterministic_samplers_reach_the_mean_and_covariance_of_a_gaussian(name, sampler, steps, tolerance):
    """The exact denoiser is affine, hence so is the sampler: its matrix and offset give both without sampling error."""
    schedule = Schedule(name)
    probes = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    levels = uniform_levels(1.0, steps)
    if sampler == "ddim":
        ends = ddim(exact(schedule), probes, schedule, levels, [], eta=0.0)
    else:
        ends = dpmpp2m(exact(schedule), probes, schedule, levels)
    matrix = (ends[1:] - ends[0]).T
    assert torch.allclose(ends[0], MEAN, atol=0.06 if name == "scaled_linear" else tolerance)
    assert torch.allclose(matrix @ matrix.T, COVARIANCE, atol=tolerance)


@pytest.mark.parametrize("name", ["cosine", "scaled_linear"])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_samplers_reach_the_mean_and_covariance_of_a_gaussian(name, eta):
    """DDPM at eta = 1."""
    schedule = Schedule(name)
    z = torch.randn(1, 20_000, 3, generator=generator_of(1), dtype=torch.float64)
    x = ddim(exact(schedule), z, schedule, uniform_levels(1.0, 800), [generator_of(2)], eta)[0]
    assert torch.allclose(x.mean(0), MEAN, atol=2e-2)
    assert torch.allclose(x.T.cov(), COVARIANCE, atol=3e-2)


def test_second_order_is_better_than_first_with_equal_passes():
    schedule = Schedule("cosine")
    z = torch.randn(1, 100, 3, generator=generator_of(1), dtype=torch.float64)
    truth = ddim(exact(schedule), z, schedule, uniform_levels(1.0, 3000), [], eta=0.0)
    levels = uniform_levels(1.0, 20)
    first = ddim(exact(schedule), z, schedule, levels, [], eta=0.0)
    second = dpmpp2m(exact(schedule), z, schedule, levels)
    assert (second - truth).abs().mean() < 0.5 * (first - truth).abs().mean()


def test_a_sample_s_noise_does_not_depend_on_its_batch():
    z = torch.randn(3, 4, 5, generator=generator_of(0))
    levels = uniform_levels(1.0, 5)
    together = ddpm(network, z, Schedule("cosine"), levels, [generator_of(i) for i in range(3)])
    alone = ddpm(network, z[1:2], Schedule("cosine"), levels, [generator_of(1)])
    assert torch.equal(together[1:2], alone)


def test_an_eta_without_effect_is_refused(params):
    document = params.sample.model_dump() | {"eta": 1.0}
    assert parse(Sample, document | {"sampler": "ddim"}).eta == 1
    for sampler in ("ddpm", "dpmpp2m"):
        with pytest.raises(ParamsError, match=f"eta 0 with {sampler}"):
            parse(Sample, document | {"sampler": sampler})


def test_levels_fall_evenly_to_zero_and_level_zero_needs_no_step():
    assert uniform_levels(0.5, 2) == [0.5, 0.25, 0.0]
    assert uniform_levels(0.0, 0) == [0.0]
