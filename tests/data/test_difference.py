"""What came, went, moved, changed and drifted between two versions, whatever is known of each."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp, kstwobign

from lvdm.data.difference import Difference, Version, difference
from lvdm.data.distributions import CHANCE, Categories, Numbers, read_distribution

from .test_validation import manifest


def between(before: pd.DataFrame, now: pd.DataFrame) -> Difference:
    return difference(Version.of_manifest(before), Version.of_manifest(now), max_drift=0.1)


def test_the_same_is_the_same():
    found = between(manifest(), manifest())
    assert found.videos == {}
    assert all(drift.statistic == 0 for drift in found.drifts)
    assert found.line == "6 -> 6 videos: the same; no distribution drifted"


def test_each_video_that_is_not_as_it_was_is_named_with_what_became_of_it():
    before, now = (
        manifest(),
        manifest(label=["a", "a", "a", "b", "a", "b"], split=["test", *["train"] * 3, "test", "test"]),
    )
    now.loc[2, ["id"]] = "moved/2.mp4"
    now.loc[3, "source_checksum"] = "f" * 64
    now.loc[4, ["id", "source_checksum"]] = ["new.mp4", "e" * 64]
    now.loc[5, ["error", "source_checksum"]] = ["corrupt", "d" * 64]
    assert between(before, now).videos == {
        "added": ["new.mp4"],
        "removed": ["4.mp4"],
        "moved": ["2.mp4 -> moved/2.mp4"],
        "changed": [
            "3.mp4: other bytes",
            "5.mp4: other bytes; broken: corrupt",
            "0.mp4: split: train -> test",
            "1.mp4: label: b -> a",
        ],
    }


def test_two_copies_of_one_video_are_not_taken_for_moves():
    before, now = (
        manifest(source_checksum=["a" * 64] * 2 + list("bcde")),
        manifest(source_checksum=["a" * 64] * 2 + list("bcde")),
    )
    now.loc[0, "id"], now.loc[1, "id"] = "x.mp4", "y.mp4"
    assert set(between(before, now).videos) == {"added", "removed"}


@pytest.mark.parametrize("size", [50, 4000])
def test_the_distance_of_numbers_is_that_of_scipy_to_the_precision_that_is_kept(size):
    random = np.random.default_rng(0)
    one, other = random.normal(size=size), random.normal(0.3, 1.2, size=size + 7)
    kept = [read_distribution(Numbers.of(pd.Series(values)).document()) for values in (one, other)]
    exact = ks_2samp(one, other, method="asymp").statistic
    assert kept[0].distance(kept[1]) == pytest.approx(exact, abs=1e-12 if size == 50 else 2 / 256)


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_two_draws_of_one_distribution_are_seldom_further_apart_than_chance(kind):
    random, above, draws = np.random.default_rng(0), 0, 400
    for _ in range(draws):
        size, other = random.integers(20, 200, 2)
        if kind == "numbers":
            one, two = (Numbers.of(pd.Series(random.exponential(size=n))) for n in (size, other))
        else:
            one, two = (Categories.of(pd.Series(random.integers(0, 12, n)).astype("string")) for n in (size, other))
        above += one.distance(two) > one.chance(two)
    assert above <= 2  # of 400, CHANCE being once in a thousand
    assert CHANCE == 1e-3


def test_the_chance_of_numbers_is_the_quantile_of_kolmogorovs_distribution():
    one, other = Numbers(30, (0.0,)), Numbers(70, (0.0,))
    assert one.chance(other) == pytest.approx(kstwobign.isf(CHANCE) * math.sqrt(1 / 30 + 1 / 70))


def test_a_shift_that_is_large_and_no_chance_is_a_drift_and_others_are_not():
    random = np.random.default_rng(0)

    def version(num: int, shift: float) -> Version:
        numbers = Numbers.of(pd.Series(random.normal(shift, 1.0, num)))
        return Version(Version.of_manifest(manifest()).rows, {"motion": numbers})

    def drifted(num: int, shift: float) -> bool:
        (drift,) = difference(version(num, 0.0), version(num, shift), max_drift=0.1).drifts
        return drift.drifted

    assert drifted(1000, 1.0)
    assert not drifted(20000, 0.1)  # certain, and small
    assert not drifted(8, 0.5)  # large, and perhaps chance
