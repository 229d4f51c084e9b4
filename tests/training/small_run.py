"""A small run that a test starts in a process of its own, to kill it: python small_run.py SCRATCH STEPS [START]."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch

from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder
from lvdm.params import AutoencoderObjective, TrainAutoencoder, load_params
from lvdm.training.autoencoder import train_autoencoder
from lvdm.training.callbacks import History

MACHINE = Machine(accelerator="cpu")


class Noise(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Clip i is a function of i alone."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        return {"frames": torch.randint(0, 256, (4, 8, 8, 3), generator=generator, dtype=torch.uint8)}


def small_params(objective: dict[str, object] | None = None, **training: object) -> TrainAutoencoder:
    params = load_params(Path(__file__).parents[2] / "params.yaml").train_autoencoder
    terms = AutoencoderObjective.model_validate(params.objective.model_dump() | (objective or {}))
    network = params.network.model_copy(update={"channels": (8,)})
    small = {"steps": 40, "batch_size": 2, "warmup_steps": 5, "checkpoint_every": 7, "validate_every": 0}
    training = params.training.model_copy(update={**small, "ema_decay": 0.9, **training})
    return params.model_copy(update={"network": network, "objective": terms, "training": training})


def adversarial(start: int) -> dict[str, object]:
    """An objective with a small discriminator that plays from the step `start` on."""
    return {"adversarial": {"channels": 8, "start": start, "weight": 0.5}}


def small_run(
    scratch: Path, objective: dict[str, object] | None = None, **training: object
) -> tuple[Autoencoder, History]:
    return train_autoencoder(Noise(), small_params(objective, **training), MACHINE, scratch)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    small_run(Path(sys.argv[1]), *map(adversarial, map(int, sys.argv[3:])), steps=int(sys.argv[2]))
