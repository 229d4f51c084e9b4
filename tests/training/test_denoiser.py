"""Training the denoiser: the loss falls, and what it is asked for is what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE

from lvdm.data.latents import CachedVideo, LatentCache, LatentWindows, write_latents
from lvdm.data.texts import encode_texts
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, sample_videos
from lvdm.models.condition import Prompts, Vocabulary
from lvdm.params import TrainDenoiser, load_params
from lvdm.prompting import NULL_TEXT, LabelPrompts, TextPrompts, TrainingPrompts
from lvdm.training.denoiser import train_denoiser

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
SHAPE = (2, 4, 4)
# A video is constant: what is asked for decides its value, and nothing else tells.
VALUES = {"red square": 1.0, "blue circle": -1.0}
CAPTIONS = {"red square": "a red square moves left slowly", "blue circle": "a blue circle moves up"}


class Letters:
    """A text encoder with a token a word, each a function of the word."""

    fingerprint = "letters"

    def encode(self, text: str) -> torch.Tensor:
        words = ["<start>", *text.split()]
        seeds = (sum(i * ord(c) for i, c in enumerate(word, 1)) for word in words)
        return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def small_params(condition: str, **training: object) -> TrainDenoiser:
    params = PARAMS.train_denoiser
    network = {"channels": 8, "head_channels": 8, "channel_multipliers": (1,), "attention_levels": (0,)}
    network |= {"condition": condition, "text": None}
    changes = {"steps": 150, "batch_size": 8, "warmup_steps": 5, "learning_rate": 5e-3, **training}
    return params.model_copy(
        update={
            "network": params.network.model_copy(update=network),
            "training": params.training.model_copy(update=changes),
        }
    )


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    videos = [
        CachedVideo(label, label, CAPTIONS[label], "train", torch.full((20, *SHAPE), value))
        for label, value in VALUES.items()
    ]
    write_latents(tmp_path / "latents", videos, shard_megabytes=1, made_by="")
    return LatentCache(tmp_path / "latents")


def prompts_of(condition: str, folder: Path) -> tuple[TrainingPrompts, Prompts]:
    """What training says of the two videos, and the two prompts to sample with, in the order of VALUES."""
    if condition == "label":
        return LabelPrompts(Vocabulary(labels=tuple(VALUES))), Prompts.of_labels(2)
    encoded = encode_texts(Letters(), [NULL_TEXT, *CAPTIONS.values()], folder)
    tokens = [encoded.tokens(caption) for caption in CAPTIONS.values()]
    return TextPrompts(Vocabulary((), "letters", 6), encoded, 9), Prompts.of_texts(tokens, encoded.tokens(NULL_TEXT))


def test_the_loss_falls_without_a_condition(cache, tmp_path):
    params, asked = small_params("none"), LabelPrompts(Vocabulary())
    windows = LatentWindows(cache, params.window, params.strides, 0, asked.example)
    _, history = train_denoiser(windows, params, SHAPE[0], asked, MACHINE, tmp_path)
    first, last = (sum(row["error"] for row in rows) / len(rows) for rows in (history[:10], history[-50:]))
    assert last < 0.7 * first


@pytest.mark.parametrize("condition", ["label", "text"])
def test_a_sample_is_what_it_was_asked_for(cache, tmp_path, condition):
    """Trained on whole windows from noise, which nothing but the prompt tells what to become."""
    params, (asked, prompts) = small_params(condition, steps=200), prompts_of(condition, tmp_path)
    tasks = params.objective.tasks.model_copy(update={"predict": 0.0, "interpolate": 0.0})
    params = params.model_copy(update={"objective": params.objective.model_copy(update={"tasks": tasks})})
    windows = LatentWindows(cache, params.window, params.strides, 0, asked.example)
    network, _ = train_denoiser(windows, params, SHAPE[0], asked, MACHINE, tmp_path)
    sample = PARAMS.sample.model_copy(update={"steps": 8, "condition_guidance": 0.0, "guidance": 0.0})
    requests = [VideoRequest(seed, prompt, 5) for seed in range(3) for prompt in (0, 1)]
    videos = sample_videos(network, DenoiserSpec(params, prompts, SHAPE), sample, requests, tmp_path / "samples")
    for video, request in zip(videos, requests, strict=True):
        assert video.mean().item() == pytest.approx(list(VALUES.values())[request.prompt], abs=0.3)
