"""The two ways to run a stage: through DVC in a process of its own (production), or right here (tests).

Through DVC, dvc.lock is the one memory of what was made from what, GPU memory is returned when a step ends, and
Lightning may start its own ranks.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import yaml

from assets.runner import StageFailed, StageRun
from lvdm.errors import LvdmError
from lvdm.params import load_params
from lvdm.provenance import Provenance
from lvdm.run import run_stage
from lvdm.workspace import Report, Workspace

GRACE_SECONDS = 30  # between asking a cancelled stage to end and ending it


class DvcRunner(dg.ConfigurableResource):
    """Runs a stage as `dvc repro --single-item STAGE@NAME` in the folder `root`."""

    root: str

    def run(self, stage: str, name: str, log: Callable[[str], None]) -> StageRun:
        target = f"{stage}@{name}" if name else stage
        report = Workspace.at(Path(self.root)).report(stage, name) / "report.json"
        before = report.stat().st_mtime_ns if report.exists() else None
        lines: list[str] = []
        for line in _lines(["repro", "--single-item", target], self.root):
            log(line)
            lines.append(line)
        status = int(lines.pop())
        workspace = Workspace.at(Path(self.root))
        if status:
            fresh = report.exists() and report.stat().st_mtime_ns != before
            raise StageFailed(_reason(target, lines), Report.read(workspace, stage, name) if fresh else None)
        skipped = any("didn't change, skipping" in line for line in lines)
        return StageRun(Report.read(workspace, stage, name), self._outputs(target), skipped)

    def _outputs(self, target: str) -> dict[str, str]:
        lock = yaml.safe_load((Path(self.root) / "dvc.lock").read_text())["stages"][target]
        return {out["path"]: out["md5"] for out in lock["outs"] if "/reports/" not in out["path"]}


class InProcessRunner(dg.ConfigurableResource):
    """Runs a stage in this process; no DVC, nothing skipped."""

    root: str

    def run(self, stage: str, name: str, log: Callable[[str], None]) -> StageRun:
        workspace = Workspace.at(Path(self.root))
        try:
            report = run_stage(stage, load_params(workspace.root / "params.yaml"), workspace, name)
        except LvdmError as error:
            written = workspace.report(stage, name) / "report.json"
            raise StageFailed(str(error), Report.read(workspace, stage, name) if written.exists() else None) from error
        return StageRun(report, Provenance.read(workspace.report(stage, name) / "provenance.json").outputs, False)


def _lines(arguments: list[str], root: str) -> Iterator[str]:
    """The lines that dvc and the stage print, as they come, and last the exit status.

    A cancelled step asks the stage's whole process group to end, then ends it; a killed step takes the stage with it.
    """
    bin_folder = str(Path(sys.executable).parent)  # `python` in dvc.yaml is this python
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "LVDM_DIE_WITH_PARENT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip():
                yield line.rstrip()
        yield str(process.wait())
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _reason(target: str, lines: list[str]) -> str:
    """The stage's own one-line error if it said one, else DVC's."""
    own = [line for line in lines if line.startswith("lvdm: ")]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    return next(iter([*own, *dvc]), f"dvc repro --single-item {target} failed without a word")
