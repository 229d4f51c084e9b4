"""The plan of a long video: which windows of latents are made in which order, from which latents made before.

Key frames at a coarse stride are extended window by window (prediction); then the gaps between them are filled
(interpolation), level by level, down to stride 1. Pure data: no network, no torch. Its execution is sampling.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lvdm.errors import ParamsError


@dataclass(frozen=True)
class Window:
    """Latents seen at once: their `positions` in the video, `stride` apart, and whether each is `given` or made."""

    positions: tuple[int, ...]
    given: tuple[bool, ...]
    stride: int

    @property
    def made(self) -> tuple[int, ...]:
        """The positions that this window makes."""
        return tuple(p for p, given in zip(self.positions, self.given, strict=True) if not given)

    @property
    def fills_a_gap(self) -> bool:
        return self.given[0] and self.given[-1]


@dataclass(frozen=True)
class Plan:
    """Rounds in order; the windows of one round do not need each other.

    The windows keep the lengths that the denoiser was trained with, so the last ones may make latents past the end:
    those have positions from `num_latents` up to `extent`, and are cut when all is made.
    """

    num_latents: int
    rounds: tuple[tuple[Window, ...], ...]

    @property
    def extent(self) -> int:
        return 1 + max(w.positions[-1] for windows in self.rounds for w in windows)

    @property
    def joins(self) -> tuple[int, ...]:
        """The positions where a join could show: the latent there and the one before were made by different windows."""
        windows = enumerate(window for windows in self.rounds for window in windows)
        maker = {position: number for number, window in windows for position in window.made}
        return tuple(p for p in range(1, self.num_latents) if maker[p] != maker[p - 1])


def plan_long_video(
    num_latents: int,
    window: int,
    strides: tuple[int, ...],
    overlap: int,
    scheme: Literal["hierarchical", "autoregressive"],
) -> Plan:
    """Plans a video of exactly `num_latents` latents, each made exactly once.

    Args:
        num_latents: at least 1.
        window: latents that the denoiser sees at once, at least 2.
        strides: from 1 up, each a multiple of the one before, by at most window - 1: a gap and its ends are one window,
            in a trained denoiser of `window` latents. A video that one window spans at a finer stride has no use for
            the coarser ones; `autoregressive` uses stride 1 alone.
        overlap: latents given to a window that extends those before it.
        scheme: hierarchical, or the autoregressive ablation.

    Raises:
        ParamsError: there is nothing to make, the overlap leaves nothing, or a gap is no window.
    """
    if num_latents < 1:
        raise ParamsError("the length of a video", expected="at least 1 latent", got=num_latents)
    if not 1 <= overlap < window:
        raise ParamsError("sample.overlap", expected=f"1 to {window - 1}, below train_denoiser.window", got=overlap)
    if scheme == "autoregressive":
        strides = (1,)
    if strides[:1] != (1,) or any(c % f or not f < c <= f * (window - 1) for f, c in pairwise(strides)):
        expected = f"1 first, then each 2 to {window - 1} times the one before"
        raise ParamsError("train_denoiser.strides", expected=expected, got=list(strides))
    coarsest = next((s for s in strides if (window - 1) * s >= num_latents - 1), strides[-1])
    used = [s for s in strides if s <= coarsest]
    rounds: list[tuple[Window, ...]] = [
        (key_frames,) for key_frames in _extended(num_latents, window, coarsest, overlap)
    ]
    for fine, coarse in reversed(list(pairwise(used))):
        rounds.append(tuple(_gap(start, fine, coarse) for start in range(0, num_latents - 1, coarse)))
    return Plan(num_latents, tuple(rounds))


def _extended(num_latents: int, window: int, stride: int, overlap: int) -> Iterator[Window]:
    """Windows at `stride` until they reach the last latent, each but the first given the last `overlap` before it."""
    start, num_given = 0, 0
    while True:
        positions = tuple(range(start, start + window * stride, stride))
        yield Window(positions, tuple(i < num_given for i in range(window)), stride)
        if positions[-1] >= num_latents - 1:
            return
        start, num_given = start + (window - overlap) * stride, overlap


def _gap(start: int, fine: int, coarse: int) -> Window:
    positions = tuple(range(start, start + coarse + 1, fine))
    return Window(positions, (True, *(False for _ in positions[1:-1]), True), fine)
