"""How a long video changes along its length, window of 16 frames by window, against real videos of any length.

The relative distance is how far the features of a window lie from the mean of real windows, in units of how far real
windows lie: 1 is like real video, at the start and at the end. It means something for a handful of videos, but it is no
distance of distributions and does not see missing variety. That does the Frechet distance of the n-th windows of all
videos to as many real clips, once there are enough videos. Intervals are over videos.
Not here: short clips (measuring.py), single frames (continuity.py), which videos (long_videos.py).
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import mean

import torch
from jaxtyping import Float64
from torch import Tensor

from lvdm.evaluation.distances import Features, Gaussian
from lvdm.evaluation.extraction import ClipSet, extract, extract_all
from lvdm.evaluation.features import Extractor
from lvdm.evaluation.interval import groups_of, interval
from lvdm.evaluation.result import Interval
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file

log = logging.getLogger(__name__)

WINDOW = 16  # frames
END_SHARE = 0.15  # of the windows, at either end
ENOUGH = 32  # long videos for a Frechet distance a window


def _end(values: Sequence[float]) -> int:
    return max(1, round(END_SHARE * len(values)))


def _slope(values: Sequence[float]) -> float:
    y = torch.tensor(values, dtype=torch.float64)
    x = torch.arange(len(y), dtype=torch.float64) * WINDOW / 1000
    x = x - x.mean()
    return (x @ y / (x @ x)).item() if len(y) > 1 else 0.0


SUMMARIES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": mean,
    "first": lambda values: mean(values[: _end(values)]),
    "last": lambda values: mean(values[-_end(values) :]),
    "change": lambda values: mean(values[-_end(values) :]) - mean(values[: _end(values)]),
    "slope_per_1000_frames": _slope,
}


@dataclass(frozen=True)
class Curve:
    """A value for each window along the video, over all videos, and the same `without` each group of the videos."""

    values: tuple[float, ...]
    without: tuple[tuple[float, ...], ...] = ()

    @property
    def frames(self) -> range:
        """Where each window begins."""
        return range(0, WINDOW * len(self.values), WINDOW)

    def intervals(self) -> list[Interval | None]:
        """Of each value, over the videos."""
        return [interval(value, [curve[i] for curve in self.without]) for i, value in enumerate(self.values)]

    def numbers(self) -> dict[str, float]:
        """Mean over all, the first and the last 15 % of the windows, their difference, the slope; each with interval.

        The interval of KEY is KEY_low to KEY_high, where there are videos enough. `frames` are those of all windows.
        """
        found: dict[str, float] = {"frames": float(WINDOW * len(self.values))} if self.values else {}
        for key, summary in SUMMARIES.items() if self.values else ():
            found[key] = summary(self.values)
            found |= bounds(key, interval(found[key], [summary(curve) for curve in self.without]))
        return found


def bounds(key: str, of: Interval | None) -> dict[str, float]:
    """An interval as two numbers."""
    return {} if of is None else {f"{key}_low": of[0], f"{key}_high": of[1]}


@dataclass(frozen=True)
class Pair:
    """Samples and real video; the curve of the latter ends where real videos do."""

    fake: Curve
    real: Curve

    def numbers(self) -> dict[str, float]:
        sides = {"fake": self.fake, "real": self.real}
        return {f"{side}_{key}": value for side, curve in sides.items() for key, value in curve.numbers().items()}


@dataclass(frozen=True)
class Drift:
    """Curves by name: an extractor's for its relative distance, "fd_" before it for Frechet, "static" for static ones.

    Where there is too little video to measure there are none, and `not_available` says why.
    """

    curves: Mapping[str, Pair]
    not_available: str = ""

    def numbers(self) -> dict[str, dict[str, float]]:
        return {name: pair.numbers() for name, pair in self.curves.items()}

    def write_csv(self, path: Path) -> None:
        """The first curve for `dvc plots`: its name, frame, fake with its interval, real; nan where there is none."""
        name, first = next(iter(self.curves.items()), ("", Pair(Curve(()), Curve(()))))
        with atomic_file(path) as beside, beside.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["curve", "frame", "fake", "fake_low", "fake_high", "real"])
            nan = math.nan
            fake = [(v, *(i or (nan, nan))) for v, i in zip(first.fake.values, first.fake.intervals(), strict=True)]
            pairs = zip_longest(fake, first.real.values)
            rows.writerows(
                [name, i * WINDOW, *(f or (nan, nan, nan)), nan if r is None else r] for i, (f, r) in enumerate(pairs)
            )


@dataclass(frozen=True)
class Windows:
    """The windows of `WINDOW` frames of some videos, end to end, video after video, `counts` of them."""

    clips: ClipSet
    counts: tuple[int, ...]


def measure_drift(
    real: Windows,
    fake: Windows,
    extractors: Sequence[Extractor],
    workspace: Workspace,
    clips: ClipSet | None = None,
    apart: bool = True,
) -> Drift:
    """Curves over the windows that all fake videos have, and those that all real ones have which reach as far.

    Each real video is measured against the others; where less than two reach as far, the curve is of all, and shorter.
    An extractor without a network ("static", "motion") gives its value as it is. `clips` are short real clips, of as
    many frames as a window, to which the windows of many videos have a Frechet distance: those of `real` too if the
    clips are `apart`, of other videos, since a video is nearer to its own clips than any other can be.
    """
    if problem := _too_little(real, fake):
        log.warning("drift: not available: %s", problem)
        return Drift({}, problem)
    near = clips if clips is not None and len(clips) >= len(fake.counts) >= ENOUGH else None
    every = [(extractor, side.clips) for extractor in extractors for side in (fake, real)]
    every += [(extractor, near) for extractor in extractors if near is not None and extractor.num_features > 1]
    extract_all(every, workspace)
    curves = {}
    for extractor in extractors:
        of_fake, of_real = (_by_video(extractor, side, workspace) for side in (fake, real))
        if extractor.num_features == 1:
            curves[extractor.name] = Pair(
                _mean([video[:, 0] for video in of_fake]), _mean(_reaching(of_fake, [video[:, 0] for video in of_real]))
            )
            continue
        others = [torch.cat(of_real[:j] + of_real[j + 1 :]) for j in range(len(of_real))]
        curves[extractor.name] = Pair(
            _mean(relative_distance(torch.cat(of_fake), torch.cat(of_real)).split([len(video) for video in of_fake])),
            _mean(_reaching(of_fake, [relative_distance(v, rest) for v, rest in zip(of_real, others, strict=True)])),
        )
        if near is not None:
            reference = _over_frames(extractor, near, workspace)[: len(of_fake), None]
            whole = _reaching(of_fake, of_real)[: len(of_fake)]
            alike = whole if apart and len(whole) == len(of_fake) else []  # fewer would have another floor
            curves[f"fd_{extractor.name}"] = Pair(*(frechet_curve(side, reference) for side in (of_fake, alike)))
    return Drift(curves)


def relative_distance(features: Float64[Tensor, "n d"], reference: Float64[Tensor, "m d"]) -> Float64[Tensor, "n"]:
    """|f - mean(r)| / sqrt(mean |r - mean(r)|^2), for each row f of `features` and the rows r of `reference`."""
    center = reference.mean(dim=0)
    spread = (reference - center).square().sum(dim=1).mean().sqrt()
    return (features - center).norm(dim=1) / spread.clamp_min(torch.finfo(torch.float64).tiny)


def frechet_curve(videos: Sequence[Float64[Tensor, "_ d"]], reference: Features) -> Curve:
    """For each window that all videos have, the Frechet distance of those to `reference`; empty without videos."""
    groups, real = groups_of(len(videos)), Gaussian.of(reference)
    shared = min(map(len, videos), default=0)
    found = [
        real.distance(torch.stack([video[k] for video in videos])[:, None], groups)
        for k in progress(range(shared), shared, "drift", "window")
    ]
    without = zip(*(one.without for one in found), strict=True)
    return Curve(tuple(one.value for one in found), tuple(without))


def _over_frames(extractor: Extractor, clips: ClipSet, workspace: Workspace) -> Float64[Tensor, "n d"]:
    """The features of each clip, the mean over its frames where a network sees these one by one."""
    return extract(extractor, clips, workspace).double().mean(dim=1)


def _by_video(extractor: Extractor, windows: Windows, workspace: Workspace) -> list[Float64[Tensor, "_ d"]]:
    return list(_over_frames(extractor, windows.clips, workspace).split(list(windows.counts)))


def _reaching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> list[Tensor]:
    """Those of `real` that are as long as what all of `fake` have, or all where that is not two."""
    whole = [video for video in real if len(video) >= min(map(len, fake))]
    return whole if len(whole) >= 2 else list(real)


def _too_little(real: Windows, fake: Windows) -> str:
    """Why nothing can be measured; empty if it can. The others of any real video must have two windows to spread."""
    if not fake.counts or not all(fake.counts):
        return f"needs long videos of at least {WINDOW} frames; raise sample.long_frames"
    if len(real.counts) < 2 or sum(real.counts) - max(real.counts) < 2:
        return (
            f"needs two real videos of at least {WINDOW} frames at clips.stride, and two such windows beside those of "
            f"any one of them, got {len(real.counts)} videos with {sum(real.counts)} windows; add videos to the split"
        )
    return ""


def _mean(curves: Sequence[Float64[Tensor, "_"]]) -> Curve:
    shared = min(len(curve) for curve in curves)
    stacked = torch.stack([curve[:shared] for curve in curves])
    total = stacked.sum(dim=0)
    without = [
        (total - stacked[group.start : group.stop].sum(dim=0)) / (len(stacked) - len(group))
        for group in groups_of(len(stacked))
    ]
    return Curve(tuple((total / len(stacked)).tolist()), tuple(tuple(curve.tolist()) for curve in without))
