"""Small runs of denoisers on two processes that shard them: python sharded_run.py FOLDER.

One goes on from the state in the folder up to each of STEPS, and the denoiser of each is saved, and how often the first
process told the other something. Then a predictor and an interpolator are trained on the latents in
the folder, and saved.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from unittest import mock

import separate_run
import torch
from safetensors.torch import save_file

from lvdm.machine import Machine
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser, load_params
from lvdm.prompting import LabelPrompts
from lvdm.ranks import TrainingLeft, is_first_process
from lvdm.training.callbacks import History
from lvdm.training.denoiser import train_denoiser

STEPS = (6, 10)
SHARDED = Machine(accelerator="cpu", devices=2, strategy="fsdp")


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Window i is noise, a function of i alone."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        latent = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(index))
        return {"latent": latent, "stride": torch.tensor(1), "label": torch.tensor(index % 2)}


def sharded_params(steps: int, batch_size: int) -> TrainDenoiser:
    params = load_params(Path(__file__).parents[2] / "params.yaml").train_denoiser
    network = {"channels": 8, "head_channels": 4, "channel_multipliers": (1, 2), "attention_levels": (1,)}
    training = {"batch_size": batch_size, "decay": "constant", "warmup_steps": 2, "ema_decay": 0.5}
    changes = {"steps": steps, "checkpoint_every": 2, "validate_every": 2, **training}
    return params.model_copy(
        update={
            "network": params.network.model_copy(update=network),
            "training": params.training.model_copy(update=changes),
        }
    )


def run(scratch: Path, steps: int, batch_size: int, machine: Machine) -> tuple[Denoiser, History]:
    held_out = [Windows()[1000 + i] for i in range(3)]
    prompts = LabelPrompts(Vocabulary(labels=("a", "b")))
    return train_denoiser(Windows(), sharded_params(steps, batch_size), 2, prompts, machine, scratch, held_out)


def save(path: Path, network: Denoiser) -> None:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for steps in STEPS:
        with mock.patch("torch.distributed.broadcast", wraps=torch.distributed.broadcast) as told:
            denoiser, _ = run(folder, steps, 2, SHARDED)
        if is_first_process():
            save(folder / f"{steps}", denoiser)
            (folder / f"{steps}.told").write_text(f"{told.call_count}")
    with contextlib.suppress(TrainingLeft):
        trained = separate_run.run(folder, "separate", SHARDED, batch_size=2)
        save(folder / "predictor", trained.network)
        save(folder / "interpolator", trained.interpolator)
