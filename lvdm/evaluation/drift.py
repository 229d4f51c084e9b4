"""How a long video changes along its length, against windows of real videos of any length.

With a handful of long videos no distance between distributions can be estimated. So this measures, for each window of
16 frames, how far its features lie from the mean of real windows, in units of how far real windows themselves lie:
1 is like real video, at the start and at the end. It is no Frechet distance and does not see missing variety.
Not here: short clips (protocol.py).
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from lvdm.evaluation.extraction import Clips, content_hash, extract, extract_once
from lvdm.evaluation.features import Extractor
from lvdm.evaluation.result import Result
from lvdm.workspace import Workspace, atomic_file

log = logging.getLogger(__name__)

WINDOW = 16  # frames
END_SHARE = 0.15  # of the windows, at either end


@dataclass(frozen=True)
class Curve:
    """A value for each window along the video, averaged over the videos; `real` ends where real videos do."""

    fake: tuple[float, ...]
    real: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """Curves by name: an extractor's name for its relative distance, "static" for the share of static frames.

    Where there is too little video to measure there are none, and `not_available` says why.
    """

    curves: Mapping[str, Curve]
    not_available: str = ""

    def added_to(self, result: Result) -> Result:
        """The result with the numbers of the drift, or with the reason why there are none."""
        missing = {"drift": self.not_available} if self.not_available else {}
        return replace(result, drift=self.numbers(), not_available={**result.not_available, **missing})

    def numbers(self) -> dict[str, dict[str, float]]:
        """Per curve: mean over the first and the last 15 % of the windows, slope per 1,000 frames; fake and real."""
        return {
            name: {
                f"{side}_{key}": value
                for side, values in (("fake", curve.fake), ("real", curve.real))
                for key, value in _ends_and_slope(values).items()
            }
            for name, curve in self.curves.items()
        }

    def write_csv(self, path: Path) -> None:
        """The first curve for `dvc plots`: frame, fake, real; nan where real videos have ended."""
        first = next(iter(self.curves.values()), Curve((), ()))
        with atomic_file(path) as beside, beside.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["frame", "fake", "real"])
            pairs = zip_longest(first.fake, first.real, fillvalue=math.nan)
            rows.writerows([i * WINDOW, *pair] for i, pair in enumerate(pairs))


def measure_drift(
    real: Sequence[Clips], fake: Sequence[Clips], extractors: Sequence[Extractor], workspace: Workspace
) -> Drift:
    """Curves over the windows that all fake, or all real, videos have. Each real video is measured against the others.

    A video is its windows of `WINDOW` frames, end to end, read one at a time; every real one has at least one. An
    extractor without a network ("static", "motion") gives its value as it is.
    """
    if problem := _too_little(real, fake):
        log.warning("drift: not available: %s", problem)
        return Drift({}, problem)
    contents = [content_hash(video, len(video)) for video in real]
    curves = {}
    for extractor in extractors:
        of_fake = [extract(extractor, video, len(video)).mean(dim=1) for video in fake]
        of_real = [
            extract_once(extractor, video, len(video), None, content, workspace).mean(dim=1)  # over its frames
            for video, content in zip(real, contents, strict=True)
        ]
        if extractor.num_features == 1:
            curves[extractor.name] = Curve(_mean([v[:, 0] for v in of_fake]), _mean([v[:, 0] for v in of_real]))
            continue
        others = [torch.cat(of_real[:j] + of_real[j + 1 :]) for j in range(len(of_real))]
        curves[extractor.name] = Curve(
            _mean([relative_distance(video, torch.cat(of_real)) for video in of_fake]),
            _mean([relative_distance(video, rest) for video, rest in zip(of_real, others, strict=True)]),
        )
    return Drift(curves)


def relative_distance(features: Float64[Tensor, "n d"], reference: Float64[Tensor, "m d"]) -> Float64[Tensor, "n"]:
    """|f - mean(r)| / sqrt(mean |r - mean(r)|^2), for each row f of `features` and the rows r of `reference`."""
    center = reference.mean(dim=0)
    spread = (reference - center).square().sum(dim=1).mean().sqrt()
    return (features - center).norm(dim=1) / spread.clamp_min(torch.finfo(torch.float64).tiny)


def _too_little(real: Sequence[Clips], fake: Sequence[Clips]) -> str:
    """Why nothing can be measured; empty if it can. The others of any real video must have two windows to spread."""
    if not fake or not all(map(len, fake)):
        return f"needs long videos of at least {WINDOW} frames; raise sample.long_frames"
    windows = [len(video) for video in real]
    if len(windows) < 2 or sum(windows) - max(windows) < 2:
        return (
            f"needs two held-out videos of at least {WINDOW} frames at clips.stride, and two such windows beside those "
            f"of any one of them, got {len(windows)} videos with {sum(windows)} windows; add videos to split test"
        )
    return ""


def _mean(curves: Sequence[Float64[Tensor, "_"]]) -> tuple[float, ...]:
    shared = min(len(curve) for curve in curves)
    return tuple(torch.stack([curve[:shared] for curve in curves]).mean(dim=0).tolist())


def _ends_and_slope(values: Sequence[float]) -> dict[str, float]:
    y = torch.tensor(values, dtype=torch.float64)
    x = torch.arange(len(y), dtype=torch.float64) * WINDOW / 1000
    x = x - x.mean()
    end = max(1, round(END_SHARE * len(y)))
    slope = (x @ y / (x @ x)).item() if len(y) > 1 else 0.0
    return {"first": y[:end].mean().item(), "last": y[-end:].mean().item(), "slope_per_1000_frames": slope}
