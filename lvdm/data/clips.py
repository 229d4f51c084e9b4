"""Which frames of which video a clip is: for training, held out, and those of a whole video.

Which clip an index or a seed means never depends on workers, batches or GPUs. Clips are in 8 bits here.
Not here: a clip as networks take it (frames.py), and latents (latents.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lvdm.data.frames import squared
from lvdm.data.video import read_frames
from lvdm.errors import ArtefactError
from lvdm.params import Clips


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
        return {"frames": squared(read_frames(*self.place(index)), self.clips.size)}


def fixed_clips(
    rows: pd.DataFrame, clips: Clips, root: Path, num: int, seed: int
) -> Iterator[UInt8[Tensor, "t s s 3"]]:
    """`num` clips of as many videos, each from a random start: the same for any caller.

    Raises:
        ArtefactError: fewer of the videos are long enough.
    """
    candidates = _long_enough(rows, clips, num, "these videos")
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:num]
    places = (_random_place(candidates.iloc[i], clips, root, np.random.default_rng([seed, int(i)])) for i in chosen)
    return (squared(read_frames(*place), clips.size) for place in places)


def whole_video(row: pd.Series, clips: Clips, root: Path, chunk_frames: int) -> Iterator[UInt8[Tensor, "t s s 3"]]:
    """All of a video at the stride of `clips`, `chunk_frames` at a time.

    Raises:
        VideoError: the video cannot be read.
    """
    frames = range(0, int(row["frames"]), clips.stride)
    for start in range(0, len(frames), chunk_frames):
        yield squared(read_frames(root / row["path"], frames[start : start + chunk_frames]), clips.size)


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
