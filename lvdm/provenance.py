"""What a run of a stage was made from: the hashes that tie a number to the bytes it came from.

Not here: following them from a number to the raw data; that is comparison/lineage.py.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lvdm.graph import STAGES, Stage
from lvdm.params import Params
from lvdm.workspace import Workspace, fingerprint, write_json

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Provenance:
    """One run of one stage. Paths are relative to the workspace; hashes are of contents."""

    stage: str
    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    params: dict[str, Any]
    code: str  # hash of the rooms that decide the outcome
    commit: str  # of the repository, with "+changes" if the working tree had some; empty outside git

    @classmethod
    def of(cls, stage: Stage, params: Params, workspace: Workspace, name: str, inputs: dict[str, str]) -> Provenance:
        """The provenance of outputs that were just written from `inputs`."""
        return cls(
            stage=stage.verb,
            name=name,
            inputs=inputs,
            outputs=hashes(stage.outputs(workspace, params, name), workspace),
            params=stage.settings(params, name),
            code=code_hash(stage),
            commit=_commit(workspace.root),
        )

    def write(self, workspace: Workspace) -> None:
        write_json(workspace.report(self.stage, self.name) / "provenance.json", asdict(self))

    @classmethod
    def read(cls, path: Path) -> Provenance:
        return cls(**json.loads(path.read_text()))


def hashes(paths: tuple[Path, ...], workspace: Workspace) -> dict[str, str]:
    """The content hash of each path, file or folder."""
    return {str(path.relative_to(workspace.root)): fingerprint(files=[path]) for path in paths}


def scratch_of(verb: str, params: Params, workspace: Workspace, name: str, *more: str) -> Path:
    """The folder that a killed run of the stage resumes from: of equal work only."""
    return workspace.scratch(verb, name, work_of(verb, params, workspace, name, *more))


def work_of(verb: str, params: Params, workspace: Workspace, name: str, *more: str) -> str:
    """The fingerprint of what the stage does: of its parameters, inputs and code, and of what else decides it."""
    stage = STAGES[verb]
    work = (
        stage.settings(params, name),
        hashes(stage.inputs(workspace, params, name), workspace),
        code_hash(stage),
        *more,
    )
    return fingerprint(*work)


def code_hash(stage: Stage) -> str:
    """A hash of the source files that decide what the stage makes."""
    files = [PACKAGE / part for part in stage.code]
    return fingerprint(files=[f for p in files for f in (sorted(p.rglob("*.py")) if p.is_dir() else [p])])


def _commit(root: Path) -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
    except FileNotFoundError:  # no git on this machine
        return ""
