"""The assets in this process, without DVC: what they say of a run, and what a failed expectation does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import EngineEventData

from assets.catalog import PAGES, SERVED
from assets.data import manifest, validated
from assets.materialization import check_results, link
from assets.runner import StageFailed, StageRun
from lvdm.data.contract import Contract
from lvdm.errors import LvdmError
from lvdm.evaluation.gate import DRIFT
from lvdm.orphan import DIES_WITH
from lvdm.params import load_params
from lvdm.provenance import Provenance
from lvdm.report import Check, Report
from lvdm.run import run_stage
from lvdm.workspace import Workspace
from pipelines.reaper import _lives, reap
from pipelines.resources import DvcRunner
from pipelines.ui import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    """A project of a few rendered videos."""
    recipe = yaml.safe_load((ROOT / "builtin/recipe.yaml").read_text())
    recipe |= {"num_videos": 36, "frames": 20, "num_long_videos": 2, "long_frames": 24, "size": 32}
    (tmp_path / "builtin").mkdir()
    (tmp_path / "builtin/recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


class InProcessRunner(dg.ConfigurableResource):
    """Runs a stage in this process; no DVC, nothing skipped."""

    root: str

    def run(self, stage: str, name: str, log: Callable[[str], None]) -> StageRun:
        workspace = Workspace.at(Path(self.root))
        try:
            report = run_stage(stage, load_params(workspace.root / "params.yaml"), workspace, name)
        except LvdmError as error:
            raise StageFailed(str(error), Report.of_last_run(stage, name, workspace)) from error
        record = Provenance.of_last_run(stage, name, workspace)
        assert record is not None
        return StageRun(report, record.outputs, skipped=False)


def materialize(root: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [manifest, validated],
        instance=instance,
        resources={"runner": InProcessRunner(root=str(root))},
        raise_on_error=False,
    )


@pytest.mark.parametrize("command", ["everything", "ui"])
def test_a_mistake_in_params_yaml_is_one_line_to_whoever_begins_everything_or_the_pages(command, tmp_path):
    (tmp_path / "params.yaml").write_text("ingset: {}\n")
    ran = subprocess.run(
        [sys.executable, "-m", f"pipelines.{command}"],
        cwd=ROOT,
        env=os.environ | {"LVDM_ROOT": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1
    assert ran.stderr == "lvdm: params.yaml: ingset: unknown key: expected ingest, got 'ingset'\n"


def test_an_asset_says_what_its_stage_reported(root):
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(root, instance)
        assert result.success
        (event,) = result.asset_materializations_for_node("manifest")
    report = Report.read(Workspace(root), "ingest", "")
    assert {key: event.metadata[key].value for key in report.metrics} == report.metrics
    assert event.metadata["videos shown"].value.startswith("![videos](data:image/png;base64,")
    assert all(check.passed for check in result.get_asset_check_evaluations())
    params = load_params(root / "params.yaml")
    expected = {expectation.name for expectation in Contract(params.validate_, params.clips).all()}
    assert {check.check_name for check in result.get_asset_check_evaluations()} == expected


def test_a_file_below_the_artefacts_is_an_address_and_all_else_a_path_to_copy(tmp_path):
    assert link(SERVED / "samples/a.mp4") == dg.MetadataValue.url(f"{PAGES}/samples/a.mp4")
    for path in (SERVED / "samples", tmp_path / "a.mp4"):
        assert link(path) == dg.MetadataValue.path(path)


def test_the_artefacts_are_served_to_this_machine_alone(tmp_path):
    with serving(tmp_path, 0) as port:
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port)).close()


def test_a_failed_critical_expectation_is_a_failed_check_and_stops_the_run(root):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["validate"]["min_fps"] = 100
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(root, instance)
    assert not result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["few_rejects"].passed
    assert checks["few_rejects"].severity == dg.AssetCheckSeverity.ERROR
    assert not checks["fps_in_range"].passed
    assert checks["fps_in_range"].severity == dg.AssetCheckSeverity.WARN
    assert result.asset_materializations_for_node("validated") == []


def test_a_run_whose_process_is_gone_is_ended_and_one_that_lives_is_not():
    @dg.op
    def look(context: dg.OpExecutionContext):
        assert reap(context.instance) == [], "the run that looks is alive"

    @dg.job
    def looking():
        look()

    with dg.DagsterInstance.ephemeral() as instance:
        assert looking.execute_in_process(instance=instance).success
        dead = instance.create_run_for_job(looking, status=dg.DagsterRunStatus.STARTED)
        slots = instance.event_log_storage
        slots.set_concurrency_slots("gpu", 1)
        assert slots.claim_concurrency_slot("gpu", dead.run_id, "look").is_claimed
        assert reap(instance) == [], "nothing says yet which process works on it"
        instance.report_engine_event("started", dead, EngineEventData({"pid": dg.MetadataValue.text("4194304")}))
        assert reap(instance) == [dead.run_id]
        assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE
        assert slots.claim_concurrency_slot("gpu", "the next run", "look").is_claimed


def test_a_process_that_began_after_the_run_was_seen_is_not_the_one_of_the_run():
    assert _lives(os.getpid(), time.time())
    assert not _lives(os.getpid(), 0.0)


def test_a_run_in_a_terminal_ends_dead_runs_before_it_waits_for_what_they_hold_and_has_its_steps_die_with_it(
    monkeypatch,
):
    from pipelines.definitions import defs

    monkeypatch.setenv(DIES_WITH, "")
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("run_experiment")
        dead = instance.create_run_for_job(defs.resolve_job_def("everything"), status=dg.DagsterRunStatus.STARTED)
        instance.report_engine_event("started", dead, EngineEventData({"pid": dg.MetadataValue.text("4194304")}))
        config = {"max_concurrent": 1, "retries": {"enabled": {}}, "start_method": {"spawn": {}}}
        context = dg.InitExecutorContext(InMemoryJob(job), job.executor_def, config, instance)
        job.executor_def.executor_creation_fn(context)
        assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE
    assert os.environ[DIES_WITH] == str(os.getpid())


def test_a_step_dies_with_the_process_of_its_run():
    run = subprocess.Popen(["sleep", "100"])
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from pipelines.resources import DvcRunner; DvcRunner(root='.').setup_for_execution(None); "
            "print('at work', flush=True); time.sleep(100)",
        ],
        cwd=ROOT,
        env=os.environ | {DIES_WITH: str(run.pid)},
        stdout=subprocess.PIPE,
        text=True,
    ) as step:
        assert step.stdout.readline() == "at work\n"
        assert step.poll() is None
        run.kill()
        run.wait()
        assert step.wait(20) == -signal.SIGKILL


def test_a_stage_whose_files_another_dvc_is_at_work_on_waits_for_it(tmp_path):
    """DVC's own --wait-for-lock does not: it fails at once, and with it the run."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {write: {cmd: echo 1 > out, outs: [out]}}")
    other, said = subprocess.Popen(["sleep", "100"]), []
    at_work = {"pid": other.pid, "cmd": "dvc repro"}
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {str(tmp_path / "out"): at_work}}))

    def log(line: str) -> None:
        said.append(line)
        if "waits for" in line:
            other.kill()
            other.wait()

    status, _ = DvcRunner(root=str(tmp_path))._repro("write", log)
    assert f"write: waits for process {other.pid} to end" in said
    assert (status, (tmp_path / "out").read_text()) == (0, "1\n")


def test_a_check_says_of_which_experiment_it_is():
    """Dagster shows the latest one of any partition."""
    (shown,) = check_results(Report("evaluate", "perturbed", {}, checks=(Check(DRIFT, False, True, "far", 0, ()),)))
    (of_all,) = check_results(Report("validate", "", {}, checks=(Check("decodable", True, True, "files", 0, ()),)))
    assert (shown.description, of_all.description) == ("perturbed: far", "files")


def test_all_assets_can_be_materialized_at_once_and_none_asks_for_anything():
    """Or *Materialize all* fails as a whole; promoting, which asks for the reason, is a job."""
    from pipelines.definitions import defs

    assert dg.validate_run_config(defs.resolve_implicit_global_asset_job_def(), {})
