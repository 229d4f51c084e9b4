"""Training the denoiser: the loss falls, and what it is asked for is what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE

from lvdm.data.latent_windows import LatentWindows
from lvdm.data.latents import LatentCache
from lvdm.data.texts import encode_texts
from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.objective import Draws, denoising_loss
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, sample_videos
from lvdm.models.condition import Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser, load_params
from lvdm.prompting import NULL_TEXT, LabelPrompts, TextPrompts, TrainingPrompts
from lvdm.training.denoiser import VALIDATION_LEVELS, DenoiserTraining, train_denoiser
from tests.cached_videos import CachedVideo, cached

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
    return cached(tmp_path / "latents", videos)


def prompts_of(condition: str, folder: Path) -> tuple[TrainingPrompts, Prompts]:
    """What training says of the two videos, and the two prompts to sample with, in the order of VALUES."""
    if condition == "label":
        return LabelPrompts(Vocabulary(labels=tuple(VALUES))), Prompts.of_labels(2)
    encoded = encode_texts(Letters(), [NULL_TEXT, *CAPTIONS.values()], folder)
    tokens = [encoded.tokens(caption) for caption in CAPTIONS.values()]
    null = encoded.tokens(NULL_TEXT)
    asked = TextPrompts(Vocabulary((), "letters", 6), encoded, Prompts.of_texts([], null))
    return asked, Prompts.of_texts(tokens, null)


def test_the_loss_falls_without_a_condition(cache, tmp_path):
    params, asked = small_params("none"), LabelPrompts(Vocabulary())
    windows = LatentWindows(cache, params.window, params.strides, 0, asked.example)
    _, history = train_denoiser(windows, params, SHAPE[0], asked, MACHINE, tmp_path)
    first, last = (sum(row["error"] for row in rows) / len(rows) for rows in (history[:10], history[-50:]))
    assert last < 0.7 * first


def test_processes_that_load_and_draw_beside_change_no_bit_also_of_a_run_that_goes_on(cache, tmp_path):
    def trained(folder: str, steps: int, data_workers: int) -> list[torch.Tensor]:
        params, asked = small_params("label", steps=steps, decay="constant"), LabelPrompts(Vocabulary(tuple(VALUES)))
        windows = LatentWindows(cache, params.window, params.strides, 0, asked.example)
        machine = MACHINE.model_copy(update={"data_workers": data_workers})
        network, _ = train_denoiser(windows, params, SHAPE[0], asked, machine, tmp_path / folder)
        return list(network.parameters())

    alone = trained("alone", 4, data_workers=0)
    trained("beside", 3, data_workers=2)
    beside = trained("beside", 4, data_workers=1)
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


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


class Same(Denoiser):
    """A denoiser that gives back its input and remembers the levels and noisy windows it saw."""

    def forward(self, z, level, stride, condition):
        self.seen = [*getattr(self, "seen", []), (z, level)]
        return z


@pytest.fixture
def held_out(cache):
    """A conditional denoiser's parameters and prompts, and the windows that it is validated on."""
    params, asked = small_params("label"), LabelPrompts(Vocabulary(labels=tuple(VALUES)))
    windows = LatentWindows(cache, params.window, params.strides, 0, asked.example)
    return params, asked, [windows[i] for i in range(6)]


def test_validation_is_at_fixed_levels_with_one_noise_and_one_task_a_window(held_out):
    params, asked, windows = held_out
    network = Same(params.network, SHAPE[0], asked.vocabulary)
    means = DenoiserTraining(network, params, asked, windows).validate()
    given = torch.stack([level != at for (_, level), at in zip(network.seen, VALIDATION_LEVELS, strict=True)])
    assert torch.equal(given, given[:1].expand_as(given))
    assert 0 < given.sum() < given.numel()
    batch = {key: torch.stack([window[key] for window in windows]) for key in windows[0]}
    expected = [
        denoising_loss(
            network,
            batch["latent"],
            batch["stride"],
            asked.condition(batch),
            params.objective,
            Draws.of(params.objective, batch["latent"], [generator_of("validation", i) for i in range(6)]),
            at,
        )
        for at in VALIDATION_LEVELS
    ]
    assert list(means) == ["loss", *(f"error_at_{at}" for at in VALIDATION_LEVELS)]
    assert means["loss"] == pytest.approx(sum(e.loss.item() for e in expected) / len(expected))
    for at, e in zip(VALIDATION_LEVELS, expected, strict=True):
        assert means[f"error_at_{at}"] == pytest.approx(e.error.mean().item())


def test_validation_does_not_depend_on_the_batch(held_out):
    params, asked, windows = held_out
    network = Denoiser(params.network, SHAPE[0], asked.vocabulary)
    torch.nn.init.normal_(network.body.head.conv.weight, generator=torch.Generator().manual_seed(0))
    sizes = [params.training.model_copy(update={"batch_size": size}) for size in (1, 2, 6)]
    with torch.no_grad():
        one, two, all_ = (
            DenoiserTraining(network, params.model_copy(update={"training": size}), asked, windows).validate()
            for size in sizes
        )
    assert one == pytest.approx(two, rel=1e-5)
    assert one == pytest.approx(all_, rel=1e-5)
