"""Real clips are chosen by a rule that a seed decides, and read as they lie in their videos."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch

from lvdm.data.video import write_video
from lvdm.evaluation.protocol import Clips as ClipsInterface
from lvdm.evaluation.real import RealClips, Window, choose_windows
from lvdm.params import Clips
from tests.evaluation.conftest import moving_square

CLIPS = Clips(frames=16, size=32, stride=1)


def test_windows_are_disjoint_inside_their_video_and_spread_over_the_videos_first() -> None:
    lengths = [31, 100, 30, 200, 64]
    windows = choose_windows(lengths, CLIPS.model_copy(update={"stride": 2}), seed=0)
    assert [sum(w.video == v for w in windows) for v in range(5)] == [1, 3, 0, 6, 2]
    assert {w.video for w in windows[:4]} == {0, 1, 3, 4}
    for video, length in enumerate(lengths):
        starts = sorted(w.start for w in windows if w.video == video)
        assert all(b - a >= 31 for a, b in itertools.pairwise(starts))
        assert all(0 <= start <= length - 31 for start in starts)


def test_windows_depend_on_the_seed_alone() -> None:
    lengths = [50] * 20
    assert choose_windows(lengths, CLIPS, 0) == choose_windows(lengths, CLIPS, 0) != choose_windows(lengths, CLIPS, 1)
    assert choose_windows([16], CLIPS, 5) == [Window(0, 0)]


def test_a_real_clip_is_the_frames_of_its_window(tmp_path: Path) -> None:
    video = moving_square(0, frames=40)
    write_video(tmp_path / "a.mp4", [video.numpy()], 8.0)
    clips = RealClips([tmp_path / "a.mp4"], [Window(0, 5)], CLIPS.model_copy(update={"frames": 4, "stride": 3}))
    assert isinstance(clips, ClipsInterface)
    expected = video[5:17:3].float()
    assert clips[0].shape == (4, 32, 32, 3)
    assert (clips[0].float() - expected).abs().mean() < 8
    assert torch.equal(clips[0], clips[0])
