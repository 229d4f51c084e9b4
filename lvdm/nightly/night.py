"""What a night does: what is promoted or changed is sampled with a fresh seed, measured, held against its history.

What it makes lies in a folder of its own, so that no output of a stage is touched; only its history is kept.
Not here: the clock (pipelines/schedules.py), and what leaving an interval means (history.py).
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from lvdm.errors import BusyError, LvdmError, mendable
from lvdm.evaluation.result import Result
from lvdm.fingerprints import fingerprint
from lvdm.graph import STAGES
from lvdm.nightly.history import Entry, append, history_of, judged, read_history
from lvdm.nightly.promotion import promoted
from lvdm.params import Params
from lvdm.provenance import NOTHING, Provenance, Work, code_hash
from lvdm.run import run_stage
from lvdm.workspace import Workspace, need, write_json

log = logging.getLogger(__name__)


class NightFailed(LvdmError):
    """An experiment could not be measured."""


@dataclass(frozen=True)
class Outcome:
    """What the night did with one experiment, and whether its numbers are where they were."""

    experiment: str
    did: Literal["measured", "skipped", "failed"]
    note: str  # why it was skipped or failed, or what it was measured for
    passed: bool  # of the last night that measured it
    reasons: tuple[str, ...] = ()
    metrics: dict[str, float] | None = None  # of tonight

    def line(self) -> str:
        """For a terminal."""
        said = "; ".join(self.reasons) or ("no metric left its interval" if self.did == "measured" else "")
        return f"{self.experiment}: {self.did}, {self.note}{f': {said}' if said else ''}"


class NightWorkspace(Workspace):
    """The artefacts of the day to read; what is made lies apart."""

    @property
    def apart(self) -> Path:
        return self.artefacts / "night"

    def samples(self, experiment: str) -> Path:
        return self.apart / "samples" / experiment

    def metrics(self, experiment: str) -> Path:
        return self.apart / "metrics" / f"{experiment}.json"

    @property
    def reports(self) -> Path:
        return self.apart / "reports"

    def curve(self, stage: str, name: str) -> Path:
        return self.apart / "curves" / stage / f"{name}.csv"

    @property
    def state(self) -> Path:
        return self.local / "night"


def outcome_of(workspace: Workspace) -> Path:
    """Where it says what the last night did."""
    return workspace.artefacts / "night" / "outcome.json"


def night(params: Params, workspace: Workspace, date: datetime.date) -> tuple[Outcome, ...]:
    """Measures what is due on `date`; also written to `outcome_of` it.

    Killed and run again on that date, it does only what is not done, and says the same.

    An experiment that fails, of whatever error, stops no other (see `check_none_failed`); one that is being worked on
    is left for the next night, and one that is promoted but not in `params` any more fails.

    Raises:
        BusyError: another night is at work.
    """
    trusted = promoted(workspace)
    with workspace.lock("night", ""):
        names = dict.fromkeys((*params.experiments, *trusted))
        outcomes = tuple(_outcome(name, name in trusted, params, workspace, date) for name in names)
        write_json(outcome_of(workspace), {"date": date.isoformat(), "outcomes": [asdict(o) for o in outcomes]})
    return outcomes


def check_none_failed(outcomes: Sequence[Outcome]) -> None:
    """
    Raises:
        NightFailed: some of the night's experiments did.
    """
    if failed := [outcome.experiment for outcome in outcomes if outcome.did == "failed"]:
        raise NightFailed(
            f"the night failed for {', '.join(failed)}", remedy="mend that and run it again: it does the rest"
        )


def _outcome(name: str, trusted: bool, params: Params, workspace: Workspace, date: datetime.date) -> Outcome:
    passed, reasons = True, tuple[str, ...]()
    try:
        history = read_history(history_of(name, workspace))
        last = history[-1] if history else None
        passed, reasons = (last.passed, last.reasons) if last else (True, ())
        if missing := _missing(name, params, workspace):
            return Outcome(name, "skipped", f"{missing} is not there yet", passed, reasons)
        with workspace.lock("train_denoiser", name):
            work = _work(name, params, workspace)
            tonight = last if last and (last.date, last.work) == (date.isoformat(), work) else None
            earlier = history[:-1] if tonight else history
            due = _due(earlier[-1] if earlier else None, work, trusted, params.night.refresh_days, date)
            if not due:
                return Outcome(name, "skipped", f"nothing changed since {last.date if last else ''}", passed, reasons)
            log.info("night: %s: %s", name, due)
            entry = tonight or _measured(name, params, workspace, work, history, date)
    except BusyError as error:
        return Outcome(name, "skipped", str(error), passed, reasons)
    except Exception as error:  # a bug or a GPU out of memory, too, is no matter of the experiments that follow
        if (said := mendable(error)) is None:
            log.exception("night: %s", name)
            said = LvdmError(f"{type(error).__name__}: {error}")
        return Outcome(name, "failed", str(said), passed=False)
    metrics = {key: estimate.value for key, estimate in entry.estimates.items()}
    return Outcome(name, "measured", due, entry.passed, entry.reasons, metrics)


def _measured(
    name: str, params: Params, workspace: Workspace, work: str, history: Sequence[Entry], date: datetime.date
) -> Entry:
    unshared = workspace.machine.model_copy(update={"artifacts": None})  # nobody else wants samples of tonight's seed
    apart, seed = NightWorkspace(workspace.root, unshared), date.toordinal()
    for verb in ("sample", "evaluate"):
        run_stage(verb, _with_seed(params, name, seed), apart, name)
    result = Result.read(apart.metrics(name))
    run = Provenance.of_last_run("evaluate", name, apart)
    assert run is not None  # that was just made
    entry = Entry(date.isoformat(), work, seed, run.commit, result.protocol, result.estimates)
    entry = judged(entry, history)
    append(history_of(name, workspace), entry)
    return entry


def _due(last: Entry | None, work: str, trusted: bool, refresh_days: int, date: datetime.date) -> str:
    """Why an experiment is to be measured; '' if it is not."""
    if last is None:
        return "never measured at night before"
    if last.work != work:
        return f"changed since {last.date}"
    days = (date - datetime.date.fromisoformat(last.date)).days
    return f"promoted, and {days} days since the last night" if trusted and days >= refresh_days else ""


def _missing(name: str, params: Params, workspace: Workspace) -> str:
    """The first artefact that is not there of those that a night reads."""
    needed = (*STAGES["sample"].inputs(workspace, params, name), workspace.validated, workspace.videos)
    return next((str(path.relative_to(workspace.root)) for path in needed if not path.exists()), "")


def _work(name: str, params: Params, workspace: Workspace) -> str:
    """A fingerprint of all that decides an experiment's numbers but the seed: networks, data, settings, code, torch."""
    seedless = _with_seed(params, name, 0)
    return fingerprint(
        asdict(Work.of("sample", seedless, workspace, name, NOTHING)),
        STAGES["evaluate"].settings(params, name),
        code_hash(STAGES["evaluate"]),
        sorted(path.name for path in workspace.weights.glob("*")),
        metadata.version("torch"),
        files=[workspace.validated],
    )


def _with_seed(params: Params, name: str, seed: int) -> Params:
    """The parameters with another seed of the experiment's samples."""
    entry = params.experiments[name]
    entry = entry.model_copy(update={"sample": {**entry.sample, "seed": seed}})
    return params.model_copy(update={"experiments": {**params.experiments, name: entry}})


def read_outcomes(workspace: Workspace) -> tuple[Outcome, ...]:
    """What the last night did.

    Raises:
        ArtefactError: there was none.
    """
    document: dict[str, Any] = json.loads(need(outcome_of(workspace), "night").read_text())
    return tuple(Outcome(**{**o, "reasons": tuple(o["reasons"])}) for o in document["outcomes"])
