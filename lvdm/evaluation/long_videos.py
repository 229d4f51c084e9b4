"""The long videos of an experiment beside real ones: which, how they are read, and all that is measured of them.

They are read from their mp4 files: unlike short clips, samples are measured after compression here, as real videos are.
Not here: the measures themselves (drift.py, continuity.py, identity.py) and short clips (sets.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from lvdm.data.samples import SampleSet, VideoSample
from lvdm.data.sprites import RECIPE, load_recipe
from lvdm.data.video import check_unchanged, read_frames
from lvdm.errors import ArtefactError, WeightsError
from lvdm.evaluation.continuity import THREADS, Joins, measure_continuity
from lvdm.evaluation.drift import WINDOW, Drift, Windows, measure_drift
from lvdm.evaluation.extraction import ClipSet
from lvdm.evaluation.features import Extractor, load_extractor
from lvdm.evaluation.identity import Identity, measure_identity
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.protocol import Protocol, protocol_of
from lvdm.evaluation.result import Result
from lvdm.evaluation.sets import VideoClips, Window, as_seen, of_other_videos, of_split
from lvdm.fingerprints import sha256
from lvdm.params import Params
from lvdm.workspace import Workspace, need

FEWEST_REAL = 8  # real videos that long ones are measured against; as many as there are samples, if these are more
CROWD = 32  # real videos whose areas are measured, or twice as many as samples
BLOCK = 32  # frames decoded at once where single ones are asked for


@dataclass(frozen=True)
class LongVideos:
    """All that was measured of the long videos of an experiment."""

    drift: Drift
    continuity: Mapping[str, Mapping[str, float]]
    identity: Identity

    def added_to(self, result: Result, asked: Sequence[str]) -> Result:
        """The result with these numbers, and with the reason where there are none."""
        missing = {"drift": self.drift.not_available} if self.drift.not_available else {}
        if "joins" not in self.continuity:
            missing["joins"] = (
                "needs samples that say how they were made, with neighbouring latents that one window made"
            )
        result = replace(
            result,
            drift={**self.drift.numbers(), **self.continuity},
            not_available={**result.not_available, **missing},
        )
        return self.identity.added_to(result, asked)


def measure_long_videos(
    samples: SampleSet, manifest: pd.DataFrame, params: Params, workspace: Workspace, clips: ClipSet | None = None
) -> LongVideos:
    """The long videos of a sample set against real ones, as far along these as the samples are long.

    The real ones are the longest there are: of the labels of the samples where two of these reach as far as the samples
    do, of any label where two of those do, else again of those labels if there are two.
    `clips` are the short real clips of the protocol; those of the real videos themselves are left out, where enough are
    left.

    Raises:
        ArtefactError: fewer, shorter or other long videos than the protocol measures; a real one changed since ingest.
        VideoError: one cannot be read to its end.
    """
    protocol = protocol_of(params)
    long = _long(samples, protocol)
    reach = protocol.long_frames or max(sample.frames for sample in long)
    rows = _chosen(manifest, protocol, long, reach)
    fake = [_made(samples.folder, sample, min(sample.frames, reach), protocol) for sample in long]
    real = [replace(video, frames=min(len(video), reach)) for video in _real(rows, protocol, workspace)]
    if protocol.clip_frames != WINDOW:
        clips = None
    others = of_other_videos(clips, set(rows["checksum"]), len(long)) if clips is not None else None
    apart = others is not None and len(others) == len(long)
    drift = measure_drift(
        _windows(real, protocol),
        _windows(fake, protocol),
        _extractors(params, workspace),
        workspace,
        others if apart else clips,
        apart,
    )
    continuity = measure_continuity(real, fake, joins_of(samples))
    return LongVideos(drift, continuity, _identity(fake, manifest, params, workspace))


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video by index, as the networks see them, decoded a block at a time.

    Raises:
        ArtefactError: the file is not, byte for byte, the one of `checksum`.
    """

    path: Path
    checksum: str
    frames: int
    stride: int
    size: int

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "{self.size} {self.size} 3"]:
        start = index // BLOCK * BLOCK
        return _block(self, start)[index - start]


@functools.lru_cache(maxsize=4 * THREADS)
def _block(video: VideoFrames, start: int) -> UInt8[np.ndarray, "_ s s 3"]:
    check_unchanged(video.path, video.checksum)
    indices = range(start * video.stride, min(start + BLOCK, video.frames) * video.stride, video.stride)
    return as_seen(read_frames(video.path, indices), video.size).numpy()


def joins_of(samples: SampleSet) -> Joins | None:
    """Where latents and windows of latents begin in the long videos, if the sample set says how it was made."""
    made_with = samples.made_with
    if not {"time_factor", "long_latents", "joins"} <= made_with.keys():
        return None
    factor, num_latents = made_with["time_factor"], made_with["long_latents"]
    return Joins(
        latents=tuple(factor * latent for latent in range(1, num_latents)),
        windows=frozenset(factor * latent for latent in made_with["joins"]),
    )


def _long(samples: SampleSet, protocol: Protocol) -> list[VideoSample]:
    long = samples.samples("long")
    enough = [sample for sample in long if sample.frames >= protocol.long_frames]
    if len(enough) < protocol.long_videos:
        raise ArtefactError(
            f"{samples.folder}: long videos",
            expected=f"{protocol.long_videos} of {protocol.long_frames} frames, as protocol {protocol.name} measures",
            got=len(enough),
            remedy="raise sample.num_long_videos and sample.long_frames, or choose another protocol",
        )
    return enough[: protocol.long_videos or None]


def _made(folder: Path, sample: VideoSample, frames: int, protocol: Protocol) -> VideoFrames:
    """The first `frames` of a long sample, whose last one is looked for too."""
    path = need(folder / sample.file, f"sample {folder.name}")
    side = protocol.size
    if (shape := read_frames(path, [0, sample.frames - 1]).shape[1:3]) != (side, side):
        remedy = "where clips of params.yaml changed, make what came before anew: `dvc repro`"
        got = "{}x{}".format(*shape)
        raise ArtefactError(f"{path}: frames", expected=f"{side}x{side}", got=got, remedy=remedy)
    return VideoFrames(path, sha256(path), frames, 1, protocol.size)


def _chosen(manifest: pd.DataFrame, protocol: Protocol, long: Sequence[VideoSample], reach: int) -> pd.DataFrame:
    """Real videos that have a window, the longest first; a change along samples is held against one as far along."""
    rows = of_split(manifest, protocol.split).sample(frac=1, random_state=protocol.seed)
    rows = rows[rows["frames"] > (WINDOW - 1) * protocol.stride]
    alike = rows[rows["label"].isin([sample.label for sample in long if sample.label is not None])]
    as_far = (reach // WINDOW * WINDOW - 1) * protocol.stride
    reaching = next((those for those in (alike, rows) if (those["frames"] > as_far).sum() >= 2), None)
    chosen = reaching if reaching is not None else alike if len(alike) >= 2 else rows
    return chosen.nlargest(max(FEWEST_REAL, len(long)), "frames")


def _real(rows: pd.DataFrame, protocol: Protocol, workspace: Workspace) -> list[VideoFrames]:
    """Real videos at the stride of the protocol, whole: n frames have ceil(n / stride) of these."""
    stride, lengths = protocol.stride, (-(-int(frames) // protocol.stride) for frames in rows["frames"])
    videos = zip(rows["path"], rows["checksum"], lengths, strict=True)
    return [VideoFrames(workspace.root / path, known, n, stride, protocol.size) for path, known, n in videos]


def _windows(videos: Sequence[VideoFrames], protocol: Protocol) -> Windows:
    counts = tuple(video.frames // WINDOW for video in videos)
    stride = videos[0].stride if videos else 1
    span = WINDOW * stride
    windows = tuple(Window(i, w * span) for i, count in enumerate(counts) for w in range(count))
    paths, checksums = tuple(video.path for video in videos), tuple(video.checksum for video in videos)
    clips = VideoClips(paths, checksums, windows, replace(protocol, clip_frames=WINDOW, stride=stride))
    return Windows(ClipSet(clips, None, clips.content), counts)


def _identity(fake: Sequence[VideoFrames], manifest: pd.DataFrame, params: Params, workspace: Workspace) -> Identity:
    """The sprites of long videos beside those of real ones; empty if the videos are no sprites.

    The recipe lies beside the videos that were rendered from it, and nowhere else.
    """
    if not (workspace.videos / RECIPE).is_file():
        return Identity({}, {}, math.nan)
    protocol = protocol_of(params)
    rows = of_split(manifest, protocol.split).sample(frac=1, random_state=protocol.seed)
    longest = _real(rows.nlargest(FEWEST_REAL, "frames"), protocol, workspace)
    crowd = _real(rows.head(max(CROWD, 2 * len(fake))), protocol, workspace)
    return measure_identity(fake, longest, crowd, load_recipe(workspace.videos / RECIPE))


def _extractors(params: Params, workspace: Workspace) -> list[Extractor]:
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
