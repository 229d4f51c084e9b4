"""A night's numbers are held against those of the nights before; leaving their interval is said in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvdm.errors import ArtefactError
from lvdm.evaluation.result import Estimate
from lvdm.nightly.history import REMEMBERED, Entry, append, judged, read_history

PROTOCOL = {"name": "small", "real_set": "4fe1"}


def entry(date: str, *, half: float = 0.5, better: str = "lower", **values: float) -> Entry:
    estimates = {
        key: Estimate(value, 0.1, (value - half, value + half), 64, 64, 64, better, "tn2", "none")
        for key, value in values.items()
    }
    return Entry(date, "work", 1, "abc", PROTOCOL, estimates)


NIGHTS = [entry("2026-01-01", fd=4.0), entry("2026-01-02", fd=4.2), entry("2026-01-03", fd=3.8)]


def test_what_is_written_is_read_and_only_ever_added_to(tmp_path: Path) -> None:
    path = tmp_path / "nights/perturbed.jsonl"
    assert read_history(path) == []
    for number, night in enumerate(NIGHTS, 1):
        append(path, night)
        assert read_history(path) == NIGHTS[:number]
    failed = replace(NIGHTS[0], reasons=("fd left its interval",))
    append(path, failed)
    assert read_history(path)[-1] == failed


@pytest.mark.parametrize("line", [b'{"date": "2026-01-01"}', b'{"estimates": []}', b"[]", b"<<<<<<< HEAD", b"\xff"])
def test_a_history_that_cannot_be_read_is_one_line_with_the_remedy(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(line + b"\n")
    with pytest.raises(ArtefactError, match=r"x.jsonl: a line is no night.*move it away to begin a history anew"):
        read_history(tmp_path / "x.jsonl")


def test_a_number_like_those_before_passes_and_a_worse_one_fails_with_a_reason() -> None:
    assert judged(entry("2026-01-04", fd=4.5), NIGHTS).passed
    failed = judged(entry("2026-01-04", fd=5.5), NIGHTS)
    assert failed.reasons == (
        "fd left its interval: 5.5 [5, 6] tonight, 4 [3.5, 4.5] in the 3 nights before; "
        "that is 1.5 [0.7929, 2.207] worse",
    )


def test_a_better_number_passes_whichever_way_is_better() -> None:
    assert judged(entry("2026-01-04", fd=1.0), NIGHTS).passed
    before = [entry("2026-01-01", half=0.01, better="higher", clipsim=0.3)]
    assert judged(entry("2026-01-02", half=0.01, better="higher", clipsim=0.4), before).passed
    (reason,) = judged(entry("2026-01-02", half=0.01, better="higher", clipsim=0.2), before).reasons
    assert "in the night before; that is 0.1 [0.08586, 0.1141] worse" in reason


def test_only_nights_that_passed_and_were_measured_in_the_same_way_count() -> None:
    tonight = entry("2026-01-04", fd=9.0)
    assert judged(tonight, []).passed, "nothing to hold it against"
    assert judged(tonight, [replace(night, protocol={"name": "lvdm"}) for night in NIGHTS]).passed
    assert judged(tonight, [entry("2026-01-01", kd=1.0)]).passed
    other = [replace(n, estimates={"fd": replace(n.estimates["fd"], sha256="another file")}) for n in NIGHTS]
    assert judged(tonight, other).passed
    assert judged(tonight, [*NIGHTS, *[entry("2026-01-03", fd=9.0)] * REMEMBERED]).passed, "what was long ago is past"
    bad = replace(entry("2026-01-04", fd=9.0), reasons=("worse",))
    assert not judged(tonight, [*NIGHTS, *[bad] * 20]).passed, "failures do not become what is usual"


def test_false_alarms_are_no_more_than_the_interval_allows() -> None:
    """A number that only has noise of the size of its interval: 95 % two-sided, so at most 2.5 % fail."""
    draw, failed = np.random.default_rng(0), 0
    for _ in range(400):
        values = (float(v) for v in draw.normal(4.0, 0.5 / 1.96, 8))
        *before, tonight = (entry("2026-01-01", fd=value) for value in values)
        failed += not judged(tonight, before).passed
    assert 0 < failed <= 0.025 * 400
