"""From labels and captions to what a denoiser is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from lvdm.data.latents import LatentCache
from lvdm.errors import ArtefactError, WeightsError
from lvdm.machine import Machine
from lvdm.models.checkpoint import TrainedDenoiser
from lvdm.models.condition import Prompt, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.models.text import find_text_encoder
from lvdm.params import DenoiserNetwork, load_params
from lvdm.prompting import prompts_in_turn, training_prompts, understood
from lvdm.workspace import Workspace
from tests.cached_videos import CachedVideo, cached
from tests.models.tiny_encoders import write_encoder

TRAIN = load_params(Path(__file__).parents[1] / "params.yaml").train_denoiser
VIDEOS = [
    ("1", "red", "a red square moves", "train"),
    ("2", "blue", "a blue square", "train"),
    ("3", None, None, "train"),
    ("4", "red", "a red square", "test"),
    ("5", "red", "a red square", "test"),
    ("6", "green", None, "test"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_encoder("t5", tmp_path / "encoder")
    return Workspace(tmp_path, Machine(accelerator="cpu"))


def cache_of(workspace: Workspace, videos: list) -> LatentCache:
    return cached(workspace.latents("x"), [CachedVideo(*said, torch.zeros(5, 2, 4, 4)) for said in videos])


@pytest.fixture
def cache(workspace: Workspace) -> LatentCache:
    return cache_of(workspace, VIDEOS)


def network_of(condition: str) -> DenoiserNetwork:
    text = {"encoder": "t5", "folder": "encoder"} if condition == "text" else None
    changes = {"channels": 8, "head_channels": 8, "condition": condition, "text": text}
    return DenoiserNetwork(**{**TRAIN.network.model_dump(), **changes})


def test_labels_are_numbers_and_what_training_never_saw_is_none(cache, workspace):
    prompts = training_prompts(network_of("label"), cache, workspace)
    assert prompts.vocabulary == Vocabulary(labels=("blue", "red"))
    condition = prompts.condition(default_collate([prompts.example(video) for video in cache.videos]))
    assert condition.number.tolist() == [1, 0, 2, 1, 1, 2] and condition.prompts.null == 2


def test_captions_are_tokens_and_a_video_without_a_caption_has_the_null_text(cache, workspace):
    prompts = training_prompts(network_of("text"), cache, workspace)
    batch = default_collate([prompts.example(video) for video in cache.videos])
    condition = prompts.condition(batch)
    rows = condition.prompts.rows(condition.number)
    encoder = find_text_encoder(network_of("text").text, workspace)
    for row, text in enumerate(["a red square moves", "a blue square", "", "a red square", "a red square", ""]):
        assert torch.equal(rows.tokens[row][rows.mask[row]], encoder.encode(text))
    null = condition.prompts.rows(condition.null().number)
    assert torch.equal(null.tokens[0][null.mask[0]], encoder.encode(""))
    assert prompts.vocabulary == Vocabulary((), encoder.fingerprint, 8)


def test_without_condition_nothing_is_asked_for(cache, workspace):
    prompts = training_prompts(network_of("none"), cache, workspace)
    batch = default_collate([prompts.example(video) for video in cache.videos])
    assert prompts.condition(batch).number.tolist() == [0] * 6
    assert prompts_in_turn(network_of("none"), cache) == ()


def test_samples_are_asked_for_by_labels_of_training_or_by_held_out_captions(cache, workspace):
    assert sorted(prompt.label for prompt in prompts_in_turn(network_of("label"), cache)) == ["blue", "red"]
    assert prompts_in_turn(network_of("text"), cache) == (Prompt("red", "a red square"),) * 2
    only_train = cache_of(workspace, VIDEOS[:3])
    of_training = (Prompt("red", "a red square moves"), Prompt("blue", "a blue square"))
    assert set(prompts_in_turn(network_of("text"), only_train)) == set(of_training)


def test_every_part_of_what_samples_are_asked_for_has_labels_as_often_as_training_has(workspace):
    """Not the first names of the alphabet, nor rare ones as often as others: real clips are not so either."""
    labels = ["a"] * 40 + ["b"] * 10 + [f"rare {i}" for i in range(50)]
    videos = [(f"{i}", label, None, "train") for i, label in enumerate(labels)]
    asked = [prompt.label for prompt in prompts_in_turn(network_of("label"), cache_of(workspace, videos))]
    assert sorted(asked) == sorted(labels)
    for start in range(0, 100, 20):
        part = asked[start : start + 20]
        assert abs(part.count("a") - 8) <= 3 and abs(part.count("b") - 2) <= 1
    rare = [int(label.split()[1]) for label in asked if label.startswith("rare")]
    assert 10 < sum(rare[:25]) / 25 < 40 and rare != sorted(rare)


@pytest.mark.parametrize(("condition", "column"), [("label", "label"), ("text", "caption")])
def test_a_condition_that_no_video_has_is_an_error(workspace, condition, column):
    silent = cache_of(workspace, [VIDEOS[2], *VIDEOS[3:]])
    with pytest.raises(ArtefactError, match=f"no video of split train has a {column}"):
        training_prompts(network_of(condition), silent, workspace)


def trained(cache: LatentCache, workspace: Workspace, condition: str) -> TrainedDenoiser:
    network = network_of(condition)
    vocabulary = training_prompts(network, cache, workspace).vocabulary
    params = TRAIN.model_copy(update={"network": network})
    return TrainedDenoiser(params, (2, 8, 8), vocabulary, (), "", {}, Denoiser(network, 2, vocabulary))


def test_sampling_is_told_each_text_once_as_training_was(cache, workspace):
    denoiser = trained(cache, workspace, "text")
    names, prompts = understood(denoiser, ["a red square", "a blue square", "a red square"], workspace)
    assert names == ("a red square", "a blue square") and prompts.null == 2
    example = training_prompts(network_of("text"), cache, workspace).example(cache.videos[1])
    assert torch.equal(prompts.tokens[1][prompts.mask[1]], example["tokens"][example["mask"]])
    assert understood(trained(cache, workspace, "label"), [], workspace)[0] == ("blue", "red")


def test_another_text_encoder_than_in_training_is_refused(cache, workspace):
    denoiser = trained(cache, workspace, "text")
    write_encoder("t5", workspace.root / "encoder", seed=1)
    with pytest.raises(WeightsError, match="not the text encoder that the denoiser was trained with") as caught:
        understood(denoiser, ["a red square"], workspace)
    assert "\n" not in str(caught.value)


def test_a_denoiser_knows_its_encoder(cache, workspace, tmp_path):
    from lvdm.models.checkpoint import load_denoiser, save_denoiser

    denoiser = replace(trained(cache, workspace, "text"), prompts=(Prompt("red", "a red square"),))
    save_denoiser(tmp_path, denoiser)
    loaded = load_denoiser(tmp_path)
    assert (loaded.vocabulary, loaded.prompts, loaded.params) == (
        denoiser.vocabulary,
        denoiser.prompts,
        denoiser.params,
    )
