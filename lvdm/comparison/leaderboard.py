"""The leaderboard folder: one page to look at, and the same as JSON, as Markdown and as a table to plot.

Not here: ranking (ranking.py), following a number to its data (lineage.py), what the page looks like (page.py).
"""

from __future__ import annotations

import csv
from pathlib import Path

from lvdm.comparison.measured import interval_in_words
from lvdm.comparison.page import render_page
from lvdm.comparison.ranking import Group, Leaderboard, Score, rank_experiments
from lvdm.comparison.verdict import judge
from lvdm.evaluation.metrics import METRICS
from lvdm.params import Params
from lvdm.workspace import Workspace, atomic_folder, write_json


def write_leaderboard(params: Params, workspace: Workspace) -> Leaderboard:
    """Writes index.html, leaderboard.json, leaderboard.md and leaderboard.csv into the leaderboard folder.

    Raises:
        ArtefactError: no experiment has been evaluated, or a file of metrics or provenance cannot be read.
    """
    board = rank_experiments(workspace, params)
    with atomic_folder(workspace.leaderboard) as folder:
        (folder / "index.html").write_text(render_page(board, workspace, params))
        (folder / "leaderboard.md").write_text(markdown(board, params.ingest.source))
        write_json(folder / "leaderboard.json", board.document())
        _write_csv(folder / "leaderboard.csv", board)
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
            if row.stale:
                lines += [f"- {row.experiment} is stale: params.yaml has changed since {', '.join(row.stale)}"]
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
    arrows = {key: "↓" if METRICS[key].lower_is_better else "↑" for key in keys}
    lines = [
        f"| experiment | {' | '.join(f'{key} {arrows[key]}' for key in keys)} |",
        f"|---|{'---:|' * len(keys)}",
    ]
    for row in group.rows:
        lines.append(f"| {row.experiment} | {' | '.join(_cell(row.scores.get(key)) for key in keys)} |")
    floors = group.rows[0].result.floor
    lines.append(f"| *real against real* | {' | '.join(f'{floors[k]:.4g}' if k in floors else '–' for k in keys)} |")
    if any(score.as_good for row in group.rows for score in row.scores.values()):
        lines += ["", "≈ cannot be told apart from the best: the interval of their difference holds 0."]
    if any(score.rank is None for row in group.rows for score in row.scores.values()):
        lines += ["", "† not ranked: another extractor or other numbers of clips than most."]
    return lines


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    text = interval_in_words(score.estimate)
    if score.rank is None:
        return f"{text} †"
    return f"**{text}**" if score.rank == 1 else f"{text} ≈" if score.as_good else text


def _write_csv(path: Path, board: Leaderboard) -> None:
    table = board.table()
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(table)
