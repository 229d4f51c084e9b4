"""From frames of video files to clips, and back.

A clip is `Float[Tensor, "c t s s"]` in [-1, 1], square. Which clip an index or a seed means never depends on workers,
batches or GPUs. Not here: the latents of clips (latents.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lvdm.data.video import read_frames
from lvdm.errors import ArtefactError
from lvdm.params import Clips


def to_clip(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> Float[Tensor, "3 t s s"]:
    """The shorter side resized to `size` (bilinear, antialiased), the centre cropped, [0, 255] -> [-1, 1].

    Resized in 8 bits, as the frames come: 10 to 25 times as fast as in floats, and at most a level off.
    """
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    height, width = pixels.shape[2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        resized = (max(size, round(height * scale)), max(size, round(width * scale)))
        pixels = F.interpolate(pixels, resized, mode="bilinear", antialias=True, align_corners=False)
    top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
    square = pixels[:, :, top : top + size, left : left + size].transpose(0, 1)
    return torch.empty(square.shape).copy_(square).div_(127.5).sub_(1)


def to_frames(clip: Float[Tensor, "3 t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """[-1, 1] -> [0, 255], rounded; what lies outside is clamped. The inverse of `to_clip` without its resizing."""
    return as_frames(clip).cpu().numpy()


def as_frames(clip: Float[Tensor, "3 t h w"]) -> UInt8[Tensor, "t h w 3"]:
    """`to_frames` on the device of the clip, which is not waited for."""
    pixels = ((clip.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(1, 2, 3, 0).to(torch.uint8)


class TrainingClips(Dataset[dict[str, Tensor]]):
    """Clips of the videos of split train: any index >= 0 is a clip, a pure function of (seed, index)."""

    def __init__(self, manifest: pd.DataFrame, clips: Clips, root: Path, seed: int):
        """`manifest` is of validated rows; their paths are relative to `root`.

        Raises:
            ArtefactError: no video of split train is long enough.
        """
        self.rows = _long_enough(manifest[manifest["split"] == "train"], clips, 1, "split train")
        self.clips, self.root, self.seed = clips, root, seed

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.rows)

    def place(self, index: int) -> tuple[Path, range]:
        """Which file a clip is from, and which of its frames."""
        random = np.random.default_rng([self.seed, index])
        return _random_place(self.rows.iloc[random.integers(len(self.rows))], self.clips, self.root, random)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"clip": to_clip(read_frames(*self.place(index)), self.clips.size)}


def fixed_clips(
    rows: pd.DataFrame, clips: Clips, root: Path, num: int, seed: int
) -> Iterator[Float[Tensor, "3 t s s"]]:
    """`num` clips of as many videos, each from a random start: the same for any caller.

    Raises:
        ArtefactError: fewer of the videos are long enough.
    """
    candidates = _long_enough(rows, clips, num, "these videos")
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:num]
    places = (_random_place(candidates.iloc[i], clips, root, np.random.default_rng([seed, int(i)])) for i in chosen)
    return (to_clip(read_frames(*place), clips.size) for place in places)


def whole_video(row: pd.Series, clips: Clips, root: Path, chunk_frames: int) -> Iterator[Float[Tensor, "3 t s s"]]:
    """All of a video at the stride of `clips`, `chunk_frames` at a time.

    Raises:
        VideoError: the video cannot be read.
    """
    frames = range(0, int(row["frames"]), clips.stride)
    for start in range(0, len(frames), chunk_frames):
        yield to_clip(read_frames(root / row["path"], frames[start : start + chunk_frames]), clips.size)


def _random_place(row: pd.Series, clips: Clips, root: Path, random: np.random.Generator) -> tuple[Path, range]:
    start = int(random.integers(int(row["frames"]) - clips.span + 1))
    return root / row["path"], range(start, start + clips.span, clips.stride)


def _long_enough(rows: pd.DataFrame, clips: Clips, num: int, what: str) -> pd.DataFrame:
    enough = rows[(rows["frames"] >= clips.span).fillna(False)]
    if len(enough) < num:
        raise ArtefactError(
            f"{what}: too few of {len(rows)} have {clips.span} frames",
            expected=f"at least {num}",
            got=len(enough),
            remedy="add videos, or ask for fewer or shorter clips",
        )
    return enough.reset_index(drop=True)
