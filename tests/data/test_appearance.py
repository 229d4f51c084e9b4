"""What black, frozen and recompressed videos look like in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lvdm.data.appearance import SAMPLED, appearance, sampled_indices
from lvdm.data.video import read_frames, write_video

from .footage import encoded, moving


def differing_bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def waves(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Eight frames of many slow waves of space and time, other ones for every seed."""
    random = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(8) / 8, np.arange(height) / height, np.arange(width) / width, indexing="ij")
    grey = sum(
        np.sin(2 * np.pi * (random.normal(size=4) @ [t.ravel(), y.ravel() * 2, x.ravel() * 2, 1 + 0 * t.ravel()]))
        for _ in range(40)
    )
    levels = np.clip(128 + 12 * grey.reshape(t.shape), 0, 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def test_brightness_is_the_mean_luma_and_a_black_video_has_none():
    assert appearance(np.zeros((8, 16, 16, 3), np.uint8)).brightness == 0
    colour = np.broadcast_to(np.array([200, 100, 50], np.uint8), (8, 16, 16, 3))
    assert appearance(colour).brightness == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=0.6)


def test_motion_is_the_mean_change_and_a_frozen_video_has_none():
    still = np.repeat(moving(frames=1), 8, axis=0)
    assert appearance(still).motion == 0
    blinking = np.zeros((8, 16, 16, 3), np.uint8)
    blinking[::2] = 200
    assert appearance(blinking).motion == 200
    assert appearance(moving(frames=8)).motion > 1


def test_one_frame_has_no_motion():
    assert appearance(moving(frames=1)).motion == 0


@pytest.mark.parametrize("num_frames", [1, 3, 8, 1000])
def test_the_sampled_frames_reach_from_the_first_to_the_last(num_frames):
    indices = sampled_indices(num_frames)
    assert (indices[0], indices[-1], len(indices)) == (0, num_frames - 1, SAMPLED)
    assert indices == sorted(indices)


@pytest.mark.parametrize("seed", range(2))
def test_recompressed_and_rescaled_copies_look_alike_and_other_videos_do_not(tmp_path, seed):
    write_video(tmp_path / "a.mp4", [waves(seed)], fps=8.0)
    original = appearance(read_frames(tmp_path / "a.mp4", range(8))).looks
    worse = encoded(tmp_path / "b.avi", "mpeg4", frames=waves(seed), b="100k")
    smaller = encoded(tmp_path / "c.mp4", "libx264", frames=waves(seed)[:, ::2, ::2], crf="30")
    for copy in (worse, smaller):
        assert differing_bits(original, appearance(read_frames(copy, range(8))).looks) <= 6
    for other in range(2, 5):
        assert differing_bits(original, appearance(waves(other)).looks) > 12
    assert differing_bits(original, appearance(waves(seed)[::-1]).looks) > 6, "played backwards it is another video"
