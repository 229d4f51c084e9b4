"""Which experiment is best, among those that were measured in the same way, and by what they differ.

Not here: writing it down (leaderboard.py, page.py), where a number comes from (lineage.py), running anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lvdm.errors import ArtefactError
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Result
from lvdm.params import Params
from lvdm.workspace import Workspace


@dataclass(frozen=True)
class Score:
    """A metric of an experiment; `rank` is among comparable experiments, 1 the best, equal values share one."""

    value: float
    floor: float
    rank: int


@dataclass(frozen=True)
class Row:
    """An experiment: its scores by metric, and those of its parameters that not all experiments share."""

    experiment: str
    scores: Mapping[str, Score]
    result: Result
    differs: Mapping[str, str]


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
    differs = differing_params(params, list(results))
    by_protocol: dict[str, list[str]] = {}
    for name, result in results.items():
        by_protocol.setdefault(json.dumps(result.protocol, sort_keys=True), []).append(name)
    groups = [
        _group({name: results[name] for name in names}, differs, params.evaluate.metrics)
        for names in by_protocol.values()
    ]
    return Leaderboard(
        groups=tuple(sorted(groups, key=lambda group: -len(group.rows))),
        not_evaluated=tuple(name for name in params.experiments if name not in results),
    )


def differing_params(params: Params, names: list[str]) -> dict[str, dict[str, str]]:
    """For each of the experiments `names`: its resolved parameters, as dotted keys, that are not the same in all."""
    flat = {name: _flattened(_resolved(params, name)) for name in names}
    keys = sorted(set().union(*flat.values()))
    differing = [key for key in keys if len({values.get(key, "") for values in flat.values()}) > 1]
    return {name: {key: values.get(key, "") for key in differing} for name, values in flat.items()}


def _group(results: Mapping[str, Result], differs: Mapping[str, dict[str, str]], order: tuple[str, ...]) -> Group:
    keys = [key for key in METRICS if any(key in result.metrics for result in results.values())]
    keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    ranks = {key: _ranks({n: r.metrics[key] for n, r in results.items() if key in r.metrics}, key) for key in keys}
    rows = [
        Row(
            name,
            {key: Score(r.metrics[key], r.floor[key], ranks[key][name]) for key in keys if key in r.metrics},
            r,
            differs[name],
        )
        for name, r in results.items()
    ]
    rows.sort(key=lambda row: row.scores[keys[0]].rank if keys[0] in row.scores else math.inf)
    return Group(next(iter(results.values())).protocol, tuple(keys), tuple(rows))


def _ranks(values: Mapping[str, float], key: str) -> dict[str, int]:
    sign = 1 if METRICS[key].lower_is_better else -1
    return {name: 1 + sum(sign * other < sign * value for other in values.values()) for name, value in values.items()}


def _resolved(params: Params, name: str) -> dict[str, Any]:
    experiment = params.experiment(name)
    return {
        **experiment.model_dump(exclude={"name"}),
        "train_autoencoder": params.autoencoder(experiment.autoencoder).model_dump(),
    }


def _flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value)
    return flat
