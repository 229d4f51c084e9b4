"""A night in which nothing can be measured says why, an experiment at a time; the measuring is tests/pipelines."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from lvdm.__main__ import main
from lvdm.errors import BusyError
from lvdm.machine import Machine
from lvdm.nightly.history import history_of
from lvdm.nightly.night import _with_seed, _work, night, read_outcomes
from lvdm.nightly.promotion import promotion_of
from lvdm.params import Params
from lvdm.workspace import Workspace, write_json

ROOT = Path(__file__).parents[2]
DATE = datetime.date(2026, 1, 2)


def test_what_cannot_be_measured_says_why_and_stops_no_other(workspace: Workspace, params: Params) -> None:
    broken, missing = history_of("perturbed", workspace), workspace.denoiser("unperturbed")
    broken.parent.mkdir()
    broken.write_text("{")
    missing.unlink()
    outcomes = night(params, workspace, DATE)
    assert read_outcomes(workspace) == outcomes
    first, second = outcomes
    assert (first.did, first.passed) == ("failed", False)
    assert "a line is no night" in first.line()
    assert (second.did, second.passed) == ("skipped", True)
    assert second.note == "artifacts/denoiser/unperturbed is not there yet"


def test_an_error_that_nobody_foresaw_is_the_reason_why_one_experiment_failed_and_stops_no_other(
    workspace: Workspace, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is what a night makes shared with other machines: the server that is named is none."""
    workspace = replace(workspace, machine=Machine(accelerator="cpu", artifacts="s3://nobody/there"))
    assert workspace.denoiser("perturbed").is_file(), "where networks lie in a folder"
    workspace.denoiser("unperturbed").unlink()
    first, second = night(params, workspace, DATE)
    assert (first.did, first.passed, second.did) == ("failed", False, "skipped")
    assert first.note.startswith("NotADirectoryError: ") and "\n" not in first.line()
    (bug,) = (record for record in caplog.records if record.exc_info)
    assert (bug.name, bug.getMessage()) == ("lvdm.nightly.night", "night: perturbed")


def test_a_night_in_which_an_experiment_failed_fails_when_it_has_said_all(
    workspace: Workspace, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(ROOT / "params.yaml", workspace.root / "params.yaml")
    workspace.denoiser("unperturbed").unlink()
    command = ["--root", str(workspace.root), "night", "--date", "2026-01-02"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert [line.split(",")[0] for line in said.out.splitlines()] == ["perturbed: failed", "unperturbed: skipped"]
    *_, last = said.err.splitlines()
    assert last == "lvdm: the night failed for perturbed; mend that and run it again: it does the rest"
    workspace.denoiser("perturbed").unlink()
    assert main(command) == 0


def test_what_is_promoted_and_not_in_params_any_more_is_not_passed_over(workspace: Workspace, params: Params) -> None:
    for name in params.experiments:
        workspace.denoiser(name).unlink()
    write_json(promotion_of("gone", workspace), {})
    *_, last = night(params, workspace, DATE)
    assert (last.experiment, last.did, last.passed) == ("gone", "failed", False)
    assert "expected one of perturbed, unperturbed, got 'gone'" in last.line()


def test_an_experiment_that_is_being_trained_is_left_for_the_next_night(workspace: Workspace, params: Params) -> None:
    with workspace.lock("train_denoiser", "perturbed"), workspace.lock("train_denoiser", "unperturbed"):
        outcomes = night(params, workspace, DATE)
    assert {outcome.did for outcome in outcomes} == {"skipped"}
    assert "train_denoiser perturbed is already running as process" in outcomes[0].note


def test_a_seed_of_the_samples_which_a_night_replaces_is_no_reason_to_measure_again(
    workspace: Workspace, params: Params
) -> None:
    def work(params: Params) -> str:
        return _work("perturbed", params, workspace)

    for_all = params.model_copy(update={"sample": params.sample.model_copy(update={"seed": 8})})
    assert work(params) == work(for_all) == work(_with_seed(params, "perturbed", 9))
    assert work(params) != work(params.model_copy(update={"sample": params.sample.model_copy(update={"steps": 3})}))


def test_other_videos_or_another_torch_are_a_reason_to_measure_again(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = [_work("perturbed", params, workspace)]
    workspace.validated.write_text("other videos")
    works.append(_work("perturbed", params, workspace))
    monkeypatch.setattr(metadata, "version", lambda package: f"another {package}")
    works.append(_work("perturbed", params, workspace))
    assert len(set(works)) == 3


def test_two_nights_do_not_overlap(workspace: Workspace, params: Params) -> None:
    with workspace.lock("night", ""), pytest.raises(BusyError, match="night is already running as process"):
        night(params, workspace, DATE)
