"""Training the denoiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE

from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.objective import denoising_loss
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser, load_params
from lvdm.training.denoiser import VALIDATION_LEVELS, DenoiserTraining, train_denoiser


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Two windows, by turns: all ones with label 0, all minus ones without a label."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        value, label = ((1.0, 0), (-1.0, 2))[index % 2]
        return {"latent": torch.full((2, 5, 4, 4), value), "stride": torch.tensor(1), "label": torch.tensor(label)}


def small_params(condition: str) -> TrainDenoiser:
    params = load_params(Path(__file__).parents[2] / "params.yaml").train_denoiser
    network = {"channels": 8, "head_channels": 8, "channel_multipliers": (1,), "attention_levels": (0,)}
    training = {"steps": 150, "batch_size": 8, "warmup_steps": 5, "learning_rate": 5e-3}
    return params.model_copy(
        update={
            "network": params.network.model_copy(update={**network, "condition": condition}),
            "training": params.training.model_copy(update=training),
        }
    )


@pytest.mark.parametrize(("condition", "num_labels"), [("label", 2), ("none", 0)])
def test_the_loss_falls_with_and_without_labels(tmp_path, condition, num_labels):
    labels = ("red square", "blue circle")
    network, history = train_denoiser(Windows(), small_params(condition), 2, labels, MACHINE, tmp_path)
    assert network.num_labels == num_labels
    first, last = (sum(row["error"] for row in rows) / len(rows) for rows in (history[:10], history[-50:]))
    assert last < 0.7 * first


class Same(Denoiser):
    """A denoiser of one number that remembers the levels and noisy windows it saw."""

    def forward(self, z, level, stride, label):
        self.seen = [*getattr(self, "seen", []), (z, level)]
        return z


def test_validation_is_at_fixed_levels_with_one_noise_and_one_task_a_window():
    params, held_out = small_params("label"), [Windows()[i] for i in range(6)]
    network = Same(params.network, 2, 2)
    means = DenoiserTraining(network, params, held_out=held_out).validate()
    given = torch.stack([level != at for (_, level), at in zip(network.seen, VALIDATION_LEVELS, strict=True)])
    assert torch.equal(given, given[:1].expand_as(given))
    assert 0 < given.sum() < given.numel()
    latent, stride, label = (torch.stack([window[key] for window in held_out]) for key in ("latent", "stride", "label"))
    expected = [
        denoising_loss(
            network, latent, stride, label, params.objective, 2, [generator_of("validation", i) for i in range(6)], at
        )
        for at in VALIDATION_LEVELS
    ]
    assert list(means) == ["loss", *(f"error_at_{at}" for at in VALIDATION_LEVELS)]
    assert means["loss"] == pytest.approx(sum(e.loss.item() for e in expected) / len(expected))
    for at, e in zip(VALIDATION_LEVELS, expected, strict=True):
        assert means[f"error_at_{at}"] == pytest.approx(e.error.mean().item())


def test_validation_does_not_depend_on_the_batch():
    params, held_out = small_params("label"), [Windows()[i] for i in range(5)]
    network = Denoiser(params.network, 2, 2)
    torch.nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(0))
    sizes = [params.training.model_copy(update={"batch_size": size}) for size in (1, 2, 5)]
    with torch.no_grad():
        one, two, all_ = (
            DenoiserTraining(network, params.model_copy(update={"training": size}), held_out=held_out).validate()
            for size in sizes
        )
    assert one == pytest.approx(two, rel=1e-5) and one == pytest.approx(all_, rel=1e-5)
