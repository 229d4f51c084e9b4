"""A small run of a predictor and an interpolator on two processes: python separate_run.py FOLDER.

The latents lie in the folder, and there both networks are saved.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from small_run import MACHINE

from lvdm.data.latents import CachedVideo, LatentCache, write_latents
from lvdm.machine import Machine, TrainingLeft
from lvdm.models.condition import Vocabulary
from lvdm.params import TrainDenoiser, load_params
from lvdm.prompting import LabelPrompts
from lvdm.training.denoiser import TrainedNetworks, train_networks

PROMPTS = LabelPrompts(Vocabulary(labels=("a", "b")))


def write_cache(folder: Path) -> LatentCache:
    """Eight videos of noise, a quarter of them held out."""
    torch.manual_seed(0)
    videos = [
        CachedVideo(f"{i}", "ab"[i % 2], None, "test" if i > 5 else "train", torch.randn(20, 2, 4, 4)) for i in range(8)
    ]
    write_latents(folder / "latents", videos, shard_megabytes=1, made_by="")
    return LatentCache(folder / "latents")


def separate_params(separate: bool = True, **training: object) -> TrainDenoiser:
    params = load_params(Path(__file__).parents[2] / "params.yaml").train_denoiser
    network = {"channels": 8, "head_channels": 4, "channel_multipliers": (1,), "attention_levels": (0,)}
    short = {"steps": 4, "batch_size": 4, "decay": "constant", "warmup_steps": 2, "ema_decay": 0.5}
    changes = {**short, "checkpoint_every": 2, "validate_every": 2, "validation_examples": 3, **training}
    return params.model_copy(
        update={
            "separate_interpolator": separate,
            "network": params.network.model_copy(update=network),
            "training": params.training.model_copy(update=changes),
        }
    )


def run(folder: Path, scratch: str, machine: Machine = MACHINE, **training: object) -> TrainedNetworks:
    params, cache = separate_params(**training), LatentCache(folder / "latents")
    return train_networks(cache, params, PROMPTS, machine, folder / scratch)


def run_alone(folder: Path, scratch: str, steps: int) -> None:
    """In a process of its own, to be killed."""
    torch.set_num_threads(1)
    run(folder, scratch, steps=steps, validate_every=10)


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    with contextlib.suppress(TrainingLeft):
        trained = run(root, "two", Machine(accelerator="cpu", devices=2, strategy="ddp"), batch_size=2)
        for name in ("network", "interpolator"):
            tensors = getattr(trained, name).state_dict().items()
            save_file({key: tensor.contiguous() for key, tensor in tensors}, root / name)
