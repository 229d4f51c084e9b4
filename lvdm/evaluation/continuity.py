"""Whether a long video hangs together: how alike its frames are at some lags, and whether it jumps where windows join.

All from the frames, without a network, beside real video. Not here: reading videos (long_videos.py), drift (drift.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from lvdm.evaluation.drift import bounds
from lvdm.evaluation.interval import groups_of, interval

LAGS = (2, 5, 10, 20, 50)  # frames
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
    mean = structural_similarity_index_measure(one, other, data_range=255.0)
    assert isinstance(mean, torch.Tensor), "the maps, which come beside it if asked for, were not"
    return mean.item()


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
