"""Frames become clips and clips frames: nothing of the pixels is lost, and the crop is the centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lvdm.data.frames import as_clip, as_frames, squared


def test_all_levels_survive_the_way_there_and_back_and_are_spread_evenly():
    frames = torch.randint(0, 256, (2, 3, 16, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clip = as_clip(frames)
    assert clip.shape == (2, 3, 3, 16, 8) and clip.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(as_frames(clip), frames)
    levels = as_clip(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256, 1).expand(-1, -1, -1, 3))
    torch.testing.assert_close(levels[0, 0, 0], torch.linspace(-1, 1, 256))


@pytest.mark.parametrize(("height", "width"), [(16, 33), (40, 16), (120, 33), (7, 9)])
def test_any_shape_becomes_a_square_of_its_centre(height, width):
    assert torch.equal(squared(np.full((2, height, width, 3), 200, np.uint8), 16), torch.full((2, 16, 16, 3), 200))


@pytest.mark.parametrize("size", [24, 100])
def test_frames_are_resized_as_pillow_does(size):
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    width = round(80 * size / 48)
    resized = [Image.fromarray(f).resize((width, size), Image.Resampling.BILINEAR) for f in frames]
    left = (width - size) // 2
    wanted = np.stack(resized)[:, :, left : left + size].astype(int)
    assert np.abs(squared(frames, size).numpy() - wanted).max() <= 1


def test_the_crop_is_the_centre():
    frames = np.zeros((1, 16, 48, 3), dtype=np.uint8)
    frames[:, :, 16:32] = 255
    assert (squared(frames, 16) == 255).all()


def test_values_outside_are_clamped():
    assert as_frames(torch.tensor([-3.0, 3.0]).repeat(3, 1, 1, 1)).tolist() == [[[[0, 0, 0], [255, 255, 255]]]]
