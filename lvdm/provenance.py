"""What a run of a stage was made from: the hashes that tie a number to the bytes it came from.

They also decide what a killed run may go on from.

Not here: following them from a number to the raw data; that is comparison/lineage.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lvdm.errors import ArtefactError
from lvdm.fingerprints import files_at, fingerprint
from lvdm.git import git
from lvdm.graph import STAGES, Stage
from lvdm.params import Params
from lvdm.ranks import is_first_process
from lvdm.workspace import Workspace, write_json

PACKAGE = Path(__file__).parent
RECORD = "provenance.json"  # beside the report
WORK = "work.json"  # beside the state in scratch
WRITTEN = ("dvc.lock", "metrics", "nights", "promotions")  # tracked files that runs write: no change of what decides
DIFFERENCES_SAID = 5
NOTHING: Mapping[str, str] = {}

log = logging.getLogger(__name__)


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
        write_json(workspace.report(self.stage, self.name) / RECORD, asdict(self))

    @classmethod
    def of_last_run(cls, stage: str, name: str, workspace: Workspace) -> Provenance | None:
        """What the last run of a stage left on record, if it left any.

        Raises:
            ArtefactError: the file is no record of a run.
        """
        path = workspace.report(stage, name) / RECORD
        return cls.read(path) if path.is_file() else None

    @classmethod
    def read(cls, path: Path) -> Provenance:
        """
        Raises:
            ArtefactError: the file is no record of a run.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: no provenance: {error}", remedy="run that stage again") from None


def hashes(paths: tuple[Path, ...], workspace: Workspace) -> dict[str, str]:
    """The content hash of each path, file or folder."""
    return {str(path.relative_to(workspace.root)): fingerprint(files=[path]) for path in paths}


@dataclass(frozen=True)
class Work:
    """What decides the outcome of a run: a killed run goes on only from the state of equal work."""

    params: dict[str, Any]
    inputs: dict[str, str]  # hash by path below the workspace, and of what else decides the outcome
    code: dict[str, str]  # hash by path below the package

    @classmethod
    def of(cls, verb: str, params: Params, workspace: Workspace, name: str, beside: Mapping[str, str]) -> Work:
        """Of a stage; `beside` holds the hashes of what it reads that is no artefact."""
        inputs = hashes(STAGES[verb].inputs(workspace, params, name), workspace)
        return cls.from_hashes(verb, params, name, inputs | dict(beside))

    @classmethod
    def from_hashes(cls, verb: str, params: Params, name: str, inputs: dict[str, str]) -> Work:
        """Of a stage, whose inputs and what else decides are known by their hashes."""
        stage = STAGES[verb]
        code = {str(f.relative_to(PACKAGE)): fingerprint(files=[f]) for f in _files(stage)}
        return cls(stage.settings(params, name), inputs, code)

    @property
    def fingerprint(self) -> str:
        return fingerprint(asdict(self))

    def differences(self, earlier: Work) -> list[str]:
        """What is not as it was `earlier`, each in a few words."""
        before, now = dict(flat(earlier.params)), dict(flat(self.params))
        keys = [key for key in now | before if before.get(key) != now.get(key)]
        return [
            *(f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys),
            *(f"data: {path} changed" for path in _changed(earlier.inputs, self.inputs)),
            *(f"code: lvdm/{path} changed" for path in _changed(earlier.code, self.code)),
        ]


def scratch_of(
    verb: str,
    params: Params,
    workspace: Workspace,
    name: str,
    *,
    resume: bool = False,
    beside: Mapping[str, str] = NOTHING,
) -> Path:
    """The folder that a killed run of the stage resumes from: of equal parameters, inputs and code only.

    The state of other work is removed, a line says by what it differs; with `resume` that is an error. All this is for
    the first process to do: another only learns of the folder, since it may begin while the first needs what is there.

    Raises:
        ArtefactError: with `resume`, there is no state of a killed run, or it is of other work; it is left there.
    """
    work = Work.of(verb, params, workspace, name, beside)
    folder = workspace.scratch(verb, name, work.fingerprint)
    if not is_first_process():
        return folder
    earlier = _killed(verb, workspace, name)
    differences = work.differences(earlier) if earlier else []
    if resume and earlier is None:
        raise ArtefactError(f"{verb} {name}: no killed run to resume", remedy="run it without --resume")
    if resume and differences:
        raise ArtefactError(
            f"{verb} {name}: the killed run was of other work: {_in_words(differences)}",
            remedy="change that back, or run without --resume to begin anew",
        )
    if differences:
        log.info("%s %s begins anew, not from the state of a killed run: %s", verb, name, _in_words(differences))
    elif earlier:
        log.info("%s %s goes on from the state of a killed run", verb, name)
    workspace.clear_scratch(verb, name, keep=folder)
    write_json(folder / WORK, asdict(work))
    return folder


def _killed(verb: str, workspace: Workspace, name: str) -> Work | None:
    """The work of the run whose state is there."""
    for folder in workspace.scratches(verb, name):
        if (folder / WORK).is_file() and len(list(folder.iterdir())) > 1:
            return Work(**json.loads((folder / WORK).read_text()))
    return None


def _changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return sorted(path for path in before | now if before.get(path) != now.get(path))


def flat(document: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested sections, each with its dotted key."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _in_words(differences: list[str]) -> str:
    more = len(differences) - DIFFERENCES_SAID
    return "; ".join([*differences[:DIFFERENCES_SAID], *([f"and {more} more"] if more > 0 else [])])


def code_hash(stage: Stage) -> str:
    """A hash of the source files that decide what the stage makes."""
    return fingerprint(files=_files(stage))


def _files(stage: Stage) -> list[Path]:
    return [file for part in stage.code for file in files_at(PACKAGE / part, "*.py")]


def _commit(root: Path) -> str:
    commit = (git(root, "rev-parse", "--short=12", "HEAD") or "").strip()
    written = (f":(exclude){path}" for path in WRITTEN)
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", *written)
    return f"{commit}+changes" if commit and changed else commit
