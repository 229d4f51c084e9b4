"""The night and promotion on the project that other tests made: real samples and measurements, the real schedule."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from assets.nightly import check_of
from lvdm.evaluation.result import Result
from lvdm.nightly.history import Entry, append, history_of, read_history
from lvdm.nightly.night import night, read_outcomes
from lvdm.nightly.promotion import PromotionRefused, promote, promotion_of
from lvdm.params import load_params
from lvdm.workspace import Workspace
from pipelines.schedules import every_night
from tests.pipelines.conftest import Project

NAME = "perturbed"


def day_of(project: Project) -> dict[str, int]:
    """When each file was written that is the day's: of stages, of parameters, of DVC."""
    files = (path for path in project.root.rglob("*") if path.is_file())
    apart = ("artifacts/night/", "nights/", ".lvdm/", ".dagster/", ".git/", ".dvc/", "__pycache__", "logs/", "history/")
    named = {str(path.relative_to(project.root)): path.stat().st_mtime_ns for path in files}
    return {name: time for name, time in named.items() if not any(part in name for part in apart)}


def remember_better(workspace: Workspace) -> None:
    """A night before in which one metric was far better."""
    result = Result.read(workspace.metrics(NAME))
    one = result.estimates["fd_tn2"]
    better = replace(one, value=one.value / 100, interval=(one.value / 110, one.value / 90))
    before = Entry("2026-01-01", "other work", 1, "abc", result.protocol, {"fd_tn2": better})
    append(history_of(NAME, workspace), before)


def test_a_night_through_dagster_then_without_changes_then_of_what_is_promoted(copy, monkeypatch):
    workspace = Workspace.at(copy.root)
    broken = workspace.denoiser("unperturbed")
    shutil.rmtree(broken)
    broken.touch()
    remember_better(workspace)
    before = day_of(copy)
    said = copy.run("dagster", "job", "execute", "-m", "pipelines.definitions", "-j", "nightly", status=1)
    assert f"the night failed for {broken.name}; " in said
    assert day_of(copy) == before, "no output of a stage is touched"

    monkeypatch.setenv("DAGSTER_HOME", str(copy.root))
    monkeypatch.chdir(copy.root)
    _, first = read_history(history_of(NAME, workspace))
    with dg.DagsterInstance.get() as instance:
        (materialized,) = instance.fetch_materializations(dg.AssetKey("night"), limit=9).records
        key = dg.AssetCheckKey(dg.AssetKey("night"), check_of(NAME))
        (check,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
        key = dg.AssetCheckKey(dg.AssetKey("night"), check_of(broken.name))
        (failed,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert materialized.asset_materialization.metadata[f"{NAME} fd_tn2"].value == first.estimates["fd_tn2"].value
    evaluation = check.event.dagster_event.event_specific_data
    assert not evaluation.passed
    assert "fd_tn2 left its interval" in evaluation.description
    assert "failed, NotADirectoryError: " in failed.event.dagster_event.event_specific_data.description
    assert first.seed != load_params(copy.root / "params.yaml").sample.seed

    params, outcomes = load_params(copy.root / "params.yaml"), read_outcomes(workspace)
    today = datetime.date.fromisoformat(first.date)  # midnight may have passed since
    assert night(params, workspace, today) == outcomes, "as if it had been killed with its last word"
    assert len(read_history(history_of(NAME, workspace))) == 2, "and nothing was measured once more"
    copy.drop(broken.name)
    params = load_params(copy.root / "params.yaml")
    (outcome,) = night(params, workspace, today + datetime.timedelta(1))
    assert (outcome.did, outcome.note) == ("skipped", f"nothing changed since {today}")
    assert not outcome.passed, "what failed fails until it is measured again"
    with pytest.raises(PromotionRefused, match=r"night: .*fd_tn2 left its interval"):
        promote(NAME, params, workspace, why="it looks good", by="", date=today)

    history_of(NAME, workspace).unlink()
    append(history_of(NAME, workspace), replace(first, reasons=()))
    said = copy.run("lvdm", "promote", NAME, "--why", "it looks good")
    assert "promotions/perturbed.json: commit it" in said
    promotion = json.loads(promotion_of(NAME, workspace).read_text())
    assert (promotion["by"], promotion["why"]) == ("test <test@example.invalid>", "it looks good")
    assert promotion["metrics"]["fd_tn2"]["value"] == Result.read(workspace.metrics(NAME)).metrics["fd_tn2"]
    assert "artifacts/denoiser/perturbed" in promotion["files"]

    (outcome,) = night(params, workspace, today + datetime.timedelta(params.night.refresh_days))
    assert outcome.did == "measured"
    assert "promoted, and 7 days" in outcome.note
    *_, second = read_history(history_of(NAME, workspace))
    assert second.work == first.work
    assert second.seed != first.seed
    assert second.estimates["fd_tn2"].value != first.estimates["fd_tn2"].value
    assert second.passed


def test_the_schedule_is_on_waits_its_turn_and_leaves_out_a_night_that_would_overlap():
    from pipelines.definitions import defs

    schedule = defs.resolve_schedule_def("every_night")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = defs.resolve_job_def("nightly")
    assert int(job.tags["dagster/max_runtime"]) == 6 * 3600
    assert job.tags["dagster/max_retries"] == "0", "a night that was ended for its time is not begun once more"
    assert schedule.cron_schedule == "0 2 * * *"
    at = datetime.datetime(2026, 1, 2, 2, tzinfo=datetime.UTC)
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        assert every_night(context).run_key == "2026-01-02"
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("lvdm"), "lvdm").get_job_origin(job.name)
        for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED):
            run = instance.create_run_for_job(job, status=status, remote_job_origin=place)
            assert run.run_id[:8] in every_night(context).skip_message, "the run that is the latest"
    policy = defs.resolve_asset_graph().get(dg.AssetKey("night")).freshness_policy
    assert policy.deadline_cron == "0 9 * * *"
