"""The benchmark runs, and those whom it compares read the same frames."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clips import by_decord, by_pyav, ingested, main, write_videos
from lvdm.data.frames import squared
from lvdm.params import Clips

TINY = ["--videos", "2", "--frames", "40", "--video-size", "64", "64", "--clip-frames", "4", "--clip-size", "32"]


def test_all_read_the_same_frames(tmp_path):
    write_videos(tmp_path / "videos", 2, (64, 64), frames=40, keyframe_interval=10)
    clips = ingested(tmp_path / "workspace", tmp_path / "videos", Clips(frames=8, size=32, stride=2))
    for index in range(6):
        read = by_decord(clips, index)
        np.testing.assert_array_equal(by_pyav(clips, index), read)
        np.testing.assert_array_equal(clips[index]["frames"].numpy(), squared(read, 32).numpy())


def test_it_prints_the_ratios(capsys):
    ratios = main([*TINY, "--seconds", "0.05", "--workers", "1"])
    printed = capsys.readouterr().out
    assert set(ratios) == {"ours", "PyAV", "transcode"}
    assert f"{ratios['ours']:5.2f} of decord alone" in printed
    assert f"transcoded, ours reads {ratios['transcode']:.2f} times as many" in printed


def test_memory_is_that_of_this_process(capsys):
    ratio = main([*TINY, "--memory", "20"])["memory"]
    assert ratio == pytest.approx(1, abs=0.5)
    assert capsys.readouterr().out.count("clips a second") == 10
