"""Whether a long video hangs together: how alike its frames are at some lags, and whether it jumps where windows join.

All from the frames, without a network, beside real video. Not here: reading videos (long_videos.py), drift (drift.py).
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from lvdm.data.frames import Video
from lvdm.evaluation.drift import bounds
from lvdm.evaluation.interval import groups_of, interval
from lvdm.evaluation.ssim import ssim
from lvdm.machine import cores
from lvdm.progress import progress

LAGS = (2, 5, 10, 20, 50)  # frames
EVERY = 16  # frames between those that are held against later ones
THREADS = min(16, cores())  # each looks through a video


@dataclass(frozen=True)
class Joins:
    """The frames at which another latent begins, and those of them whose latent another window made."""

    latents: tuple[int, ...]
    windows: frozenset[int]


NO_JOINS = Joins((), frozenset())


@dataclass(frozen=True)
class Seen:
    """What a video shows, from front to back."""

    similarity: Mapping[int, float]  # by lag; nan where the video is no longer
    steps: tuple[float, float]  # where windows join, and where latents do within one; nan where none do


def look_through(video: Video, joins: Joins) -> Seen:
    """The mean SSIM (Wang et al. 2004) of frames `EVERY` apart with those a lag later, for every lag, and the steps.

    A step is the mean |difference| of consecutive frames, in grey levels. One pass, so that no frame is decoded twice.
    """
    alike: dict[int, list[float]] = {lag: [] for lag in LAGS}
    sizes: dict[int, float] = {}
    for start in range(0, len(video), EVERY):
        if lags := [lag for lag in LAGS if start + lag < len(video)]:
            later = torch.stack([_image(video[start + lag]) for lag in lags])
            found = ssim(_image(video[start])[None], later)
            for lag, value in zip(lags, found.tolist(), strict=True):
                alike[lag].append(value)
        here = [frame for frame in joins.latents if start <= frame < min(start + EVERY, len(video))]
        sizes |= {frame: float(np.abs(video[frame].astype(int) - video[frame - 1]).mean()) for frame in here}
    at_joins = [size for frame, size in sizes.items() if frame in joins.windows]
    inside = [size for frame, size in sizes.items() if frame not in joins.windows]
    return Seen({lag: _mean(values) for lag, values in alike.items()}, (_mean(at_joins), _mean(inside)))


def _image(frame: UInt8[np.ndarray, "h w 3"]) -> Float64[Tensor, "3 h w"]:
    return torch.from_numpy(frame).permute(2, 0, 1).double()


@contextlib.contextmanager
def _a_thread_a_video() -> Iterator[ThreadPoolExecutor]:
    """Images are so small that the threads of an operation mostly wait for each other: on busy cores two take 30 times
    as long as one. So an operation has one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(THREADS, "continuity")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def measure_continuity(
    real: Sequence[Video], fake: Sequence[Video], joins: Joins | None
) -> dict[str, dict[str, float]]:
    """`similarity_LAG`, and `joins`: the step at joins over that inside, 1 where joins do not show; fake and real.

    Intervals are over videos. What the videos are too short for, or of which nothing is known, is left out.
    """
    videos = [*fake, *real]
    with _a_thread_a_video() as pool:
        in_turn = pool.map(functools.partial(look_through, joins=joins or NO_JOINS), videos)
        looked_through = list(progress(in_turn, len(videos), "continuity", "video"))
    seen = {"fake": looked_through[: len(fake)], "real": looked_through[len(fake) :]}
    found = {}
    for lag in LAGS:
        alike = {side: [video.similarity[lag] for video in videos] for side, videos in seen.items()}
        found[f"similarity_{lag}"] = _sides(alike, _mean)
    found["joins"] = _sides({side: [video.steps for video in videos] for side, videos in seen.items()}, _ratio)
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
