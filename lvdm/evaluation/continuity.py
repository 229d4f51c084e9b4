"""Whether a long video hangs together: how alike its frames are at some lags, and whether it jumps where windows join.

All from the frames, without a network, beside real video. Not here: reading videos (long_videos.py), drift (drift.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from lvdm.evaluation.drift import bounds
from lvdm.evaluation.interval import groups_of, interval

LAGS = (2, 5, 10, 20, 50)  # frames
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # of SSIM
EVERY = 16  # frames between those that are held against later ones


@runtime_checkable
class Video(Protocol):
    """Frames by index, uint8 "s s 3", decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Joins:
    """The frames at which another latent begins, and those of them whose latent another window made."""

    latents: tuple[int, ...]
    windows: frozenset[int]


def similarity(video: Video, lag: int) -> float:
    """The mean SSIM (Wang et al. 2004) of frames `EVERY` apart with those `lag` later; nan if the video is shorter."""
    starts = range(0, len(video) - lag, EVERY)
    if not starts:
        return math.nan
    one, other = (
        torch.stack([torch.from_numpy(video[start + ahead]).permute(2, 0, 1).double() for start in starts])
        for ahead in (0, lag)
    )
    return ssim(one, other)


def ssim(one: Float64[Tensor, "n c h w"], other: Float64[Tensor, "n c h w"]) -> float:
    """The mean SSIM (Wang et al. 2004) of images of 256 grey levels, as torchmetrics has it.

    Its windows are separable, which makes it 35 times as fast as torchmetrics in float64; in float32 that
    is off by 1e-3 where frames are bright and plain.
    """
    down, across = _windows(one.shape[2]), _windows(one.shape[3])

    def mean(image: Tensor) -> Tensor:
        return down.T @ image @ across

    a, b = mean(one), mean(other)
    variances, covariance = mean(one**2) - a**2 + mean(other**2) - b**2, mean(one * other) - a * b
    luminance = (2 * a * b + C1) / (a**2 + b**2 + C1)
    return (luminance * (2 * covariance + C2) / (variances + C2)).mean().item()


@functools.cache
def _windows(side: int) -> Float64[Tensor, "side side"]:
    """Of each pixel along a side, a row, the weight in the Gaussian window around each, reflected at the border."""
    reach = torch.arange(-5, 6, dtype=torch.float64)
    gaussian = torch.softmax(-(reach**2) / (2 * 1.5**2), dim=0)
    pixels = torch.eye(side, dtype=torch.float64)
    return torch.nn.functional.pad(pixels[None], (5, 5), mode="reflect")[0].unfold(1, 11, 1) @ gaussian


def steps(video: Video, joins: Joins) -> tuple[float, float]:
    """The mean |difference| of consecutive frames, grey levels, where windows join and where latents do within one."""
    here = [frame for frame in joins.latents if frame < len(video)]
    sizes = {frame: float(np.abs(video[frame].astype(int) - video[frame - 1]).mean()) for frame in here}
    of_joins = [size for frame, size in sizes.items() if frame in joins.windows]
    inside = [size for frame, size in sizes.items() if frame not in joins.windows]
    return _mean(of_joins), _mean(inside)


def measure_continuity(
    real: Sequence[Video], fake: Sequence[Video], joins: Joins | None
) -> dict[str, dict[str, float]]:
    """`similarity_LAG`, and `joins`: the step at joins over that inside, 1 where joins do not show; fake and real.

    Intervals are over videos. What the videos are too short for, or of which nothing is known, is left out.
    """
    found = {}
    for lag in LAGS:
        values = {side: [similarity(v, lag) for v in videos] for side, videos in (("fake", fake), ("real", real))}
        found[f"similarity_{lag}"] = _sides(values, _mean)
    if joins is not None and joins.windows:
        pairs = {side: [steps(v, joins) for v in videos] for side, videos in (("fake", fake), ("real", real))}
        found["joins"] = _sides(pairs, _ratio)
    return {key: numbers for key, numbers in found.items() if "fake" in numbers}


def _sides(values: Mapping[str, Sequence], over: Callable[[Sequence], float]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for side, videos in values.items():
        told = [value for value in videos if not np.isnan(value).any()]
        if told and math.isfinite(whole := over(told)):
            without = [over([*told[: group.start], *told[group.stop :]]) for group in groups_of(len(told))]
            numbers |= {side: whole} | bounds(side, interval(whole, without))
    return numbers


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    at_joins, inside = map(_mean, zip(*pairs, strict=True))
    return at_joins / inside if inside > 0 else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
