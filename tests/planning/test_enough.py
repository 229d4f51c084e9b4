"""What a later stage will refuse is said beforehand, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lvdm.evaluation.protocol import protocol_of
from lvdm.evaluation.sets import real_clips
from lvdm.params import Params, parse_params
from lvdm.planning.enough import shortcomings

ROOT = Path(__file__).parents[2]


def params(num_clips: int = 2, stride: int = 1) -> Params:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clips"]["stride"], document["evaluate"]["num_clips"] = stride, num_clips
    return parse_params(document)


def videos(train: int, test: int) -> pd.DataFrame:
    """Four of `train` frames to train on, three of `test` to hold out."""
    rows = [("train", train)] * 4 + [("test", test)] * 3
    found = pd.DataFrame(rows, columns=["split", "frames"])
    return found.assign(
        path=[f"{i}.mp4" for i in range(7)], checksum=[str(i) for i in range(7)], label="walks", caption=None
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_length_that_is_asked_for_is_the_shortest_that_will_do(stride: int) -> None:
    asked = params(stride=stride)
    (line,) = shortcomings(asked, videos(20, 400), ["perturbed"])
    found = re.match(r"train_denoiser perturbed will stop: .* of (\d+) frames, .* has 20;", line)
    assert found
    frames = int(found[1])
    assert len(list(shortcomings(asked, videos(frames - 1, 400), ["perturbed"]))) == 1
    assert not list(shortcomings(asked, videos(frames, 400), ["perturbed"]))


def test_as_many_real_clips_are_counted_as_evaluate_finds() -> None:
    asked, found = params(num_clips=8), videos(200, 35)
    (line,) = shortcomings(asked, found, [])
    real = len(real_clips(found, protocol_of(asked), ROOT, "label")["test"])
    assert f"measures 8 real clips, split test gives {real}; lower evaluate.num_clips" in line
    assert not list(shortcomings(params(num_clips=real), found, []))


@pytest.mark.parametrize(("condition", "what"), [("label", "label"), ("text", "caption"), ("none", None)])
def test_videos_of_which_nothing_is_said_stop_a_denoiser_that_is_asked_for_it(condition: str, what: str | None) -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["evaluate"]["num_clips"] = 2
    document["train_denoiser"]["network"]["condition"] = condition
    if condition == "text":
        document["train_denoiser"]["network"]["text"] = {"encoder": "minilm"}
    if condition == "none":
        document["train_denoiser"]["objective"]["drop_condition"] = document["sample"]["condition_guidance"] = 0.0
    asked, silent = parse_params(document), videos(200, 200).assign(label=None)
    lines = list(shortcomings(asked, silent, ["perturbed"]))
    assert [f"has a {what}, which" in line for line in lines] == ([True] if what else [])
    assert not list(shortcomings(asked, silent.assign(label="a", caption="b"), ["perturbed"]))
