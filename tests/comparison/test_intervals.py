"""The interval of a difference, against the literature and a simulation, and which way is better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvdm.comparison.intervals import difference
from lvdm.evaluation.result import Estimate
from tests.comparison.conftest import FLOOR, estimate


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The score interval of a proportion, 95 %."""
    z, p = 1.959964, successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return centre - half, centre + half


def share(successes: int, trials: int) -> Estimate:
    return Estimate(successes / trials, 0.0, wilson(successes, trials), trials, trials, trials, "higher", "x", "none")


def test_it_is_the_interval_that_the_literature_gives_for_two_proportions() -> None:
    """Newcombe 1998, Stat. Med. 17:873, table II, method 10: 56/70 against 48/80."""
    apart = difference(share(48, 80), share(56, 70))
    assert apart.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (apart.told_apart, apart.verdict) == (True, "better")
    back = difference(share(56, 70), share(48, 80))
    assert back.interval == pytest.approx((-0.3339, -0.0524), abs=5e-5)
    assert back.verdict == "worse"


def test_it_holds_the_true_difference_as_often_as_it_says() -> None:
    """Of means of skewed values, each with its own interval by the normal approximation."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(1000):
        sides = []
        for scale, n in ((1.0, 40), (3.0, 90)):
            values = draw.gamma(2.0, scale, n)
            mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(n)
            sides.append(Estimate(mean, 0.0, (mean - half, mean + half), n, n, n, "lower", "x", "none"))
        low, high = difference(*sides).interval
        held += low <= 2.0 * 3.0 - 2.0 * 1.0 <= high
    assert 0.93 <= held / 1000 <= 0.97


def test_the_direction_of_the_metric_says_what_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOOR, "clipsim", 0.3)
    for key, verdict in (("fd_tn2", "worse"), ("clipsim", "better")):
        assert difference(estimate(key, 1.0), estimate(key, 2.0)).verdict == verdict
    assert difference(estimate("fd_tn2", 1.0), estimate("fd_tn2", 1.05)).verdict == "not told apart"


def test_without_intervals_nothing_is_told_apart() -> None:
    bare = Estimate(1.0, 0.0, None, 2, 2, 2, "lower", "x", "none")
    apart = difference(bare, estimate("fd_tn2", 2.0))
    assert (apart.value, apart.interval, apart.told_apart, apart.verdict) == (1.0, None, False, "no interval")
