"""Intervals over clips or videos by the delete-a-group jackknife.

The interval says where the number would lie, at this many samples, had other ones been made by the same model; what so
many samples alone cost is not in it, and that is the floor. A bootstrap would not do: clips drawn twice make a set look
less varied, so the mean of its Frechet distances lies outside of the spread that it is to tell, far above the number.
Not here: computing the values (distances.py). docs/evaluation.md has the coverage, measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

from lvdm.evaluation.result import Interval

LEVEL = 0.95
MOST_GROUPS = 20
FEWEST = 4  # things to leave out one after the other; with fewer nothing can be said


def groups_of(count: int) -> list[range]:
    """`count` things in contiguous groups, so that labels taken in turn are in all of them; none if too few."""
    if count < FEWEST:
        return []
    groups = min(MOST_GROUPS, count)
    edges = [count * i // groups for i in range(groups + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def interval(value: float, without: Sequence[float], least: float = -math.inf) -> Interval | None:
    """95 % about `value`, from what it is `without` each group; no lower than `least`, the lowest value there is.

    The variance is (g - 1) / g sum (v_i - mean v)^2 over g groups (Shao and Tu, The Jackknife and Bootstrap, 1995),
    the quantile that of Student's t with g - 1 degrees of freedom.
    """
    from scipy import stats  # costs a second, which whoever only draws a curve need not pay

    g = len(without)
    if g < FEWEST:
        return None
    centre = mean(without)
    error = math.sqrt((g - 1) / g * sum((v - centre) ** 2 for v in without))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, g - 1)) * error
    return max(value - reach, least), value + reach


def share_interval(share: float, count: int) -> Interval | None:
    """95 % about a share of which `count` independent things tell (Wilson, 1927): not a point where it is 0 or 1."""
    from scipy import stats

    if count < 1:
        return None
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre, spread = share + z**2 / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return max((centre - spread) / (1 + z**2 / count), 0.0), min((centre + spread) / (1 + z**2 / count), 1.0)
