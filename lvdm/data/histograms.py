"""Distributions as bars to draw, now and in the accepted version.

Not here: how far they lie apart (distributions.py), and the page that shows them (data_report.html.jinja).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lvdm.data.difference import NUMBERS, Difference, Drift
from lvdm.data.distributions import Numbers

BINS = 24
UNITS = {
    "frames": "frames",
    "fps": "frames a second",
    "width": "pixels",
    "height": "pixels",
    "duration": "seconds",
    "brightness": "mean luma, of 255",
    "motion": "mean change of luma, of 255",
}


@dataclass(frozen=True)
class Bar:
    """One bin or value, and the shares of videos in it."""

    label: str
    count: int
    share: float
    before: float | None  # None: no accepted version


@dataclass(frozen=True)
class Histogram:
    """One quantity."""

    quantity: str
    unit: str
    bars: tuple[Bar, ...]
    text: str  # median and range
    low: str  # the ends of the axis
    high: str
    drift: Drift | None

    @property
    def highest(self) -> float:
        """The greatest share of any bar."""
        return max(share for bar in self.bars for share in (bar.share, bar.before or 0.0))


def histograms(readable: pd.DataFrame, changes: Difference | None) -> list[Histogram]:
    """Of every quantity that some video has."""
    drifts = {drift.quantity: drift for drift in changes.drifts} if changes else {}
    columns = {name: readable[name].dropna().to_numpy(dtype=np.float64) for name in NUMBERS}
    return [_histogram(name, values, drifts.get(name)) for name, values in columns.items() if len(values)]


def _histogram(name: str, values: np.ndarray, drift: Drift | None) -> Histogram:
    was = np.array(drift.before.values) if drift and isinstance(drift.before, Numbers) else np.array([])
    both = np.concatenate([values, was])
    edges = _edges(both)
    now, before = (np.histogram(np.clip(shown, edges[0], edges[-1]), edges)[0] for shown in (values, was))
    said = edges.copy()  # the outermost bars hold what lies beyond
    said[0], said[-1] = min(edges[0], both.min()), max(edges[-1], both.max())
    bars = tuple(
        Bar(f"{low:.4g} to {high:.4g}", int(count), count / len(values), earlier / len(was) if len(was) else None)
        for low, high, count, earlier in zip(said[:-1], said[1:], now, before, strict=True)
    )
    least, most = f"{said[0]:.4g}", f"{said[-1]:.4g}"
    below = f" \N{HORIZONTAL ELLIPSIS} {edges[1]:.4g}" if said[0] < edges[0] else ""
    above = f"{edges[-2]:.4g} \N{HORIZONTAL ELLIPSIS} " if said[-1] > edges[-1] else ""
    text = Numbers.of(pd.Series(values)).text
    return Histogram(name, UNITS[name], bars, text, least + below, above + most, drift)


def _edges(values: np.ndarray) -> np.ndarray:
    """Of bars as wide as the bulk of the values asks for: a single one far off does not squeeze all others into one."""
    least, low, middle, high, most = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    if least == most:
        return _around(least)
    reach = max(2 * (high - low), abs(middle) / 2) or most - least
    return np.linspace(max(least, low - reach), min(most, high + reach), BINS + 1)


def _around(value: float) -> np.ndarray:
    """Edges that put the one value there is into the middle."""
    return value + (np.arange(BINS + 2) - (BINS + 1) / 2) * max(abs(value), 1.0) / BINS


@dataclass(frozen=True)
class LabelCount:
    """How many videos have a label in each split."""

    label: str
    counts: Sequence[int]  # by split


def label_counts(accepted: pd.DataFrame, splits: Sequence[str]) -> list[LabelCount]:
    """Every label, the most frequent first."""
    table = accepted.assign(label=accepted["label"].fillna("(none)")).groupby(["label", "split"]).size().unstack()
    table = table.reindex(columns=list(splits)).fillna(0).astype(int)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    return [LabelCount(str(label), tuple(map(int, counts))) for label, *counts in table.itertuples()]
