"""A small run of a predictor and an interpolator, on latents of noise."""

from __future__ import annotations

from pathlib import Path

import torch
from small_run import MACHINE

from lvdm.data.latents import LatentCache
from lvdm.machine import Machine
from lvdm.models.condition import Vocabulary
from lvdm.params import TrainDenoiser, load_params
from lvdm.prompting import LabelPrompts
from lvdm.training.denoiser import TrainedNetworks, train_networks

PROMPTS = LabelPrompts(Vocabulary(labels=("a", "b")))


def write_cache(folder: Path) -> LatentCache:
    """Eight videos of noise, a quarter of them held out."""
    from tests.cached_videos import CachedVideo, cached  # not where this is run beside, as by sharded_run.py

    torch.manual_seed(0)
    videos = [
        CachedVideo(f"{i}", "ab"[i % 2], None, "test" if i > 5 else "train", torch.randn(20, 2, 4, 4)) for i in range(8)
    ]
    return cached(folder / "latents", videos)


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
