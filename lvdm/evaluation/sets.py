"""The two sides of every comparison: held-out real clips as the protocol chooses them, and the clips of an experiment.

Not here: measuring them (protocol.py), reading the files (lvdm/data).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from lvdm.data.clips import to_clip, to_frames
from lvdm.data.samples import SampleSet
from lvdm.data.video import read_frames
from lvdm.evaluation.protocol import ClipSet, Protocol, Window, choose_windows


@dataclass(frozen=True)
class RealClips:
    """Clips of videos, decoded when asked for, cropped and resized as for training."""

    paths: tuple[Path, ...]
    windows: tuple[Window, ...]
    protocol: Protocol

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int, /) -> UInt8[Tensor, "t h w 3"]:
        window, p = self.windows[index], self.protocol
        indices = range(window.start, window.start + p.clip_frames * p.stride, p.stride)
        return square(read_frames(self.paths[window.video], indices), p.size)


def real_clips(manifest: pd.DataFrame, protocol: Protocol, root: Path) -> ClipSet:
    """The real side: windows of the validated videos of the protocol's split, twice as many as measured if there are."""
    rows = manifest[manifest["split"] == protocol.split].reset_index(drop=True)
    windows = tuple(choose_windows(rows["frames"].tolist(), protocol, 2 * protocol.num_clips))
    captions = _captions(rows["label"].iloc[[w.video for w in windows]].tolist())
    return ClipSet(RealClips(tuple(root / path for path in rows["path"]), windows, protocol), captions)


def fake_clips(samples: SampleSet) -> ClipSet:
    """The fake side: the short clips of a sample set."""
    return ClipSet(samples.clips, _captions([made.label for made in samples.made]))


def square(frames, size: int) -> UInt8[Tensor, "t s s 3"]:
    """Frames as the networks of this project see them: resized, cropped, back in uint8."""
    return torch.from_numpy(to_frames(to_clip(frames, size)))


def _captions(labels: list[str | None]) -> list[str] | None:
    texts = [label for label in labels if isinstance(label, str)]
    return texts if len(texts) == len(labels) else None
