"""Similarity by lag and steps at joins, of videos whose jumps are known; copies among the samples are found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from lvdm.data.video import write_video
from lvdm.diffusion.long_video import plan_long_video
from lvdm.evaluation import continuity, long_videos
from lvdm.evaluation.continuity import LAGS, NO_JOINS, Joins, look_through, measure_continuity
from lvdm.evaluation.extraction import ClipSet
from lvdm.evaluation.long_videos import VideoFrames
from lvdm.evaluation.measuring import evaluate
from lvdm.evaluation.memorisation import nearest_training_clips
from lvdm.evaluation.protocol import PROTOCOLS, Split
from lvdm.fingerprints import sha256
from lvdm.workspace import Workspace
from tests.evaluation.conftest import TinyDetector, install_detector, moving_square

JOINS = Joins(latents=tuple(range(4, 64, 4)), windows=frozenset(range(16, 64, 16)))


def ramp(jumps: float = 0.0, frames: int = 64, step: int = 1) -> np.ndarray:
    """A grey video that brightens by `step` a frame, and by `jumps` more at each join."""
    levels = [20 + step * t + jumps * (t // 16) for t in range(frames)]
    return np.stack([np.full((16, 16, 3), level, dtype=np.uint8) for level in levels])


def test_steps_are_those_of_the_video() -> None:
    assert look_through(ramp(), JOINS).steps == (1, 1)
    assert look_through(ramp(jumps=3), JOINS).steps == (4, 1)


def test_joins_that_show_are_told_from_those_that_do_not_with_an_interval_over_videos() -> None:
    videos = [ramp(jumps, step=step) for jumps, step in ((2, 1), (3, 1), (4, 1), (6, 2), (4, 2))]
    found = measure_continuity([ramp()] * 5, videos, JOINS)["joins"]
    assert (found["fake"], found["real"]) == (pytest.approx(26 / 7), 1)
    assert 1 < found["fake_low"] < found["fake"] < found["fake_high"]
    assert (found["real_low"], found["real_high"]) == (1, 1)


def test_any_number_of_threads_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [ramp(jumps, step=step) for jumps, step in ((2, 1), (3, 1), (4, 1), (6, 2), (4, 2))]
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(continuity, "THREADS", threads)
        found.append(measure_continuity([ramp()] * 5, videos, JOINS))
    assert found[0] == found[1]


def test_without_knowledge_of_joins_nothing_is_said_of_them() -> None:
    assert "joins" not in measure_continuity([ramp()], [ramp()], None)
    all_join = Joins(latents=(4, 8), windows=frozenset((4, 8)))
    assert "joins" not in measure_continuity([ramp()], [ramp()], all_join)
    assert "joins" not in measure_continuity([ramp()], [ramp(step=0)], JOINS), "what stands still does so at joins too"


def test_what_measures_on_one_thread_leaves_as_many_as_there_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        measure_continuity([ramp(frames=8)], [ramp(frames=8)], None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("lag", LAGS)
def test_similarity_of_plain_frames_has_the_closed_form_of_their_levels(lag: int) -> None:
    """Without contrast SSIM is (2 a b + C) / (a^2 + b^2 + C), C = (0.01 x 255)^2."""
    levels, video = [20 + t for t in range(96)], ramp(frames=96)
    pairs = [(levels[t], levels[t + lag]) for t in range(0, 96 - lag, 16)]
    expected = [(2 * a * b + 2.55**2) / (a**2 + b**2 + 2.55**2) for a, b in pairs]
    assert look_through(video, NO_JOINS).similarity[lag] == pytest.approx(sum(expected) / len(expected), abs=1e-9)


def test_similarity_falls_with_the_lag_and_is_one_where_nothing_moves() -> None:
    moving = moving_square(3, 96).numpy()
    found = [look_through(moving, NO_JOINS).similarity[lag] for lag in LAGS]
    assert found[0] > found[1] > found[2]
    assert look_through(np.repeat(moving[:1], 60, axis=0), NO_JOINS).similarity[50] == pytest.approx(1)
    assert np.isnan(look_through(moving[:50], NO_JOINS).similarity[50])


def test_no_frame_of_a_video_is_decoded_twice(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, iter([moving_square(0, 200).numpy()]), fps=8.0)
    video = VideoFrames(path, sha256(path), 200, 1, 32)
    long_videos._block.cache_clear()
    joins = Joins(latents=tuple(range(4, 200, 4)), windows=frozenset(range(32, 200, 32)))
    seen = look_through(video, joins)
    assert long_videos._block.cache_info().misses == math.ceil(200 / long_videos.BLOCK)
    assert seen == look_through(np.stack([video[i] for i in range(200)]), joins)


@pytest.mark.parametrize(
    ("scheme", "overlap", "expected"),
    [("hierarchical", 1, (1, 4, 5, 8, 9, 12, 13, 16)), ("autoregressive", 2, (5, 8, 11, 14))],
)
def test_the_plan_knows_where_windows_join(
    scheme: Literal["hierarchical", "autoregressive"], overlap: int, expected: tuple[int, ...]
) -> None:
    assert plan_long_video(17, 5, (1, 4), overlap, scheme).joins == expected


def test_copies_of_training_clips_are_found_and_samples_of_the_same_kind_are_none() -> None:
    generator = torch.Generator().manual_seed(0)
    training, held_out, others = (torch.randn(200, 1, 8, generator=generator) for _ in range(3))
    honest = nearest_training_clips(others, held_out, training)
    assert honest["nearer"] == pytest.approx(0.5, abs=0.08)
    assert honest["copies"] < 0.03
    nearest = (others - training[:, 0]).norm(dim=2).amin(dim=1)
    assert honest["fake"] == pytest.approx(np.median(nearest.numpy())), "of 200 the mean of the two in the middle"
    copied = nearest_training_clips(torch.cat([others[:100], training[:100]]), held_out, training)
    assert copied["copies"] == pytest.approx(0.5, abs=0.03)
    assert copied["nearer"] == pytest.approx(0.75, abs=0.08)
    assert nearest_training_clips(training, held_out, training)["fake"] == 0


def test_as_many_held_out_clips_as_samples_are_searched_for_however_many_there_are(workspace: Workspace) -> None:
    networks = install_detector(workspace, TinyDetector())
    protocol = replace(PROTOCOLS["small"], num_clips=4, clip_frames=16, stride=1, size=32)
    held_out, train, fake = ([moving_square(first + i) for i in range(8)] for first in (0, 100, 200))

    def found(num_held_out: int) -> Mapping[str, float]:
        reals: dict[Split, ClipSet] = {"test": ClipSet(held_out[:num_held_out]), "train": ClipSet(train)}
        return evaluate(reals, ClipSet(fake), protocol, ("fvd",), workspace, networks).memorisation["i3d"]

    assert found(4) == found(8)
