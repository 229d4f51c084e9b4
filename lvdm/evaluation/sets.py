"""The two sides of every comparison: held-out real clips as the protocol chooses them, and the clips of an experiment.

Not here: measuring them (measuring.py), reading the files (lvdm/data).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from lvdm.data.frames import squared
from lvdm.data.samples import SampleSet
from lvdm.data.video import check_unchanged, read_frames
from lvdm.errors import ArtefactError
from lvdm.evaluation.extraction import ClipSet
from lvdm.evaluation.protocol import FEWEST, Protocol, Split
from lvdm.fingerprints import fingerprint

Said = Literal["label", "caption"]


@dataclass(frozen=True)
class Window:
    """A clip of a video: frames start, start + stride, ..., as many as a clip has."""

    video: int
    start: int


def choose_windows(num_frames: Sequence[int], protocol: Protocol, count: int) -> list[Window]:
    """Up to `count` windows of videos that have `num_frames` frames each, as `protocol.real` says, in seeded order.

    Disjoint windows of a video lie end to end from a random offset. Videos shorter than a clip give none. Fewer are the
    first of more.
    """
    generator = torch.Generator().manual_seed(protocol.seed)
    rounds: list[list[Window]] = []
    for video in torch.randperm(len(num_frames), generator=generator).tolist():
        possible = num_frames[video] // protocol.span
        windows = min(possible, 1) if protocol.real == "one of every video" else possible
        offset = int(torch.randint(num_frames[video] - windows * protocol.span + 1, (1,), generator=generator))
        order = torch.randperm(windows, generator=generator).tolist()
        rounds += [[] for _ in range(windows - len(rounds))]
        for place, window in enumerate(order):
            rounds[place].append(Window(video, offset + window * protocol.span))
    return [window for windows in rounds for window in windows][:count]


def fewest_real(protocol: Protocol) -> int:
    """Real clips without which nothing is measured: two halves, each with a covariance, make the floor."""
    return max(protocol.num_clips, 2 * FEWEST)


@dataclass(frozen=True)
class VideoClips:
    """Clips of videos, decoded when asked for, cropped and resized as for training.

    Raises:
        ArtefactError: a video that is read is not, byte for byte, the one of `checksums`.
    """

    paths: tuple[Path, ...]
    checksums: tuple[str, ...]
    windows: tuple[Window, ...]
    protocol: Protocol

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int, /) -> UInt8[Tensor, "t h w 3"]:
        window, p = self.windows[index], self.protocol
        path = self.paths[window.video]
        check_unchanged(path, self.checksums[window.video])
        return as_seen(read_frames(path, range(window.start, window.start + p.span, p.stride)), p.size)

    @property
    def content(self) -> str:
        """A hash of what the clips are: which frames of which files, seen in which way."""
        which, p = [(self.checksums[window.video], window.start) for window in self.windows], self.protocol
        return fingerprint(which, p.clip_frames, p.stride, p.size, p.resize)


def real_clips(manifest: pd.DataFrame, protocol: Protocol, root: Path, said: Said) -> dict[Split, ClipSet]:
    """The real sides by split: that of the protocol twice as large as is measured if it can be, for the floor.

    Of split train there are those that are searched for copies too.
    """
    n = protocol.num_clips
    counts: dict[Split, int] = {"train": max(n, protocol.searched), "test": n}
    counts[protocol.split] = max(2 * n, counts.get(protocol.split, 0))
    return {split: _real_clips(manifest, replace(protocol, split=split), root, said, counts[split]) for split in counts}


def _real_clips(manifest: pd.DataFrame, protocol: Protocol, root: Path, said: Said, count: int) -> ClipSet:
    rows = of_split(manifest, protocol.split).reset_index(drop=True)
    windows = tuple(choose_windows(rows["frames"].tolist(), protocol, count))
    captions = _captions([rows[said][window.video] for window in windows])
    clips = VideoClips(tuple(root / path for path in rows["path"]), tuple(rows["checksum"]), windows, protocol)
    return ClipSet(clips, captions, clips.content)


def of_other_videos(clips: ClipSet, checksums: Collection[str], count: int) -> ClipSet:
    """The first `count` real clips of none of these videos, or fewer."""
    videos = clips.clips
    assert isinstance(videos, VideoClips)
    windows = [window for window in videos.windows if videos.checksums[window.video] not in checksums]
    others = replace(videos, windows=tuple(windows[:count]))
    return ClipSet(others, None, others.content)


def of_split(manifest: pd.DataFrame, split: Split) -> pd.DataFrame:
    """The videos of a split, in the order of their paths."""
    return manifest[manifest["split"].isin(split.split("+"))].sort_values("path")


@dataclass(frozen=True)
class SampleClips:
    """The first `count` short clips of a sample set, read one at a time."""

    samples: SampleSet
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> UInt8[Tensor, "t h w 3"]:
        return self.samples.clips()[index]


def asked_by(samples: SampleSet) -> Said:
    """Which column of the manifest the samples were asked for by."""
    return "caption" if any(sample.caption is not None for sample in samples.samples("clip")) else "label"


def fake_clips(samples: SampleSet, protocol: Protocol) -> ClipSet:
    """The fake side: the short clips of a sample set that are measured, or all if they are too few.

    Raises:
        ArtefactError: a file of the set is missing, or not as it was written.
    """
    said = [sample.prompt for sample in samples.samples("clip")]
    if (there := len(samples.clips())) != len(said):
        remedy = f"run `lvdm sample {samples.folder.name}` again"
        raise ArtefactError(f"{samples.folder}: short clips", expected=f"{len(said)}", got=there, remedy=remedy)
    prompts = said[: protocol.num_clips]
    content = fingerprint(samples.digest, len(prompts))
    return ClipSet(SampleClips(samples, len(prompts)), _captions(prompts), content)


def as_seen(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> UInt8[Tensor, "t {size} {size} 3"]:
    """Frames as the networks of this project see them, resized and cropped; in memory channels come first."""
    return squared(frames, size).permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)


def _captions(said: list[str | None]) -> list[str] | None:
    texts = [text for text in said if isinstance(text, str)]
    return texts if len(texts) == len(said) else None
