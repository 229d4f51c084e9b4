"""The leaderboard folder: one page to look at, and the same as JSON, as Markdown and as a table to plot.

Not here: ranking (ranking.py), following a number to its data (lineage.py), what the page looks like (page.py).
"""

from __future__ import annotations

import csv
from pathlib import Path

from lvdm.comparison.page import render_page
from lvdm.comparison.ranking import Group, Leaderboard, rank_experiments
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
        (folder / "leaderboard.md").write_text(markdown(board))
        write_json(folder / "leaderboard.json", board.document())
        _write_csv(folder / "leaderboard.csv", board)
    return board


def markdown(board: Leaderboard) -> str:
    """The leaderboard for a README or a terminal."""
    lines = ["# Leaderboard", ""]
    for group in board.groups:
        lines += [*_markdown_table(group), ""]
        for row in group.rows:
            if row.differs:
                lines += [f"- {row.experiment}: {', '.join(f'{k} {v}' for k, v in row.differs.items())}"]
            if row.stale:
                lines += [f"- {row.experiment} is stale: params.yaml has changed since {', '.join(row.stale)}"]
        lines += [""]
        lines += ["Protocol: " + ", ".join(f"{key} {value}" for key, value in group.protocol.items()), ""]
    if board.not_evaluated:
        lines += [f"Not evaluated: {', '.join(board.not_evaluated)}", ""]
    lines += ["## Lineage", ""]
    for row in board.rows:
        lines += ["```", row.lineage.text(), "```", ""]
    return "\n".join(lines)


def _markdown_table(group: Group) -> list[str]:
    keys = group.metrics
    arrows = {key: "↓" if METRICS[key].lower_is_better else "↑" for key in keys}
    lines = [
        f"| experiment | {' | '.join(f'{key} {arrows[key]}' for key in keys)} |",
        f"|---|{'---:|' * len(keys)}",
    ]
    for row in group.rows:
        cells = []
        for key in keys:
            score = row.scores.get(key)
            text = f"{score.value:.4g}" if score else "–"
            cells.append(f"**{text}**" if score and score.rank == 1 else text)
        lines.append(f"| {row.experiment} | {' | '.join(cells)} |")
    floors = group.rows[0].scores
    lines.append(
        f"| *real against real* | {' | '.join(f'{floors[k].floor:.4g}' if k in floors else '–' for k in keys)} |"
    )
    return lines


def _write_csv(path: Path, board: Leaderboard) -> None:
    table = board.table()
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(table)
