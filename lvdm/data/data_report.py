"""The data report: one HTML file that needs no network, for whoever has to decide whether to trust the data.

What was expected and came out, what changed since the accepted version, distributions, and which videos were put into
quarantine or flagged, with pictures and reasons. Not here: judging (validation.py), and what the page looks like
(data_report.html.jinja, data_report.css).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from lvdm.data.contract import SPLITS
from lvdm.data.histograms import histograms, label_counts
from lvdm.data.thumbnails import thumbnails
from lvdm.data.validation import Validation
from lvdm.workspace import Workspace, atomic_folder

MAX_SHOWN = 48  # videos of each list with a picture
MAX_LABELS, MAX_NAMES = 40, 50
NO_FRAMES = ("missing", "unreadable", "not-a-file", "empty", "not-a-video", "no-video-stream")  # codes of reasons.py


@dataclass(frozen=True)
class Case:
    """A video that is listed, with the other one if it looks like that."""

    video: str
    reason: str
    detail: str
    other: str = ""


def write_data_report(validation: Validation, manifest: pd.DataFrame, source: str, workspace: Workspace) -> None:
    """Writes index.html and flagged.csv into `workspace.data_report`. `manifest` is the whole that was judged."""
    rejected, flagged = _cases(validation.rejected, "reason"), _cases(validation.flagged, "flag")
    pictures = _pictures([*rejected, *flagged], manifest, workspace)
    environment = Environment(loader=PackageLoader("lvdm.data", ""), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    readable = manifest[manifest["error"].isna()]
    labels = label_counts(validation.accepted, SPLITS)
    page = environment.get_template("data_report.html.jinja").render(
        source=source,
        validation=validation,
        numbers=_numbers(validation, manifest),
        failed=sorted((c for c in validation.checks if not c.passed), key=lambda c: not c.critical),
        passed=[c for c in validation.checks if c.passed],
        difference=validation.difference,
        histograms=histograms(readable, validation.difference),
        splits=SPLITS,
        labels=labels[:MAX_LABELS],
        num_labels=len(labels),
        most=max((sum(label.counts) for label in labels), default=1),
        lists=[
            (
                "Quarantine",
                "quarantine.csv",
                "../quarantine.csv",
                rejected,
                len(validation.rejected),
                _by(validation.rejected, "reason"),
            ),
            (
                "Flagged",
                "flagged.csv",
                "flagged.csv",
                flagged,
                len(validation.flagged),
                _by(validation.flagged, "flag"),
            ),
        ],
        pictures=pictures,
        max_names=MAX_NAMES,
    )
    with atomic_folder(workspace.data_report) as folder:
        (folder / "index.html").write_text(page)
        validation.flagged.to_csv(folder / "flagged.csv", index=False)


def _cases(table: pd.DataFrame, code: str) -> list[Case]:
    """Those that are shown, as many of each code as there is place for."""
    others = table["other"].fillna("") if "other" in table else pd.Series("", table.index)
    turn = table.groupby(code).cumcount()
    shown = table.assign(other=others, turn=turn).sort_values("turn", kind="stable").head(MAX_SHOWN)
    shown = shown.sort_values([code, "id"], kind="stable")
    return [Case(*map(str, row)) for row in shown[["id", code, "detail", "other"]].itertuples(index=False)]


def _pictures(cases: list[Case], manifest: pd.DataFrame, workspace: Workspace) -> dict[str, str]:
    wanted = {video for case in cases for video in (case.video, case.other) if video}
    rows = manifest[manifest["id"].isin(wanted) & ~manifest["error"].isin(NO_FRAMES)]
    middle = (rows["frames"].fillna(0) // 2).astype(int)
    frames: Mapping[str, tuple[Path, int]] = {
        str(video): (workspace.root / str(path), index)
        for video, path, index in zip(rows["id"], rows["path"], middle.tolist(), strict=True)
    }
    return thumbnails(frames, workspace.machine)


def _numbers(validation: Validation, manifest: pd.DataFrame) -> list[tuple[str, str]]:
    accepted = validation.accepted
    by_split = " + ".join(f"{(accepted['split'] == split).sum():,}" for split in SPLITS)
    return [
        ("videos", f"{len(manifest):,}"),
        ("in quarantine", f"{len(validation.rejected):,}"),
        ("flagged", f"{validation.flagged['id'].nunique():,}"),
        (f"accepted ({' + '.join(SPLITS)})", by_split),
        ("hours", f"{float(accepted['duration'].sum()) / 3600:,.2f}"),
        ("frames", f"{int(accepted['frames'].sum()):,}"),
        ("labels", f"{accepted['label'].nunique():,}"),
    ]


def _by(table: pd.DataFrame, code: str) -> list[tuple[str, int]]:
    counts = table[code].astype(str).str.split("; ").explode().value_counts()
    return [(str(reason), int(count)) for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
