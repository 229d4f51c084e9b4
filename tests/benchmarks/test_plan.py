"""What the plan says is held against what is found: memory of both trainings, and times of these and of sampling."""

from __future__ import annotations

import pytest

from benchmarks import plan
from lvdm.planning import trials


def test_memory_and_times_of_all_that_the_plan_is_of_are_held_against_what_is_found(monkeypatch, capsys):
    monkeypatch.setattr(plan, "BEFORE", 2)
    monkeypatch.setattr(plan, "LATER", 4)
    monkeypatch.setattr(trials, "LONG_ENOUGH", 0.0)
    ratios = plan.main(["--size", "tiny", "--no-compile"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if "said" not in row]
    assert len(ratios) == len(rows) == 8 + 3
    for ratio, (work, said, found, shown) in zip(ratios, rows, strict=True):
        assert float(said) / float(found) == pytest.approx(ratio, rel=0.02), work
        assert shown == f"{ratio:.2f} |"
    assert all(0.85 < ratio < 1.15 for ratio in ratios[4:8])  # memory of the denoiser; that of a tiny clip is overhead
