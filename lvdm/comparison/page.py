"""The leaderboard as one HTML file that needs no network: numbers, videos, pictures, parameters, lineage.

Not here: ranking (ranking.py), and what it looks like (page.html.jinja, page.css).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lvdm.comparison.ranking import Leaderboard
from lvdm.comparison.verdict import judge
from lvdm.evaluation.metrics import METRICS
from lvdm.params import Params
from lvdm.workspace import Report, Workspace

MAX_VIDEO_BYTES = 3_000_000  # larger ones are named, not shown
MAX_SHORT, MAX_LONG = 8, 2
TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}


@dataclass(frozen=True)
class Media:
    """A picture or video; `uri` holds the whole file, or nothing if it is too large for a page."""

    title: str
    path: str
    uri: str


@dataclass(frozen=True)
class Exhibit:
    """What there is to look at of an experiment."""

    long_videos: tuple[Media, ...]
    short_videos: tuple[Media, ...]
    pictures: tuple[Media, ...]


def render_page(board: Leaderboard, workspace: Workspace, params: Params) -> str:
    """The page as text."""
    loader = PackageLoader("lvdm.comparison", package_path=".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html.jinja").render(
        board=board,
        metrics=METRICS,
        verdicts=[judge(group, params.ingest.source) for group in board.groups],
        exhibits={row.experiment: _exhibit(row.experiment, workspace, params) for row in board.rows},
    )


def _exhibit(experiment: str, workspace: Workspace, params: Params) -> Exhibit:
    samples = workspace.samples(experiment)
    stages = {
        "train_autoencoder": params.experiment(experiment).autoencoder,
        "train_denoiser": experiment,
        "evaluate": experiment,
    }
    return Exhibit(
        long_videos=_media(sorted((samples / "long").glob("*.mp4"))[:MAX_LONG], workspace),
        short_videos=_media(sorted((samples / "clips").glob("*.mp4"))[:MAX_SHORT], workspace),
        pictures=tuple(
            Media(f"{stage} {name}: {title}", path.name, _data_uri(path))
            for stage, name in stages.items()
            if (workspace.report(stage, name) / "report.json").is_file()
            for title, path in Report.read(workspace, stage, name).pictures.items()
        ),
    )


def _media(paths: list[Path], workspace: Workspace) -> tuple[Media, ...]:
    return tuple(
        Media(path.stem, str(path.relative_to(workspace.root)), "" if _too_large(path) else _data_uri(path))
        for path in paths
    )


def _too_large(path: Path) -> bool:
    return path.stat().st_size > MAX_VIDEO_BYTES


def _data_uri(path: Path) -> str:
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
