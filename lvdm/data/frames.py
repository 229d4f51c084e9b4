"""Frames in 8 bits, as files hold them, and clips in [-1, 1], as networks take them.

Frames are "t h w 3" in memory, and a quarter of the bytes of a clip: so frames are what is loaded and sent to a device.
Not here: which frames of which video (clips.py), and their reading (video.py).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class Video(Protocol):
    """Frames by index, uint8 "h w 3", decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


def squared(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> UInt8[Tensor, "t {size} {size} 3"]:
    """The shorter side resized to `size` (bilinear, antialiased), the centre cropped.

    Resized in 8 bits, as the frames come: 10 to 25 times as fast as in floats, and at most a level off.
    """
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    height, width = pixels.shape[2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        resized = (max(size, round(height * scale)), max(size, round(width * scale)))
        pixels = F.interpolate(pixels, resized, mode="bilinear", antialias=True, align_corners=False)
    top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
    return pixels[:, :, top : top + size, left : left + size].permute(0, 2, 3, 1).contiguous()


def as_clip(frames: UInt8[Tensor, "*b t h w 3"]) -> Float[Tensor, "*b 3 t h w"]:
    """[0, 255] -> [-1, 1], on the device of the frames, channels last in memory."""
    return frames.movedim(-1, -4).float().div_(127.5).sub_(1)


def as_frames(clip: Float[Tensor, "*b 3 t h w"]) -> UInt8[Tensor, "*b t h w 3"]:
    """[-1, 1] -> [0, 255], rounded, on the device of the clip; what lies outside is clamped. Undoes `as_clip`."""
    pixels = ((clip.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.movedim(-4, -1).to(torch.uint8)
