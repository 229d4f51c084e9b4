"""Numbers as Dagster's plots and tables need them. Not here: measuring and ranking them (lvdm/)."""

import json

import dagster as dg

from assets.materialization import Metadata, link
from assets.runner import StageRun
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Estimate, Result

ANSWERS = {
    "best": "best",
    "by how much": "lead",
    "on which data": "data",
    "made by": "made_by",
    "mind": "caution",
}  # of a verdict
SHOWN = 3  # metrics in the table


def measurements(run: StageRun) -> Metadata:
    """Each number with what makes it believable as a table, and as a score."""
    result = Result.read(run.report.links["metrics"])
    rows = [_measurement(key, result.estimates[key]) for key in METRICS if key in result.estimates]
    return {"measurements": _table(rows), **_scores(result)}


def _measurement(key: str, estimate: Estimate) -> dict[str, str]:
    return {
        "metric": _title(key),
        "value": f"{estimate.value:.4g}",
        "95 %": "{:.4g} to {:.4g}".format(*estimate.interval) if estimate.interval else "too few to tell",
        "floor": f"{estimate.floor:.4g}",
        "n": f"{estimate.n_fake} samples, {estimate.n_real} real",
    }


def _title(key: str) -> str:
    return f"{key} {METRICS[key].arrow}"


def _scores(result: Result) -> Metadata:
    """Each metric turned so that higher is better: of a partition, Dagster plots the highest value it ever had."""
    return {
        f"score of {key}": dg.MetadataValue.float(-value if METRICS[key].lower_is_better else value)
        for key, value in result.metrics.items()
    }


def answers(run: StageRun) -> Metadata:
    """The verdict in words with a link to the page, and below it the leaderboard as a table, best first."""
    page = run.report.links["report"]
    board = json.loads((page.parent / "leaderboard.json").read_text())
    verdict, address = board["groups"][0]["verdict"], link(page)
    lines = [f"- {question}: {verdict[key]}" for question, key in ANSWERS.items() if verdict[key]]
    if isinstance(address, dg.UrlMetadataValue):
        lines.append(f"- [the page with videos, intervals and lineage]({address.url})")
    return {"answers": dg.MetadataValue.md("\n".join(lines)), "leaderboard": _leaderboard(board)}


def _leaderboard(board: dict) -> dg.MetadataValue:
    """Of the first metrics, as many as a page has room for."""
    metrics = list(dict.fromkeys(key for group in board["groups"] for key in group["metrics"]))[:SHOWN]
    mind = any(row["cautions"] for group in board["groups"] for row in group["rows"])
    return _table(
        [
            {
                "place": "; ".join(group["apart"]) or _place(row, group["metrics"][0]),
                "experiment": row["experiment"],
                **{_title(key): row["scores"].get(key, {}).get("text", "") for key in metrics},
                **({"mind": "; ".join(row["cautions"])} if mind else {}),
            }
            for group in board["groups"]
            for row in group["rows"]
        ]
    )


def _place(row: dict, key: str) -> str:
    return str(row["scores"].get(key, {}).get("rank") or "not ranked")


def _table(rows: list[dict[str, str]]) -> dg.MetadataValue:
    schema = dg.TableSchema([dg.TableColumn(column) for column in rows[0]])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)
