"""The two sides of every comparison: held-out real clips as the protocol chooses them, and the clips of an experiment.

Not here: measuring them (protocol.py), reading the files (lvdm/data).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from lvdm.data.clips import to_clip, to_frames
from lvdm.data.samples import SampleSet
from lvdm.data.sprites import RECIPE, load_recipe
from lvdm.data.video import read_frames
from lvdm.errors import WeightsError
from lvdm.evaluation.drift import WINDOW, Drift, measure_drift
from lvdm.evaluation.features import Extractor, load_extractor
from lvdm.evaluation.identity import Identity, measure_identity
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.protocol import ClipSet, Protocol, Window, choose_windows
from lvdm.params import Params
from lvdm.workspace import Workspace

Said = Literal["label", "caption"]

SPLIT = "test"
MAX_REAL_VIDEOS = 8  # that drift and identity are measured against
CROWD = 32  # real videos whose areas are measured, or twice as many as samples
BLOCK = 32  # frames decoded at once where single ones are asked for


def protocol_of(params: Params) -> Protocol:
    """How this params.yaml measures."""
    clips, asked = params.clips, params.evaluate
    return Protocol("small", asked.num_clips, clips.frames, clips.stride, clips.size, SPLIT, asked.seed)


@dataclass(frozen=True)
class VideoClips:
    """Clips of videos, decoded when asked for, cropped and resized as for training."""

    paths: tuple[Path, ...]
    windows: tuple[Window, ...]
    protocol: Protocol

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int, /) -> UInt8[Tensor, "t h w 3"]:
        window, p = self.windows[index], self.protocol
        frames = read_frames(self.paths[window.video], range(window.start, window.start + p.span, p.stride))
        return _as_seen(frames, p.size)


def real_clips(manifest: pd.DataFrame, protocol: Protocol, root: Path, said: Said) -> ClipSet:
    """The real side: windows of videos of the protocol's split, twice as many as are measured if there are."""
    rows = manifest[manifest["split"] == protocol.split].reset_index(drop=True)
    windows = tuple(choose_windows(rows["frames"].tolist(), protocol, 2 * protocol.num_clips))
    captions = _captions([rows[said][window.video] for window in windows])
    return ClipSet(VideoClips(tuple(root / path for path in rows["path"]), windows, protocol), captions)


def asked_by(samples: SampleSet) -> Said:
    """Which column of the manifest the samples were asked for by."""
    return "caption" if any(sample.caption is not None for sample in samples.samples("clip")) else "label"


def fake_clips(samples: SampleSet) -> ClipSet:
    """The fake side: the short clips of a sample set."""
    return ClipSet(samples.clips(), _captions([sample.prompt for sample in samples.samples("clip")]))


def drift_of(samples: SampleSet, manifest: pd.DataFrame, params: Params, workspace: Workspace) -> Drift:
    """The long videos of a sample set against held-out real ones, as far along these as the samples are long.

    The real ones have the labels of the samples, where two of those are held out; the longest of them are chosen.
    """
    long = samples.samples("long")
    of_real = replace(protocol_of(params), clip_frames=WINDOW)
    of_fake = replace(of_real, stride=1)
    reach = max(sample.frames for sample in long)
    held_out = manifest[manifest["split"] == of_real.split].sample(frac=1, random_state=of_real.seed)
    held_out = held_out.assign(windows=(held_out["frames"] - of_real.span) // (WINDOW * of_real.stride) + 1)
    held_out = held_out[held_out["windows"] >= 1]
    alike = held_out[held_out["label"].isin([sample.label for sample in long if sample.label is not None])]
    chosen = (alike if len(alike) >= 2 else held_out).nlargest(MAX_REAL_VIDEOS, "windows")
    real = [
        _in_windows(workspace.root / row["path"], min(row["windows"], reach // WINDOW), of_real)
        for _, row in chosen.iterrows()
    ]
    fake = [_in_windows(samples.folder / sample.file, sample.frames // WINDOW, of_fake) for sample in long]
    return measure_drift(real, fake, _extractors_for_drift(params, workspace), workspace)


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video by index, as the networks see them, decoded a block at a time."""

    path: Path
    frames: int
    stride: int
    size: int

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "{self.size} {self.size} 3"]:
        start = index // BLOCK * BLOCK
        return _block(self, start)[index - start]


@functools.lru_cache(maxsize=4)
def _block(video: VideoFrames, start: int) -> UInt8[np.ndarray, "_ s s 3"]:
    indices = range(start * video.stride, min(start + BLOCK, video.frames) * video.stride, video.stride)
    return _as_seen(read_frames(video.path, indices), video.size).numpy()


def identity_of(samples: SampleSet, manifest: pd.DataFrame, params: Params, workspace: Workspace) -> Identity:
    """The sprites of the long videos of a sample set beside held-out real ones; empty if the videos are no sprites.

    The recipe lies beside the videos that were rendered from it, and nowhere else.
    """
    if not (workspace.videos / RECIPE).is_file():
        return Identity({}, {}, math.nan)
    protocol = protocol_of(params)
    held_out = manifest[manifest["split"] == protocol.split].sample(frac=1, random_state=protocol.seed)

    def real(rows: pd.DataFrame) -> list[VideoFrames]:
        lengths = (int(frames) // protocol.stride for frames in rows["frames"])
        paths = (workspace.root / path for path in rows["path"])
        return [VideoFrames(path, n, protocol.stride, protocol.size) for path, n in zip(paths, lengths, strict=True)]

    fake = [VideoFrames(samples.folder / s.file, s.frames, 1, protocol.size) for s in samples.samples("long")]
    longest = real(held_out.nlargest(MAX_REAL_VIDEOS, "frames"))
    crowd = real(held_out.head(max(CROWD, 2 * len(fake))))
    return measure_identity(fake, longest, crowd, load_recipe(workspace.videos / RECIPE))


def _in_windows(path: Path, count: int, protocol: Protocol) -> VideoClips:
    """The first `count` windows of a video, end to end."""
    starts = range(0, count * WINDOW * protocol.stride, WINDOW * protocol.stride)
    return VideoClips((path,), tuple(Window(0, start) for start in starts), protocol)


def _extractors_for_drift(params: Params, workspace: Workspace) -> list[Extractor]:
    """Those of the metrics asked for that compare features, as far as their weights are there, and static frames."""
    asked = [METRICS[key] for key in params.evaluate.metrics]
    names = [metric.features for metric in asked if metric.measure not in ("caption", "identity")]
    extractors = []
    for name in dict.fromkeys((*names, "static")):
        try:
            extractors.append(load_extractor(name, workspace, workspace.machine.device))
        except WeightsError:  # the metric itself is reported as not available, with the remedy
            continue
    return extractors


def _as_seen(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> UInt8[Tensor, "t {size} {size} 3"]:
    """Frames as the networks of this project see them: resized and cropped, in uint8."""
    return torch.from_numpy(to_frames(to_clip(frames, size)))


def _captions(said: list[str | None]) -> list[str] | None:
    texts = [text for text in said if isinstance(text, str)]
    return texts if len(texts) == len(said) else None
