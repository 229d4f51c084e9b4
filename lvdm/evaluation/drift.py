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
from lvdm.evaluation.extraction import content_hash, extract, extract_once
from lvdm.evaluation.features import Extractor
from lvdm.workspace import Workspace, atomic_file

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
    workspace: Workspace,
) -> Drift:
    """Curves over the windows that all fake, or all real, videos have. Each real video is measured against the others.

    An extractor without a network ("static", "motion") gives its value as it is.

    Raises:
        ArtefactError: fewer than two real videos, no fake one, or one shorter than a window.
    """
    fakes, reals = [_windows(video) for video in fake], [_windows(video) for video in real]
    if len(reals) < 2 or not fakes:
        raise ArtefactError(
            "long videos", expected="two real and one fake at least", got=f"{len(reals)} and {len(fakes)}"
        )
    content = content_hash(torch.cat(reals), sum(map(len, reals)))
    curves = {}
    for extractor in extractors:
        of_fake = _split(extract(extractor, torch.cat(fakes), sum(map(len, fakes))), fakes)
        cached = extract_once(extractor, torch.cat(reals), sum(map(len, reals)), None, content, workspace)
        of_real = _split(cached, reals)
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


def _windows(video: UInt8[Tensor, "t h w 3"]) -> UInt8[Tensor, "n f h w 3"]:
    num_windows = len(video) // WINDOW
    if not num_windows:
        raise ArtefactError("a long video", expected=f"{WINDOW} frames at least", got=len(video))
    return video[: num_windows * WINDOW].unflatten(0, (num_windows, WINDOW))


def _split(features: Float64[Tensor, "n rows d"], videos: Sequence[Tensor]) -> list[Float64[Tensor, "_ d"]]:
    """The features of each window, averaged over its frames where there are several rows, video by video."""
    return list(features.mean(dim=1).split([len(windows) for windows in videos]))


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
