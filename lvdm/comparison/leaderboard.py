"""The leaderboard folder: the pages to look at, and the same as JSON, as Markdown and as tables to plot.

Not here: ranking (ranking.py), following a number to its data (lineage.py), what the page looks like (page.py).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lvdm.comparison.page import render_comparison, render_experiment
from lvdm.comparison.ranking import Group, Leaderboard, Row, Score, rank_experiments
from lvdm.comparison.verdict import cell, judge, made_by
from lvdm.evaluation.metrics import METRICS
from lvdm.params import Params
from lvdm.workspace import Workspace, atomic_folder, write_json


def write_leaderboard(params: Params, workspace: Workspace) -> Leaderboard:
    """Writes index.html, experiments/NAME.html, leaderboard.json, .md and .csv, and a table a metric to plot.

    Raises:
        ArtefactError: no experiment has been evaluated, or a file of metrics or provenance cannot be read.
    """
    board = rank_experiments(workspace, params)
    with atomic_folder(workspace.leaderboard) as folder:
        (folder / "index.html").write_text(render_comparison(board, workspace, params))
        (folder / "experiments").mkdir()
        for group in board.groups:
            for row in group.rows:
                page = render_experiment(row, group, workspace, params)
                (folder / "experiments" / f"{row.experiment}.html").write_text(page)
        (folder / "leaderboard.md").write_text(markdown(board, params.ingest.source))
        write_json(folder / "leaderboard.json", document(board, params.ingest.source))
        table = board.table()
        _write_csv(folder / "leaderboard.csv", table)
        (folder / "plots").mkdir()
        for metric in {row["metric"] for row in table}:
            _write_csv(folder / "plots" / f"{metric}.csv", [row for row in table if row["metric"] == metric])
    return board


def summary(board: Leaderboard, source: str) -> str:
    """The leaderboard for a terminal or a README, without the lineage."""
    lines = ["# Leaderboard", ""]
    for group in board.groups:
        verdict = judge(group, source)
        if group.apart:
            lines += [f"Apart, because it is not comparable with the above: {'; '.join(group.apart)}", ""]
        lines += [f"**{verdict.best}**: {verdict.lead}", ""]
        lines += [f"- on {verdict.data}", f"- made by {verdict.made_by}"]
        lines += [f"- mind: {verdict.caution}"] if verdict.caution else []
        lines += ["", *_table(group), ""]
        for row in group.rows:
            if row.differs:
                lines += [f"- {row.experiment}: {', '.join(f'{k} {v}' for k, v in row.differs.items())}"]
            lines += [f"- mind: {row.experiment}: {caution}" for caution in row.cautions]
        lines += [""]
    if board.not_evaluated:
        lines += [f"Not evaluated: {', '.join(board.not_evaluated)}", ""]
    return "\n".join(lines)


def markdown(board: Leaderboard, source: str) -> str:
    """The summary, how it was measured, and the lineage of every number."""
    lines = [summary(board, source)]
    for group in board.groups:
        lines += ["Protocol: " + ", ".join(f"{key} {value}" for key, value in group.protocol.items()), ""]
    lines += ["## Lineage", ""]
    for row in board.rows:
        lines += ["```", row.lineage.text(), "```", ""]
    return "\n".join(lines)


def _table(group: Group) -> list[str]:
    keys = group.metrics
    lines = [
        f"| experiment | {' | '.join(f'{key} {METRICS[key].arrow}' for key in keys)} |",
        f"|---|{'---:|' * len(keys)}",
    ]
    for row in group.rows:
        lines.append(f"| {row.experiment} | {' | '.join(_cell(row.scores.get(key)) for key in keys)} |")
    lines.append(f"| *real against real* | {' | '.join(f'{group.floor(key):.4g}' for key in keys)} |")
    if any(score.as_good for row in group.rows for score in row.scores.values()):
        lines += ["", "≈ cannot be told apart from the best: the interval of their difference holds 0."]
    if any(score.rank is None for row in group.rows for score in row.scores.values()):
        lines += ["", "† not ranked: another extractor or other numbers of clips than most."]
    return lines


def _cell(score: Score | None) -> str:
    return f"**{cell(score)}**" if score and score.rank == 1 else cell(score)


def document(board: Leaderboard, source: str) -> dict[str, Any]:
    """Plain values for leaderboard.json."""
    return {
        "not_evaluated": list(board.not_evaluated),
        "lineage": {row.experiment: row.lineage.document() for row in board.rows},
        "groups": [
            {
                "protocol": dict(group.protocol),
                "apart": list(group.apart),
                "metrics": list(group.metrics),
                "verdict": asdict(judge(group, source)),
                "rows": [_row(row) for row in group.rows],
            }
            for group in board.groups
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "experiment": row.experiment,
        "scores": {key: {**score.document(), "text": cell(score)} for key, score in row.scores.items()},
        "drift": row.result.drift,
        "not_available": row.result.not_available,
        "differs": dict(row.differs),
        "stale": list(row.stale),
        "cautions": list(row.cautions),
        "made_by": made_by(row.lineage),
    }


def _write_csv(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(table)
