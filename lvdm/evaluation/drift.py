"""How a long video changes along its length, against long real videos.

With a handful of long videos no distance between distributions can be estimated. So this measures, for each window of
16 frames, how far its features lie from the mean of real windows, in units of how far real windows themselves lie:
1 is like real video, at the start and at the end. It is no Frechet distance and does not see missing variety.
Not here: short clips (protocol.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from lvdm.errors import ArtefactError
from lvdm.evaluation.features import Extractor
from lvdm.workspace import atomic_file

WINDOW = 16  # frames
END_SHARE = 0.15  # of the windows, at either end


@dataclass(frozen=True)
class Curve:
    """A value for each window along the video, averaged over the videos."""

    fake: tuple[float, ...]
    real: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """Curves by name: an extractor's name for its relative distance, "static" for the share of static frames."""

    curves: Mapping[str, Curve]

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
        """A row a window and curve, for `dvc plots`."""
        with atomic_file(path) as beside, beside.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["curve", "set", "frame", "value"])
            for name, curve in self.curves.items():
                for side, values in (("fake", curve.fake), ("real", curve.real)):
                    rows.writerows([name, side, i * WINDOW, value] for i, value in enumerate(values))


def measure_drift(
    real: Iterable[UInt8[Tensor, "_ h w 3"]],
    fake: Iterable[UInt8[Tensor, "_ h w 3"]],
    extractors: Sequence[Extractor],
) -> Drift:
    """Curves over the windows that all fake, or all real, videos have. Each real video is measured against the others.

    An extractor without a network ("static", "motion") gives its value as it is.

    Raises:
        ArtefactError: fewer than two real videos, no fake one, or one shorter than a window.
    """
    of_fake = [_windows(video, extractors) for video in fake]
    of_real = [_windows(video, extractors) for video in real]
    if len(of_real) < 2 or not of_fake:
        raise ArtefactError(
            "long videos", expected="two real and one fake at least", got=f"{len(of_real)} and {len(of_fake)}"
        )
    curves = {}
    for i, extractor in enumerate(extractors):
        fakes, reals = [v[i] for v in of_fake], [v[i] for v in of_real]
        if extractor.num_features == 1:
            curves[extractor.name] = Curve(_mean([v[:, 0] for v in fakes]), _mean([v[:, 0] for v in reals]))
            continue
        everything = torch.cat(reals)
        others = [torch.cat(reals[:j] + reals[j + 1 :]) for j in range(len(reals))]
        curves[extractor.name] = Curve(
            _mean([relative_distance(video, everything) for video in fakes]),
            _mean([relative_distance(video, rest) for video, rest in zip(reals, others, strict=True)]),
        )
    return Drift(curves)


def relative_distance(features: Float64[Tensor, "n d"], reference: Float64[Tensor, "m d"]) -> Float64[Tensor, "n"]:
    """|f - mean(r)| / sqrt(mean |r - mean(r)|^2), for each row f of `features` and the rows r of `reference`."""
    center = reference.mean(dim=0)
    spread = (reference - center).square().sum(dim=1).mean().sqrt()
    return (features - center).norm(dim=1) / spread.clamp_min(torch.finfo(torch.float64).tiny)


def _windows(video: UInt8[Tensor, "t h w 3"], extractors: Sequence[Extractor]) -> list[Float64[Tensor, "windows d"]]:
    windows = [w for w in video.split(WINDOW) if len(w) == WINDOW]
    if not windows:
        raise ArtefactError("a long video", expected=f"{WINDOW} frames at least", got=len(video))
    return [torch.stack([extractor(window).mean(dim=0) for window in windows]) for extractor in extractors]


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
