"""How a quantity is distributed over the videos of a version, in few numbers, and how far two of these lie apart.

Not here: which quantities there are (difference.py), and pictures of them (histograms.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MAX_VALUES = 257  # of a distribution of numbers, so that shares are exact to 1/256
CHANCE = 1e-3  # of a distance above the threshold between two draws of one distribution


@dataclass(frozen=True)
class Numbers:
    """The sorted values themselves, or MAX_VALUES quantiles evenly spread from the least to the greatest."""

    count: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, column: pd.Series) -> Numbers:
        """Of the values that are there, to six digits."""
        values = np.sort(column.dropna().to_numpy(dtype=np.float64))
        kept = values
        if len(values) > MAX_VALUES:
            kept = np.quantile(values, np.linspace(0, 1, MAX_VALUES), method="inverted_cdf")
        return cls(len(values), tuple(float(f"{value:.6g}") for value in kept))

    def distance(self, other: Numbers) -> float:
        """Kolmogorov and Smirnov's: the greatest difference of the shares of videos up to any value."""
        at = np.union1d(self.values, other.values)
        mine, theirs = (np.searchsorted(numbers.values, at, "right") / len(numbers.values) for numbers in (self, other))
        return float(np.abs(mine - theirs).max())

    def chance(self, other: Numbers) -> float:
        """A distance that two draws of one distribution exceed with probability CHANCE (Smirnov 1948)."""
        return math.sqrt(-math.log(CHANCE / 2) / 2 * (1 / self.count + 1 / other.count))

    @property
    def text(self) -> str:
        """The median, and between what nine in ten lie."""
        low, middle, high = np.quantile(self.values, [0.05, 0.5, 0.95], method="inverted_cdf")
        return f"{middle:.4g}" if low == high else f"{middle:.4g} ({low:.4g} to {high:.4g})"

    def document(self) -> dict[str, Any]:
        return {"count": self.count, "values": list(self.values)}


@dataclass(frozen=True)
class Categories:
    """How many videos have each value; "" is that of those which have none."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, column: pd.Series) -> Categories:
        counts = column.fillna("").value_counts()
        return cls({str(value): int(count) for value, count in sorted(counts.items())})

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def distance(self, other: Categories) -> float:
        """Total variation: the share of videos that would have to change their value."""
        return float(np.abs(self._shares(self._values(other)) - other._shares(self._values(other))).sum() / 2)

    def chance(self, other: Categories) -> float:
        """A distance that two draws of one distribution exceed with probability below CHANCE.

        Its mean, at most as Jensen's inequality has it, and McDiarmid's bound of how far it lies above that.
        """
        values, both = self._values(other), 1 / self.count + 1 / other.count
        pooled = (self._shares(values) * self.count + other._shares(values) * other.count) / (self.count + other.count)
        mean = float(np.sqrt(pooled * (1 - pooled) * both).sum() / 2)
        return mean + math.sqrt(-math.log(CHANCE) / 2 * both)

    @property
    def text(self) -> str:
        """The most frequent values with their shares."""
        most = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{value or 'none'} {count / self.count:.0%}" for value, count in most[:3])
        return shown + (f", {len(most) - 3} more" if len(most) > 3 else "")

    def document(self) -> dict[str, Any]:
        return {"counts": dict(self.counts)}

    def _values(self, other: Categories) -> list[str]:
        return sorted({*self.counts, *other.counts})

    def _shares(self, values: Iterable[str]) -> np.ndarray:
        return np.array([self.counts.get(value, 0) for value in values]) / self.count


Distribution = Numbers | Categories


def read_distribution(document: Mapping[str, Any]) -> Distribution:
    """What `document` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is nothing of the sort.
    """
    if "counts" in document:
        return Categories({str(value): int(count) for value, count in document["counts"].items()})
    return Numbers(int(document["count"]), tuple(float(value) for value in document["values"]))
