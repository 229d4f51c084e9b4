"""What a person asks about by name: an experiment's numbers, now or at a Git revision, and where they come from.

A name is `EXPERIMENT`, `METRIC` or `EXPERIMENT.METRIC`, each with `@REVISION` if it is not about the working tree.
Not here: comparing two of them (difference.py), following hashes (lineage.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lvdm.comparison.intervals import in_words
from lvdm.comparison.lineage import Node, trace
from lvdm.comparison.lock import LockRecords, md5
from lvdm.comparison.snapshot import Snapshot
from lvdm.errors import ArtefactError
from lvdm.evaluation.result import Result

NONE = "–"  # where there is nothing to show


@dataclass(frozen=True)
class Measured:
    """The numbers of an experiment at a snapshot of the project."""

    experiment: str
    snapshot: Snapshot
    text: str  # of its file of metrics

    @property
    def path(self) -> str:
        return metrics_of(self.experiment)

    @property
    def result(self) -> Result:
        """The numbers.

        Raises:
            ArtefactError: the file holds none.
        """
        at = f"@{self.snapshot.revision}" if self.snapshot.revision else ""
        return Result.parse(self.text, self.snapshot.root / f"{self.path}{at}")

    def lineage(self, records: LockRecords) -> Node:
        """The tree from the file of metrics to the raw data, by dvc.lock."""
        return trace(self.path, md5(self.text), records)


def metrics_of(experiment: str) -> str:
    """The path of the file of metrics of an experiment, in any version of the project."""
    return f"metrics/{experiment}.json"


def measured(experiment: str, snapshot: Snapshot) -> Measured:
    """The numbers of an experiment.

    Raises:
        ArtefactError: there are none.
    """
    text = snapshot.read(metrics_of(experiment))
    if text is None:
        known = ", ".join(_experiments(snapshot)) or "nothing measured yet"
        raise ArtefactError(
            f"no metrics of {experiment}", expected=f"one of {known}", remedy="`lvdm evaluate` makes them"
        )
    return Measured(experiment, snapshot, text)


def lineages(name: str, root: Path) -> Iterator[str]:
    """A paragraph for each number that `name` means: its value, and the tree of what made it.

    Raises:
        ArtefactError: nothing bears that name, or dvc.lock is not there.
    """
    named, _, revision = name.partition("@")
    snapshot = Snapshot.at(root, revision)
    found = list(_named(named, snapshot))
    records = LockRecords.of(snapshot)
    for numbers, metrics in found:
        tree = numbers.lineage(records)
        said = [_said(numbers, key) for key in metrics or numbers.result.estimates]
        yield "\n".join([*said, tree.text(), _end(tree, snapshot)])


def _end(tree: Node, snapshot: Snapshot) -> str:
    if tree.whole:
        return "every hash leads back to what was given"
    cure = "; this clone has no older commits: `git fetch --unshallow` may mend it" if snapshot.shallow else ""
    return f"the chain is BROKEN where it says so{cure}"


def _said(numbers: Measured, key: str) -> str:
    estimate = numbers.result.estimates[key]
    over = f"of {estimate.n_fake} samples, on {estimate.extractor}"
    return f"{numbers.experiment} {key} = {in_words(estimate)}, {over}"


def _named(name: str, snapshot: Snapshot) -> Iterator[tuple[Measured, tuple[str, ...]]]:
    """The experiments that `name` means, each with the metrics asked for; () is all of them."""
    experiment, _, metric = name.partition(".")
    if snapshot.read(metrics_of(experiment)) is not None:
        numbers = measured(experiment, snapshot)
        known = numbers.result.metrics
        if metric and metric not in known:
            raise ArtefactError(f"{experiment} has no {metric}", expected=f"one of {', '.join(known)}")
        yield numbers, (metric,) if metric else ()
        return
    having = [measured(other, snapshot) for other in _experiments(snapshot)]
    having = [numbers for numbers in having if name in numbers.result.metrics]
    if not having:
        raise ArtefactError(f"no experiment and no metric {name}", expected=_known(snapshot))
    for numbers in having:
        yield numbers, (name,)


def _known(snapshot: Snapshot) -> str:
    experiments = _experiments(snapshot)
    metrics = (key for experiment in experiments for key in measured(experiment, snapshot).result.metrics)
    names = list(dict.fromkeys([*experiments, *metrics]))
    return f"one of {', '.join(names)}" if names else "something measured; `lvdm evaluate` does that"


def _experiments(snapshot: Snapshot) -> list[str]:
    return [name.removesuffix(".json") for name in snapshot.names("metrics") if name.endswith(".json")]
