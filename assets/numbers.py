"""Numbers as Dagster's plots and tables need them. Not here: measuring and ranking them (lvdm/)."""

import json

import dagster as dg

from assets.materialization import Metadata
from assets.runner import StageRun
from lvdm.evaluation.metrics import METRICS


def scores(run: StageRun) -> Metadata:
    """Each metric turned so that higher is better: of a partition, Dagster plots the highest value it ever had."""
    return {
        f"score {key}": dg.MetadataValue.float(-value if METRICS[key].lower_is_better else value)
        for key, value in run.report.metrics.items()
        if key in METRICS
    }


def leaderboard_table(run: StageRun) -> Metadata:
    """The leaderboard as a table, best first, and the verdict above it."""
    board = json.loads((run.report.links["report"].parent / "leaderboard.json").read_text())
    metrics = dict.fromkeys(key for group in board["groups"] for row in group["rows"] for key in row["scores"])
    columns = ["experiment", "place", *metrics, "made by", "stale"]
    rows = [
        {
            "experiment": row["experiment"],
            "place": "; ".join(group["apart"]) or str(place),
            **{key: row["scores"].get(key, {}).get("text", "") for key in metrics},
            "made by": row["made_by"],
            "stale": ", ".join(row["stale"]),
        }
        for group in board["groups"]
        for place, row in enumerate(group["rows"], 1)
    ]
    schema = dg.TableSchema([dg.TableColumn(column) for column in columns])
    table = dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)
    verdict = board["groups"][0]["verdict"]
    said = {title: dg.MetadataValue.text(verdict[key]) for title, key in VERDICT.items() if verdict[key]}
    return {**said, "leaderboard": table}


VERDICT = {"best": "best", "by how much": "lead", "on which data": "data", "made by": "made_by", "mind": "caution"}
