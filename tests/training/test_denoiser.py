"""Training the denoiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE

from lvdm.params import TrainDenoiser, load_params
from lvdm.training.denoiser import train_denoiser


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
