"""promotions/<experiment>.json: which experiments are trusted, since when, by whom, why, and on what evidence.

The file lies in Git's working tree; committing it is for a person to do. Not here: what the night does with it.
"""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.comparison.lineage import Node, read_reports, trace_file
from lvdm.comparison.settings import stale_runs
from lvdm.errors import LvdmError
from lvdm.evaluation.result import Result
from lvdm.git import git
from lvdm.nightly.history import history_of, read_history
from lvdm.params import Params
from lvdm.provenance import hashes
from lvdm.report import Report
from lvdm.workspace import Workspace, write_json


class PromotionRefused(LvdmError):
    """An experiment does not pass the gates."""


@dataclass(frozen=True)
class Gate:
    """One condition of promotion, and why it does not hold; an empty reason is a gate that is passed."""

    name: str
    reason: str


def promotion_of(experiment: str, workspace: Workspace) -> Path:
    """Where it says that an experiment is promoted; in Git's working tree."""
    return workspace.root / "promotions" / f"{experiment}.json"


def promoted(workspace: Workspace) -> list[str]:
    """The experiments that are promoted."""
    return sorted(path.stem for path in promotion_of("x", workspace).parent.glob("[!.]*.json"))  # hidden: half-written


def gates(experiment: str, params: Params, workspace: Workspace) -> tuple[Gate, ...]:
    """Every condition that an experiment has to meet, met or not.

    Raises:
        ArtefactError: it was not evaluated, or a record cannot be read.
        ParamsError: no such experiment.
    """
    params.experiment(experiment)
    Result.read(workspace.metrics(experiment))
    tree = trace_file(workspace.metrics(experiment), workspace, read_reports(workspace))
    stale = stale_runs(experiment, tree, params)
    return (
        Gate("lineage", "" if tree.whole else "the chain from its numbers to the raw data is broken; run it again"),
        Gate("artefacts", "; ".join(_other_bytes(tree, workspace))),
        Gate("parameters", f"params.yaml has changed since {', '.join(stale)}; run that again" if stale else ""),
        Gate("checks", "; ".join(_failed_checks(tree, workspace))),
        Gate("night", _last_night(experiment, workspace)),
    )


def promote(experiment: str, params: Params, workspace: Workspace, *, why: str, by: str, date: datetime.date) -> Path:
    """Writes the promotion of an experiment; returns the file.

    Raises:
        ArtefactError: it was not evaluated.
        ParamsError: no such experiment.
        PromotionRefused: a gate is not passed, or nothing says why; all reasons are named.
    """
    if not why.strip():
        raise PromotionRefused(f"{experiment} is not promoted", expected="a reason", remedy="say it with --why")
    passed = gates(experiment, params, workspace)
    if refused := [f"{gate.name}: {gate.reason}" for gate in passed if gate.reason]:
        raise PromotionRefused(f"{experiment} is not promoted: {'; '.join(refused)}")
    path = promotion_of(experiment, workspace)
    said = {"why": why.strip(), "by": by or who(workspace.root), "date": date.isoformat()}
    write_json(path, {**_document(experiment, workspace), **said, "gates": [gate.name for gate in passed]})
    return path


def who(root: Path) -> str:
    """The person at work: as Git knows them, else the name of the account.

    Raises:
        PromotionRefused: there is neither, as in a container.
    """
    name, address = ((git(root, "config", key) or "").strip() for key in ("user.name", "user.email"))
    if name:
        return f"{name} <{address}>"
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        raise PromotionRefused("neither Git nor the system knows who you are", remedy="say it with --by") from None


def _document(experiment: str, workspace: Workspace) -> dict[str, Any]:
    """What is promoted: its numbers, and the hashes of all that they were made from."""
    result = Result.read(workspace.metrics(experiment))
    tree = trace_file(workspace.metrics(experiment), workspace, read_reports(workspace))
    return {
        "experiment": experiment,
        "metrics": {key: {"value": e.value, "interval": e.interval} for key, e in result.estimates.items()},
        "protocol": dict(result.protocol),
        "commit": tree.commit,
        "files": _made(tree),
    }


def _made(tree: Node) -> dict[str, str]:
    """The hash, by path, of all that the runs behind the numbers made."""
    return {path: digest for maker in tree.makers() for path, digest in maker.outputs.items()}


def _other_bytes(tree: Node, workspace: Workspace) -> Iterator[str]:
    """What is not, byte for byte, that from which the numbers were made: records alone do not say what lies there."""
    for path, recorded in _made(tree).items():
        lies = workspace.root / path
        if hashes((lies,), workspace)[path] == recorded:
            continue
        if lies.exists():
            yield f"{path} is not what was measured; `dvc checkout` brings that back, or measure this"
        else:
            yield f"{path} is not there; `dvc pull` fetches it"


def _failed_checks(tree: Node, workspace: Workspace) -> list[str]:
    """The critical checks of the runs behind the numbers that failed."""
    runs = dict.fromkeys((maker.stage, maker.name) for maker in tree.makers())
    return [
        f"{stage} {name}: {check.name} failed: {check.description}"
        for stage, name in runs
        if (report := Report.of_last_run(stage, name, workspace)) is not None
        for check in report.checks
        if check.critical and not check.passed
    ]


def _last_night(experiment: str, workspace: Workspace) -> str:
    nights = read_history(history_of(experiment, workspace))
    return "" if not nights or nights[-1].passed else f"{nights[-1].date}: {'; '.join(nights[-1].reasons)}"
