"""By what two experiments differ, or one at two Git revisions: parameters, numbers, and how these were measured.

params.yaml is read as it stands, without the rules of today, so that revisions of before can be asked about.
Not here: which of many is best; that is ranking.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lvdm.comparison.intervals import difference, in_words
from lvdm.comparison.lineage import title
from lvdm.comparison.lock import LOCK, LockRecords
from lvdm.comparison.measured import NONE, Measured, measured, metrics_of
from lvdm.comparison.snapshot import Snapshot
from lvdm.errors import ArtefactError, ParamsError
from lvdm.evaluation.result import Estimate
from lvdm.params import merged
from lvdm.provenance import flat


@dataclass(frozen=True)
class Side:
    """An experiment at a snapshot: its parameters by dotted key, and its numbers if it was measured."""

    label: str
    params: Mapping[str, Any]
    numbers: Measured | None
    cautions: tuple[str, ...]  # why the parameters may not be those that made the numbers

    @classmethod
    def of(cls, name: str, root: Path) -> Side:
        """The side that `EXPERIMENT` or `EXPERIMENT@REVISION` names.

        Raises:
            ArtefactError: no such revision, or no params.yaml there.
            ParamsError: no such experiment there.
        """
        experiment, _, revision = name.partition("@")
        snapshot = Snapshot.at(root, revision)
        document = _params_document(snapshot)
        params = dict(flat(_effective(document, experiment)))
        if snapshot.read(metrics_of(experiment)) is None:
            return cls(name, params, None, ("it has not been measured",))
        numbers = measured(experiment, snapshot)
        return cls(name, params, numbers, tuple(_cautions(numbers, document)))


def differences(first: Side, second: Side) -> Iterator[str]:
    """Paragraphs: what differs of the parameters, of the numbers, of how they were measured; what to mind."""
    yield _table(["parameters", first.label, second.label], _different(first.params, second.params))
    if first.numbers and second.numbers:
        one, other = first.numbers.result, second.numbers.result
        protocols = list(_different(one.protocol, other.protocol))
        heads = ["metrics", first.label, second.label, "second less first", ""]
        pairs = {k: (one.estimates.get(k), other.estimates.get(k)) for k in [*one.estimates, *other.estimates]}
        rows = [_numbers(key, *pair, protocols != []) for key, pair in pairs.items() if pair[0] != pair[1] or protocols]
        yield _table(heads, rows)
        if protocols:
            yield _table(["measured by", first.label, second.label], protocols)
        made_with = list(_different(dict(flat(one.made_with)), dict(flat(other.made_with))))
        if made_with:
            yield _table(["samples made with", first.label, second.label], made_with)
    cautions = [f"mind: {side.label}: {caution}" for side in (first, second) for caution in side.cautions]
    if cautions:
        yield "\n".join(cautions)


def _numbers(key: str, first: Estimate | None, second: Estimate | None, other_protocol: bool) -> list[str]:
    """The row of one metric."""
    known = first or second
    assert known is not None
    head = f"{key} {'↓' if known.better == 'lower' else '↑'}"
    cells = [in_words(estimate) if estimate else NONE for estimate in (first, second)]
    if first is None or second is None:
        return [head, *cells, NONE, ""]
    if other_protocol:
        return [head, *cells, NONE, "not comparable: see `measured by`"]
    if first.comparable != second.comparable:
        return [head, *cells, NONE, "not comparable: other extractor or other numbers of clips"]
    apart = difference(first, second)
    return [head, *cells, in_words(apart), apart.verdict]


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[list[str]]:
    """A row for each key of which the values are not the same."""
    keys = sorted({*first, *second})
    rows = [[key, *(_cell(side[key]) if key in side else NONE for side in (first, second))] for key in keys]
    return [row for row in rows if row[1] != row[2]]


def _cell(value: Any) -> str:
    return "null" if value is None else str(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; a line says so where nothing differs."""
    if not rows:
        return f"{heads[0]}: the same"
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _params_document(snapshot: Snapshot) -> Mapping[str, Any]:
    text = snapshot.read("params.yaml")
    try:
        document = yaml.safe_load(text) if text is not None else None
    except yaml.YAMLError:
        document = None
    if not isinstance(document, Mapping):
        at = f" at {snapshot.revision}" if snapshot.revision else ""
        raise ArtefactError(
            f"params.yaml{at}", expected="a YAML file of sections", remedy="run in the project's folder"
        )
    return document


def _effective(document: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """The parameters of an experiment, with what it and its autoencoder change filled in.

    Raises:
        ParamsError: there is no such experiment.
    """
    experiments = document.get("experiments") or {}
    if experiment not in experiments:
        raise ParamsError(
            "params.yaml: experiments", expected=f"one of {', '.join(experiments) or 'no entries yet'}", got=experiment
        )
    entry = experiments[experiment]
    own_autoencoder = (document.get("autoencoders") or {}).get(entry.get("autoencoder")) or {}
    others = ("autoencoders", "experiments", "night")  # the night decides when numbers are made, not which
    shared = {key: value for key, value in document.items() if key not in others}
    return merged(merged(shared, own_autoencoder), entry)


def _cautions(numbers: Measured, document: Mapping[str, Any]) -> Iterator[str]:
    """Where dvc.lock does not say that these parameters made these numbers."""
    if numbers.snapshot.read(LOCK) is None:
        yield f"no {LOCK} there says which parameters made its numbers"
        return
    tree = numbers.lineage(LockRecords.of(numbers.snapshot))
    if not tree.whole:
        yield f"its chain is broken, see `lvdm lineage {numbers.experiment}`"
    changed = [title(maker) for maker in tree.makers() if any(_at(document, k) != v for k, v in maker.params.items())]
    if changed:
        yield f"stale: params.yaml has changed since {', '.join(dict.fromkeys(changed))}"


def _at(document: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    value: Any = document
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
