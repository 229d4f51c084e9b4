"""All benchmarks with one command: what has ended well stays and is not run again, the rest is."""

from __future__ import annotations

import pytest

import benchmarks.__main__ as everything
from benchmarks.__main__ import ASKED, Asked

DATA = next(asked for asked in ASKED if asked.name == "data")
BROKEN = Asked("broken", "none", "not_there", "not_there")


@pytest.fixture
def two(monkeypatch):
    """One that fails, and one that runs after it."""
    monkeypatch.setattr(everything, "ASKED", (BROKEN, DATA))


def test_what_ended_well_is_kept_under_its_goal_and_not_run_again_and_what_failed_is_missing(two, tmp_path, capsys):
    into = tmp_path / "results.md"
    assert everything.main(["--tiny", "--into", str(into)]) == 1
    found = into.read_text()
    assert found.startswith(f"## data: goal {DATA.goal} (")
    assert "windows of 5 a second of one core" in found
    assert "broken: ended with status 1" in capsys.readouterr().out
    assert everything.main(["--tiny", "--into", str(into)]) == 1
    assert into.read_text() == found
    assert "windows" not in capsys.readouterr().out


def test_when_time_is_up_nothing_begins(two, tmp_path):
    assert everything.main(["--tiny", "--minutes", "0", "--into", str(tmp_path / "results.md")]) == 2
    assert not (tmp_path / "results.md").exists()


def test_what_runs_when_time_is_up_is_ended_and_missing():
    status, said = everything.run(["latent_cache", "--latents", "2000", "--seconds", "1000"], 0.05)
    assert status < 0 and "windows" not in said


def test_each_has_a_name_of_its_own():
    assert len({asked.name for asked in ASKED}) == len(ASKED)
