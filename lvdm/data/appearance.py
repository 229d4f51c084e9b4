"""What a video looks like, in three numbers that a person can filter by: black, frozen, or seen before.

Pure functions of a few frames. Not here: which videos are too dark, too still or too much alike; contract.py says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SAMPLED = 8  # frames, evenly spread, the first and the last among them
SIDE = 32  # pixels of the small grey pictures that are hashed
STILL = 0.05  # grey levels: coefficients this small are of the encoder and not of the video


@dataclass(frozen=True)
class Appearance:
    """Of frames sampled evenly over a video."""

    brightness: float  # mean luma, 0 (black) to 255
    motion: float  # mean |difference of luma| between one sampled frame and the next, 0 (frozen) to 255
    looks: str  # 64 bits as 16 hexadecimal digits: videos of few different bits look and move alike


def sampled_indices(num_frames: int) -> list[int]:
    """Which frames of a video to look at: SAMPLED of them; of a shorter video some twice."""
    return np.linspace(0, num_frames - 1, SAMPLED).round().astype(int).tolist()


def appearance(frames: UInt8[np.ndarray, "t h w 3"]) -> Appearance:
    """Measures the frames at `sampled_indices`.

    `looks` is a hash of the low frequencies of space and time, as of Coskun, Sankur and Memon, "Spatio-temporal
    transform based video hashing", 2006: the signs of 32 coefficients of the mean picture and of 32 of its slow
    changes. Its distance is the number of bits that differ; docs/data.md has measured ones.
    """
    grey = [Image.fromarray(frame).convert("L") for frame in frames]  # luma of ITU-R BT.601
    luma = np.stack([np.asarray(image, dtype=np.int16) for image in grey])
    motion = float(np.abs(np.diff(luma, axis=0)).mean()) if len(luma) > 1 else 0.0
    return Appearance(round(float(luma.mean()), 3), round(motion, 3), _looks(grey))


def _looks(grey: Sequence[Image.Image]) -> str:
    from scipy.fft import dctn

    small = np.stack([np.asarray(image.convert("F").resize((SIDE, SIDE), Image.Resampling.BOX)) for image in grey])
    waves = dctn(small.astype(np.float64), norm="ortho") / np.sqrt(small.size)  # in grey levels
    down, across = np.indices(waves.shape[1:])
    slowest_first = np.argsort((down + across).ravel(), kind="stable")[1:33]
    picture = waves[0].ravel()[slowest_first]
    changes = waves[1:3, :4, :4].ravel()
    return np.packbits(np.concatenate([picture, changes]) > STILL).tobytes().hex()
