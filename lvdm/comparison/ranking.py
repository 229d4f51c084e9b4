"""Which experiment is best, among those that were measured in the same way, and by what they differ.

Not here: writing it down (leaderboard.py, page.py), where a number comes from (lineage.py), running anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lvdm.comparison.lineage import Node, read_reports, title, trace_file
from lvdm.errors import ArtefactError
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Result
from lvdm.graph import STAGES
from lvdm.params import Params
from lvdm.provenance import Provenance, flat
from lvdm.workspace import Workspace

UNKNOWN = "not on record"


@dataclass(frozen=True)
class Score:
    """A metric of an experiment; `rank` is among comparable experiments, 1 the best, equal values share one."""

    value: float
    floor: float
    rank: int


@dataclass(frozen=True)
class Row:
    """An experiment: its scores by metric, what made them, and by which parameters of that it differs from others.

    `stale` names the runs behind it that params.yaml, as it is now, would set otherwise.
    """

    experiment: str
    scores: Mapping[str, Score]
    result: Result
    lineage: Node
    differs: Mapping[str, str]
    stale: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Experiments with equal protocols, the best first: by the first metric that ran, as params.yaml orders them."""

    protocol: Mapping[str, str | int]
    metrics: tuple[str, ...]  # the first one orders the rows
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Groups, the largest first; experiments are never ranked across groups. `not_evaluated` have no metrics yet."""

    groups: tuple[Group, ...]
    not_evaluated: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    def document(self) -> dict[str, Any]:
        """Plain values for leaderboard.json."""
        return {
            "not_evaluated": list(self.not_evaluated),
            "lineage": {row.experiment: row.lineage.document() for row in self.rows},
            "groups": [
                {
                    "protocol": dict(group.protocol),
                    "rows": [
                        {
                            "experiment": row.experiment,
                            "scores": {key: asdict(score) for key, score in row.scores.items()},
                            "drift": row.result.drift,
                            "not_available": row.result.not_available,
                            "differs": dict(row.differs),
                            "stale": list(row.stale),
                        }
                        for row in group.rows
                    ],
                }
                for group in self.groups
            ],
        }

    def table(self) -> list[dict[str, str | float]]:
        """One row an experiment and metric, for leaderboard.csv and `dvc plots`."""
        return [
            {"experiment": row.experiment, "group": i, "metric": key, **asdict(score)}
            for i, group in enumerate(self.groups, start=1)
            for row in group.rows
            for key, score in row.scores.items()
        ]


def rank_experiments(workspace: Workspace, params: Params) -> Leaderboard:
    """The leaderboard of all experiments of params.yaml that have been evaluated.

    Raises:
        ArtefactError: none has, or a file of metrics cannot be read.
    """
    results = {
        name: Result.read(workspace.metrics(name)) for name in params.experiments if workspace.metrics(name).is_file()
    }
    if not results:
        raise ArtefactError("no experiment has metrics", remedy="run `lvdm evaluate NAME` for each of experiments:")
    records = read_reports(workspace)
    lineages = {name: trace_file(workspace.metrics(name), workspace, records) for name in results}
    differs = differing_params(lineages)
    by_protocol: dict[str, list[Row]] = {}
    for name, result in results.items():
        row = Row(name, {}, result, lineages[name], differs[name], stale_runs(name, lineages[name], params))
        by_protocol.setdefault(json.dumps(result.protocol, sort_keys=True), []).append(row)
    groups = [_group(rows, params.evaluate.metrics) for rows in by_protocol.values()]
    return Leaderboard(
        groups=tuple(sorted(groups, key=lambda group: -len(group.rows))),
        not_evaluated=tuple(name for name in params.experiments if name not in results),
    )


def differing_params(lineages: Mapping[str, Node]) -> dict[str, dict[str, str]]:
    """For each experiment: of the parameters that its numbers were made with, those that are not the same in all.

    `lineages` are the trees of the files of metrics; keys are dotted. What a broken tree does not tell is `UNKNOWN`.
    """
    made_with = {name: {k: str(v) for k, v in flat(_made_with(tree))} for name, tree in lineages.items()}
    keys = sorted(set().union(*made_with.values()))
    differing = [key for key in keys if len({values.get(key, UNKNOWN) for values in made_with.values()}) > 1]
    return {name: {key: values.get(key, UNKNOWN) for key in differing} for name, values in made_with.items()}


def stale_runs(experiment: str, lineage: Node, params: Params) -> tuple[str, ...]:
    """The runs behind an experiment's numbers that `params` sets otherwise, or does not ask for any more."""
    runs = {title(maker): maker for maker in lineage.makers()}
    return tuple(sorted(name for name, maker in runs.items() if not _is_current(maker, experiment, params)))


def _is_current(maker: Provenance, experiment: str, params: Params) -> bool:
    stage = STAGES[maker.stage]
    if stage.over == "autoencoders" and maker.name != params.experiment(experiment).autoencoder:
        return False
    return stage.settings(params, maker.name) == maker.params


def _made_with(lineage: Node) -> dict[str, Any]:
    """Sections of parameters, each as the run nearest to the numbers had it, and the autoencoder's name."""
    sections: dict[str, Any] = {}
    for maker in lineage.makers():
        sections = {**maker.params, **sections}
        if maker.stage == "train_autoencoder":
            sections["autoencoder"] = maker.name
    return sections


def _group(rows: Sequence[Row], order: tuple[str, ...]) -> Group:
    results = {row.experiment: row.result for row in rows}
    keys = [key for key in METRICS if any(key in result.metrics for result in results.values())]
    keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    ranks = {key: _ranks({n: r.metrics[key] for n, r in results.items() if key in r.metrics}, key) for key in keys}

    def scored(row: Row) -> Row:
        values, floor = row.result.metrics, row.result.floor
        return replace(
            row, scores={k: Score(values[k], floor[k], ranks[k][row.experiment]) for k in keys if k in values}
        )

    by_rank = sorted(map(scored, rows), key=lambda row: row.scores[keys[0]].rank if keys[0] in row.scores else math.inf)
    return Group(rows[0].result.protocol, tuple(keys), tuple(by_rank))


def _ranks(values: Mapping[str, float], key: str) -> dict[str, int]:
    sign = 1 if METRICS[key].lower_is_better else -1
    return {name: 1 + sum(sign * other < sign * value for other in values.values()) for name, value in values.items()}
