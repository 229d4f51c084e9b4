"""What can be told of the difference of two estimates that each come with an interval.

Not here: the interval of one estimate; that is lvdm/evaluation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lvdm.evaluation.result import Estimate, Interval


@dataclass(frozen=True)
class Difference:
    """`value` is the second estimate less the first; `interval` is None where one of them has none."""

    value: float
    interval: Interval | None
    gain: float  # the same, counted so that above 0 the second is better

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def verdict(self) -> str:
        """Better or worse, if that can be told."""
        if not self.told_apart:
            return "not told apart" if self.interval else "no interval"
        return "better" if self.gain > 0 else "worse"


def in_words(known: Estimate | Difference) -> str:
    """A number with its interval, if it has one."""
    interval = " [{:.4g}, {:.4g}]".format(*known.interval) if known.interval else ""
    return f"{known.value:.4g}{interval}"


def difference(first: Estimate, second: Estimate) -> Difference:
    """Second less first, with the interval of MOVER: of independent estimates, whose intervals may be asymmetric.

    From d = b - a and the limits of either: d - sqrt((b - b_low)^2 + (a_high - a)^2) to
    d + sqrt((b_high - b)^2 + (a - a_low)^2) (Zou & Donner 2008, Stat. Med. 27:1693).
    Both are measured against the same real clips, so the true interval is narrower: this errs on the side of caution.
    """
    value = second.value - first.value
    gain = -value if first.better == "lower" else value
    if first.interval is None or second.interval is None:
        return Difference(value, None, gain)
    (low, high), (second_low, second_high) = first.interval, second.interval
    down = math.hypot(second.value - second_low, high - first.value)
    up = math.hypot(second_high - second.value, first.value - low)
    return Difference(value, (value - down, value + up), gain)
