"""Which experiment is best, among those that were measured in the same way, and by how much.

Comparable are those with equal protocols (the real set is part of it); a metric is ranked among those whose extractor
and numbers of samples are equal too. A difference is only as large as its interval lets one tell.
Not here: saying it in words (verdict.py), writing it down (leaderboard.py, page.py), parameters (settings.py).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lvdm.comparison.intervals import Difference, difference
from lvdm.comparison.lineage import Node, read_reports, trace_file
from lvdm.comparison.settings import differing_params, stale_runs
from lvdm.errors import ArtefactError
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Estimate, Result
from lvdm.params import Params
from lvdm.workspace import Workspace


@dataclass(frozen=True)
class Score:
    """A metric of an experiment among the comparable ones.

    `rank` is 1 of the best, equal values share one; None if its extractor or numbers of samples are not those of most.
    `behind` is its difference from the best, the best one first; None of the best itself and of what has no rank.
    """

    estimate: Estimate
    rank: int | None
    behind: Difference | None

    @property
    def as_good(self) -> bool:
        """Whether it cannot be told apart from the best."""
        return self.behind is not None and self.behind.interval is not None and not self.behind.told_apart

    @property
    def beaten(self) -> bool:
        """Whether the best one is better beyond doubt."""
        return self.behind is not None and self.behind.told_apart

    def document(self) -> dict[str, Any]:
        """Plain values."""
        behind = self.behind and {"value": self.behind.value, "interval": self.behind.interval}
        return {**asdict(self.estimate), "rank": self.rank, "behind": behind, "as_good_as_best": self.as_good}


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

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why its numbers may not be those of the files, or of the parameters, that lie there now."""
        broken = dict.fromkeys(f"{node.path}: {node.note}" for node in self.lineage.breaks())
        stale = f"stale: params.yaml has changed since {', '.join(self.stale)}" if self.stale else ""
        unknown = f"its numbers cannot be followed back to the raw data: {'; '.join(broken)}" if broken else ""
        return tuple(caution for caution in (unknown, stale) if caution)


@dataclass(frozen=True)
class Group:
    """Experiments with equal protocols, the best first: by the first metric that ran, as params.yaml orders them.

    `apart` says by what their protocol is not that of the first group; it is empty of that one.
    """

    protocol: Mapping[str, str | int]
    metrics: tuple[str, ...]  # the first one orders the rows
    rows: tuple[Row, ...]
    apart: tuple[str, ...] = ()

    def floor(self, key: str) -> float:
        """What `key` is between real clips, of the best that has it: comparable ones have the same."""
        scores = [row.scores[key] for row in self.rows if key in row.scores]
        return min(scores, key=lambda score: score.rank or math.inf).estimate.floor


@dataclass(frozen=True)
class Leaderboard:
    """Groups, the largest first; experiments are never ranked across groups. `not_evaluated` have no metrics yet."""

    groups: tuple[Group, ...]
    not_evaluated: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    def table(self) -> list[dict[str, str | float | None]]:
        """One row an experiment and metric, for leaderboard.csv and `dvc plots`."""
        return [
            {
                "experiment": row.experiment,
                "group": i,
                "metric": key,
                "value": score.estimate.value,
                "low": score.estimate.interval[0] if score.estimate.interval else None,
                "high": score.estimate.interval[1] if score.estimate.interval else None,
                "floor": score.estimate.floor,
                "rank": score.rank,
            }
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
    differs = differing_params(lineages, results)
    by_protocol: dict[str, list[Row]] = {}
    for name, result in results.items():
        row = Row(name, {}, result, lineages[name], differs[name], stale_runs(name, lineages[name], params))
        by_protocol.setdefault(json.dumps(result.protocol, sort_keys=True), []).append(row)
    alike = sorted(by_protocol.values(), key=lambda rows: -len(rows))
    first = alike[0][0].result.protocol
    return Leaderboard(
        groups=tuple(_group(rows, params.evaluate.metrics, first) for rows in alike),
        not_evaluated=tuple(name for name in params.experiments if name not in results),
    )


def _group(rows: Sequence[Row], order: tuple[str, ...], first: Mapping[str, str | int]) -> Group:
    results = {row.experiment: row.result for row in rows}
    keys = [key for key in METRICS if any(key in result.estimates for result in results.values())]
    keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    scores = {key: _scores({n: r.estimates[key] for n, r in results.items() if key in r.estimates}) for key in keys}
    scored = [
        replace(row, scores={k: scores[k][row.experiment] for k in keys if k in row.result.estimates}) for row in rows
    ]
    protocol = rows[0].result.protocol
    apart = tuple(
        f"{key}: {protocol.get(key, 'none')} instead of {first.get(key, 'none')}"
        for key in {**first, **protocol}
        if protocol.get(key) != first.get(key)
    )
    return Group(protocol, tuple(keys), tuple(sorted(scored, key=lambda row: _place(row, keys[0]))), apart)


def _place(row: Row, key: str) -> float:
    rank = row.scores[key].rank if key in row.scores else None
    return math.inf if rank is None else float(rank)


def _scores(estimates: Mapping[str, Estimate]) -> dict[str, Score]:
    """The scores of one metric, by experiment."""
    alike = Counter(estimate.comparable for estimate in estimates.values()).most_common(1)[0][0]
    ranked = {name: estimate for name, estimate in estimates.items() if estimate.comparable == alike}
    best = min(ranked.values(), key=_cost)
    return {
        name: Score(
            estimate,
            1 + sum(_cost(other) < _cost(estimate) for other in ranked.values()) if name in ranked else None,
            difference(best, estimate) if name in ranked and estimate is not best else None,
        )
        for name, estimate in estimates.items()
    }


def _cost(estimate: Estimate) -> float:
    """The value, counted so that lower is better."""
    return estimate.value if estimate.better == "lower" else -estimate.value
