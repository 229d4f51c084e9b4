"""Arithmetic of needs: memory and time by batch size, and the setting of a step that fits into a memory.

Both are straight lines of the batch size, or the larger of two. Not here: measuring and counting (trials.py, plan.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

GIB = 2.0**30
CONTEXT = 0.75 * GIB  # what CUDA and its libraries take beside tensors
FRAGMENTED = 0.06  # of the memory: gaps between tensors, too small to be used


@dataclass(frozen=True)
class Line:
    """`base` + `each` times the batch size."""

    base: float
    each: float

    @classmethod
    def through(cls, size: int, value: float, other_size: int, other_value: float) -> Line:
        """The line through two points; a larger batch never needs less, and no batch less than nothing."""
        each = min(max(0.0, (other_value - value) / (other_size - size)), value / size)
        return cls(value - each * size, each)

    def at(self, size: int) -> float:
        return self.base + self.each * size


@dataclass(frozen=True)
class Larger:
    """The larger of two lines, at each batch size."""

    one: Line
    other: Line

    def at(self, size: int) -> float:
        return max(self.one.at(size), self.other.at(size))


@dataclass(frozen=True)
class Need:
    """Peak bytes and seconds of a forward and backward pass with its optimiser step, and the bytes of all gradients."""

    bytes: Line | Larger
    seconds: Line
    gradients: float = 0.0

    def peak(self, setting: Setting) -> float:
        """Bytes, at the most: gradients summed over passes are there all through the backward pass."""
        return self.bytes.at(setting.batch_size) + (self.gradients if setting.accumulate > 1 else 0.0)


@dataclass(frozen=True)
class Setting:
    """How the examples of one step on one device are passed."""

    batch_size: int
    accumulate: int
    recompute: bool

    def __str__(self) -> str:
        recomputed = ", recompute: true" if self.recompute else ""
        return f"batch_size: {self.batch_size}, accumulate: {self.accumulate}{recomputed}"


def usable(memory: float) -> float:
    """Bytes of a GPU's memory that tensors can have."""
    return memory * (1 - FRAGMENTED) - CONTEXT


def settings(examples: int) -> Iterator[Setting]:
    """All ways to pass the examples of a step, the largest batches first, and without recomputing first."""
    for batch_size in range(examples, 0, -1):
        if examples % batch_size == 0:
            for recompute in (False, True):
                yield Setting(batch_size, examples // batch_size, recompute)


def suggested(needs: Mapping[bool, Need], examples: int, memory: float) -> Setting | None:
    """The fastest setting that fits into a GPU of `memory` bytes, of equals the first; None if none fits.

    Args:
        needs: without (False) and with recomputing (True), or only one of the two.
        examples: of a step on one device, `batch_size` x `accumulate`: the same in every setting.
    """
    possible = [s for s in settings(examples) if s.recompute in needs]
    fitting = [s for s in possible if needs[s.recompute].peak(s) <= usable(memory)]
    return min(fitting, key=lambda s: seconds_a_step(needs[s.recompute], s), default=None)


def seconds_a_step(need: Need, setting: Setting) -> float:
    return setting.accumulate * need.seconds.at(setting.batch_size)
