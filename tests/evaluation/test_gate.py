"""The gate on drift, and what an evaluation says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvdm.evaluation.drift import Curve, Pair
from lvdm.evaluation.gate import gate_drift
from lvdm.evaluation.result import Estimate, Result
from lvdm.evaluation.summary import MEASURED, summarise

STEADY = Curve((1.0,) * 20, ((1.0,) * 20,) * 8)


def rising(by: float, spread: float, groups: int = 8) -> Curve:
    """A curve that rises from 1 by so much, videos differing by a `spread` of what it rises."""
    line = [1 + by * i / 19 for i in range(20)]
    without = [tuple(1 + by * (1 + spread * (-1) ** g) * i / 19 for i in range(20)) for g in range(groups)]
    return Curve(tuple(line), tuple(without))


def result(fake: Curve, real: Curve = STEADY) -> Result:
    return Result({}, {}, {"name": "small"}, {}, {"tn2": Pair(fake, real).numbers()})


def test_more_drift_than_allowed_fails_and_less_passes() -> None:
    assert not gate_drift(result(rising(1.0, 0.01)), max_drift=0.5).passed
    assert gate_drift(result(rising(0.4, 0.01)), max_drift=0.5).passed
    assert gate_drift(result(rising(1.0, 0.01), rising(0.8, 0.01)), max_drift=0.5).passed  # real video drifts too


def test_only_relative_distances_count_not_shares_of_frames_nor_frechet_distances() -> None:
    steady, steep = Pair(STEADY, STEADY).numbers(), Pair(rising(9.0, 0.01), STEADY).numbers()
    others = {"tn2": steady, "fd_tn2": steep, "static": steep, "joins": {"fake": 9.0, "real": 1.0}}
    assert gate_drift(replace(result(STEADY), drift=others), max_drift=0.5).passed


def test_a_change_that_is_no_number_does_not_pass() -> None:
    """Such as that of real videos that are all the same, from which everything lies infinitely far."""
    assert not gate_drift(result(Curve((float("inf"),) * 20)), max_drift=0.5).passed


def test_drift_that_is_not_sure_passes_and_says_how_sure_it_is() -> None:
    assert gate_drift(result(rising(1.0, 0.5)), max_drift=0.5).passed
    unsure = gate_drift(result(Curve(rising(1.0, 0.0).values)), max_drift=0.5)
    assert (unsure.passed, "too few long videos" in unsure.description) == (False, True)


def test_what_was_not_measured_does_not_pass_and_stops_nothing() -> None:
    nothing = Result({}, {}, {}, {"drift": "needs long videos"})
    check = gate_drift(nothing, max_drift=0.5)
    assert (check.passed, check.critical, check.description) == (False, False, "not measured: needs long videos")


def test_a_video_that_goes_dark_has_a_slope_whose_interval_leaves_out_zero() -> None:
    numbers = result(rising(1.0, 0.1)).drift["tn2"]
    assert 0 < numbers["fake_slope_per_1000_frames_low"] < numbers["fake_slope_per_1000_frames_high"]
    assert numbers["fake_change"] == pytest.approx(numbers["fake_last"] - numbers["fake_first"])
    assert numbers["real_change"] == 0


def test_the_summary_has_every_number_with_what_stands_beside_it() -> None:
    estimate = Estimate(2.0, 0.5, (1.5, 2.5), 64, 64, 32, "lower", "tn2", "a313d0b3", {"train": 1.9, "test": 2.0})
    continuity = {"joins": {"fake": 1.5, "fake_low": 1.25, "fake_high": 1.75, "real": 1.0}}
    measured = replace(result(rising(1.0, 0.1)), estimates={"fd_tn2": estimate}, not_available={"fvd": "needs I3D"})
    sides = {"fake": 3.0, "real": 12.0}
    told = {"motion": sides, "clipsim_x100": sides, "untold_64": sides}
    text = summarise(replace(measured, measured=told, drift={**measured.drift, **continuity}))
    assert "| fd_tn2 | lower | 2 | 1.5 to 2.5 | 0.5 (n 32) | 1.9 | 2 | 64 | 64 | tn2 a313d0b3 |" in text
    assert "| joins | 1.5 (1.25 to 1.75) | 1 |" in text
    for key, meaning in (("motion", "motion"), ("clipsim_x100", "clipsim_x100"), ("untold_64", "untold")):
        assert f"| {key} | {MEASURED[meaning]} | 3 | 12 |" in text
    assert "| tn2, samples | 320 | " in text, "over so many frames"
    assert {line.count("|") for line in text.splitlines() if line.startswith("| ")} == {4, 5, 8, 11}, "tables are whole"
    assert "- fvd: needs I3D" in text
