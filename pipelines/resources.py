"""Runs stages through DVC, each in a process of its own.

So dvc.lock is the one memory of what was made from what, GPU memory is returned when a step ends, and
Lightning may start its own ranks.
"""

import contextlib
import ctypes
import datetime
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import yaml

from assets.runner import StageFailed, StageRun
from lvdm.errors import LvdmError
from lvdm.nightly.night import Outcome, outcome_of, read_outcomes
from lvdm.nightly.promotion import promote
from lvdm.orphan import DIES_WITH, watch_over_orderer
from lvdm.params import load_params
from lvdm.report import REPORT, Report
from lvdm.workspace import Workspace

HINTS = (
    *("To track the changes with git", "To enable auto staging", "git add ", "dvc config ", "Use `dvc push`"),
    *("Updating lock file", "Generating lock file", "Data and pipelines are up to date", "> python", "Stage '"),
)
BLOCKER = re.compile(r"  \(PID (\d+)\): ")
PAUSE_SECONDS = 1
GRACE_SECONDS = 30  # between asking a cancelled stage to end and ending it


class DvcRunner(dg.ConfigurableResource):
    """Runs a stage as `dvc repro --single-item STAGE@NAME` in the folder `root`."""

    root: str
    echo: bool = False  # the stage's lines go to this terminal too

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """In the process of a step, ends it with the run that it is of; else a killed run would train on, unseen."""
        watch_over_orderer()

    def run(self, stage: str, name: str, log: Callable[[str], None]) -> StageRun:
        target, workspace = f"{stage}@{name}" if name else stage, Workspace.at(Path(self.root))
        path = workspace.report(stage, name) / REPORT
        before = _written(path)
        status, said = self._repro(target, log)
        fresh = _written(path) not in (None, before)
        if status:
            raise StageFailed(_reason(target, said), Report.read(workspace, stage, name) if fresh else None)
        if not fresh:
            self._say(f"{target}: nothing changed, skipped", log)
        return StageRun(Report.read(workspace, stage, name), self._outputs(target), skipped=not fresh)

    def night(self, log: Callable[[str], None]) -> tuple[Outcome, ...]:
        workspace = Workspace.at(Path(self.root))
        before = _written(outcome_of(workspace))
        _, said = self._run([sys.executable, "-m", "lvdm", "night"], log)
        if _written(outcome_of(workspace)) in (None, before):  # the status is 1 where an experiment failed, too
            raise StageFailed(_reason("lvdm night", said), None)
        return read_outcomes(workspace)

    def promote(self, experiment: str, why: str, by: str) -> Path:
        workspace = Workspace.at(Path(self.root))
        try:
            params = load_params(workspace.root / "params.yaml")
            today = datetime.datetime.now(tz=datetime.UTC).date()
            return promote(experiment, params, workspace, why=why, by=by, date=today)
        except LvdmError as error:
            raise StageFailed(str(error), None) from error

    def _repro(self, target: str, log: Callable[[str], None]) -> tuple[int, list[str]]:
        """Brings a stage up to date, after whoever is at work on its files; returns the exit status and the lines."""
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", target]
        status, said = self._run(command, log)
        while status and (blockers := _blockers(said)):  # for which that option does not wait
            self._say(f"{target}: waits for process {', '.join(map(str, blockers))} to end", log)
            while any(psutil.pid_exists(pid) for pid in blockers):
                time.sleep(PAUSE_SECONDS)
            status, said = self._run(command, log)
        return status, said

    def _run(self, command: list[str], log: Callable[[str], None]) -> tuple[int, list[str]]:
        """Runs a command and hands on what it prints, as it comes; returns the exit status and the lines.

        A step that is cancelled asks its processes to end, then ends them; one that is killed takes them along.
        """
        lines = []
        with _started(command, self.root) as process:
            assert process.stdout is not None
            for line in filter(_worth_saying, map(str.rstrip, process.stdout)):
                self._say(line, log)
                lines.append(line)
            return process.wait(), lines

    def _say(self, line: str, log: Callable[[str], None]) -> None:
        log(line)
        if self.echo:
            print(f"  {line}", flush=True)

    def _outputs(self, target: str) -> dict[str, str]:
        lock = yaml.safe_load((Path(self.root) / "dvc.lock").read_text())["stages"][target]
        return {out["path"]: out["md5"] for out in lock["outs"] if "/reports/" not in out["path"]}


@contextlib.contextmanager
def _started(command: list[str], root: str) -> Iterator[subprocess.Popen[str]]:
    """A process group of its own that ends with this block."""
    bin_folder = str(Path(sys.executable).parent)  # `python` in dvc.yaml is this python
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        DIES_WITH: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ) as process:
        try:
            yield process
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


def _worth_saying(line: str) -> bool:
    """Whether a line is more than DVC's hints about Git and itself."""
    return bool(line.strip()) and not line.strip().startswith(HINTS)


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _blockers(lines: list[str]) -> set[int]:
    """The processes that keep DVC from a stage, if that is its error."""
    busy = any(line.startswith("ERROR: ") and line.endswith("is being blocked by:") for line in lines)
    return {int(found[1]) for line in lines if busy and (found := BLOCKER.match(line))}


def _reason(target: str, lines: list[str]) -> str:
    """The stage's own one-line error if it said one, else DVC's."""
    own = [line for line in lines if line.startswith("lvdm: ")]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    return next(iter([*own, *dvc]), f"{target} failed without a word")
