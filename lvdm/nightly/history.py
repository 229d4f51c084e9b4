"""nights/<experiment>.jsonl: what every night measured, a line each, and whether tonight's numbers stay among them.

Not here: measuring (night.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from lvdm.comparison.intervals import difference, in_words
from lvdm.errors import ArtefactError
from lvdm.evaluation.result import Estimate
from lvdm.workspace import Workspace, atomic_file

REMEMBERED = 14  # nights that a number is held against


@dataclass(frozen=True)
class Entry:
    """One night of one experiment."""

    date: str  # ISO
    work: str  # fingerprint of all that decides the numbers but the seed of the samples
    seed: int  # of the samples
    commit: str
    protocol: Mapping[str, str | int]
    estimates: Mapping[str, Estimate]
    reasons: tuple[str, ...] = ()  # why it fails: each metric that left its interval

    @property
    def passed(self) -> bool:
        return not self.reasons


def history_of(experiment: str, workspace: Workspace) -> Path:
    """Where an experiment's nights are; in Git's working tree."""
    return workspace.root / "nights" / f"{experiment}.jsonl"


def read_history(path: Path) -> list[Entry]:
    """The nights of an experiment, the first one first; none without a file.

    Raises:
        ArtefactError: a line is no night.
    """
    try:
        lines = path.read_text().splitlines() if path.is_file() else []
        return [_entry(json.loads(line)) for line in lines]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        remedy = "restore it from Git, or move it away to begin a history anew"
        raise ArtefactError(f"{path}: a line is no night: {error}", remedy=remedy) from None


def append(path: Path, entry: Entry) -> None:
    """Adds a night at the end; the file as it was, or with the whole line, whenever the process dies."""
    before = path.read_text() if path.is_file() else ""
    with atomic_file(path) as beside:
        beside.write_text(before + json.dumps(asdict(entry), sort_keys=True) + "\n")


def judged(tonight: Entry, history: Sequence[Entry]) -> Entry:
    """Tonight with the reasons why it fails: metrics that are worse than in earlier nights by more than chance.

    A metric is held against the mean of the last `REMEMBERED` nights that passed and measured it in the same way. It
    leaves its interval if the difference, with the intervals of both (MOVER), leaves out 0 on the side that is worse.
    """
    return replace(tonight, reasons=tuple(_reasons(tonight, [entry for entry in history if entry.passed])))


def _reasons(tonight: Entry, earlier: Sequence[Entry]) -> Iterator[str]:
    for key, estimate in tonight.estimates.items():
        comparable = [
            entry.estimates[key]
            for entry in earlier
            if entry.protocol == tonight.protocol
            and key in entry.estimates
            and entry.estimates[key].comparable == estimate.comparable
        ][-REMEMBERED:]
        if not comparable:
            continue
        usual = _typical(comparable)
        if difference(usual, estimate).verdict == "worse":
            worse = difference(usual, estimate) if estimate.better == "lower" else difference(estimate, usual)
            nights = "the night before" if len(comparable) == 1 else f"the {len(comparable)} nights before"
            numbers = f"{in_words(estimate)} tonight, {in_words(usual)} in {nights}"
            yield f"{key} left its interval: {numbers}; that is {in_words(worse)} worse"


def _typical(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate for several nights: the mean value, with an interval as wide as that of one night."""
    value = mean(estimate.value for estimate in estimates)
    reach = [
        (estimate.value - estimate.interval[0], estimate.interval[1] - estimate.value)
        for estimate in estimates
        if estimate.interval
    ]
    if not reach:
        return replace(estimates[-1], value=value, interval=None)
    below, above = (math.sqrt(mean(side * side for side in sides)) for sides in zip(*reach, strict=True))
    return replace(estimates[-1], value=value, interval=(value - below, value + above))


def _entry(document: Mapping[str, Any]) -> Entry:
    estimates = {
        key: Estimate(**{**values, "interval": tuple(values["interval"]) if values["interval"] else None})
        for key, values in document["estimates"].items()
    }
    return Entry(**{**document, "estimates": estimates, "reasons": tuple(document["reasons"])})
