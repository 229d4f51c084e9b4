"""The pages: one of all experiments, one of each, every one a single HTML file that needs no network.

Not here: ranking (ranking.py), charts (charts.py), and what a page looks like (the templates, page.css).
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lvdm.comparison.charts import chart_drift, chart_metrics
from lvdm.comparison.ranking import Group, Leaderboard, Row
from lvdm.comparison.verdict import judge, made_by
from lvdm.cost import Cost
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.summary import along, measured, measurements, memorisation, within
from lvdm.graph import STAGES
from lvdm.params import Params
from lvdm.provenance import flat
from lvdm.report import Report
from lvdm.workspace import Workspace, titled

MAX_VIDEO_BYTES = 3_000_000  # larger ones are named, not shown
MAX_SHORT, MAX_LONG = 8, 2
TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
PICTURED = ("train_autoencoder", "train_denoiser", "evaluate")  # the stages whose pictures are of an experiment


@dataclass(frozen=True)
class Media:
    """A picture or video; `uri` holds the whole file, or nothing if it is too large for a page."""

    title: str
    path: str
    uri: str


@dataclass(frozen=True)
class Samples:
    """What an experiment made, to look at."""

    long_videos: tuple[Media, ...]
    short_videos: tuple[Media, ...]


@dataclass(frozen=True)
class Data:
    """What the videos are that all was trained on and measured against."""

    source: str
    numbers: dict[str, float]
    checks: dict[str, str]  # expectation: how it came out
    links: dict[str, str]  # title: a page with more of it, from this one
    pictures: tuple[Media, ...]


def render_comparison(board: Leaderboard, workspace: Workspace, params: Params) -> str:
    """The page of all experiments."""
    return (
        _environment()
        .get_template("comparison.html.jinja")
        .render(
            board=board,
            metrics=METRICS,
            verdicts=[judge(group, params.ingest.source) for group in board.groups],
            charts=[chart_metrics(group) for group in board.groups],
            drifts=[
                chart_drift({row.experiment: workspace.curve("evaluate", row.experiment) for row in group.rows})
                for group in board.groups
            ],
            samples={row.experiment: _samples(row.experiment, workspace) for row in board.rows},
            costs={row.experiment: _costs(row, workspace) for row in board.rows},
            data=_data(workspace, params, workspace.leaderboard),
        )
    )


def render_experiment(row: Row, group: Group, workspace: Workspace, params: Params) -> str:
    """The page of one experiment."""
    return (
        _environment()
        .get_template("experiment.html.jinja")
        .render(
            row=row,
            group=group,
            metrics=METRICS,
            made_by=made_by(row.lineage),
            chart=chart_metrics(Group(group.protocol, tuple(row.scores), (row,))),
            drift=chart_drift({row.experiment: workspace.curve("evaluate", row.experiment)}),
            samples=_samples(row.experiment, workspace),
            pictures=_pictures(row.experiment, workspace, params),
            costs=_costs(row, workspace),
            data=_data(workspace, params, workspace.leaderboard / "experiments"),
            made_with=dict(flat(row.result.made_with)),
            measurements=measurements(row.result),
            measured=measured(row.result),
            along=along(row.result),
            within=within(row.result),
            memorisation=memorisation(row.result),
        )
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("lvdm.comparison", package_path=".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _samples(experiment: str, workspace: Workspace) -> Samples:
    folder = workspace.samples(experiment)
    return Samples(
        long_videos=_videos(sorted((folder / "long").glob("*.mp4"))[:MAX_LONG], workspace),
        short_videos=_videos(sorted((folder / "clips").glob("*.mp4"))[:MAX_SHORT], workspace),
    )


def _videos(paths: list[Path], workspace: Workspace) -> tuple[Media, ...]:
    return tuple(
        Media(path.stem, str(path.relative_to(workspace.root)), "" if _too_large(path) else _data_uri(path))
        for path in paths
    )


def _too_large(path: Path) -> bool:
    return path.stat().st_size > MAX_VIDEO_BYTES


def _pictures(experiment: str, workspace: Workspace, params: Params) -> tuple[Media, ...]:
    names = {"train_autoencoder": params.experiment(experiment).autoencoder}
    reports = (Report.of_last_run(verb, names.get(verb, experiment), workspace) for verb in PICTURED)
    return tuple(
        Media(f"{report.stage} {report.name}: {title}", path.name, _data_uri(path))
        for report in reports
        if report
        for title, path in report.pictures.items()
    )


def _data(workspace: Workspace, params: Params, folder: Path) -> Data:
    """What ingest and validate say of the videos, for a page in `folder`."""
    reports = [report for verb in ("ingest", "validate") if (report := Report.of_last_run(verb, "", workspace))]
    pages = {title: path for report in reports for title, path in report.links.items() if path.suffix == ".html"}
    return Data(
        source=params.ingest.source,
        numbers={key: value for report in reports for key, value in report.metrics.items()},
        checks={check.name: _outcome(check.passed, check.unexpected) for r in reports for check in r.checks},
        links={title: Path(os.path.relpath(path, folder)).as_posix() for title, path in pages.items()},
        pictures=tuple(Media(t, p.name, _data_uri(p)) for r in reports for t, p in r.pictures.items()),
    )


def _outcome(passed: bool, unexpected: int) -> str:
    return f"{'passed' if passed else 'FAILED'}{f', not by {unexpected}' if unexpected else ''}"


def _costs(row: Row, workspace: Workspace) -> dict[str, Cost]:
    """What every run behind an experiment's numbers cost, in the order of the picture, where it is on record."""
    runs = {(maker.stage, maker.name) for maker in row.lineage.makers()}
    ordered = sorted(runs, key=lambda run: list(STAGES).index(run[0]))
    reports = {titled(stage, name): Report.of_last_run(stage, name, workspace) for stage, name in ordered}
    return {run: report.cost for run, report in reports.items() if report and report.cost}


def _data_uri(path: Path) -> str:
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
