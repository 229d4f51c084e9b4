"""Charts of the pages, as SVG: metrics with their intervals, and distances along a long video.

Equal numbers give equal bytes. Not here: the pictures that stages draw of their own runs (lvdm/pictures.py).
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvdm.comparison.ranking import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#2a6fdb", "#d1495b", "#2e933c", "#8a5a00", "#6f42c1", "#00798c")
GREY = "#8a8f98"
WIDTH = 7.2  # inches
DISTANCE = "distance from real windows"
QUANTITIES = {"static": "share of static frames", "motion": "mean |frame difference|, grey levels"}


def chart_metrics(group: Group) -> str:
    """A panel a metric: a point an experiment with its interval, and the floor as a line."""
    from matplotlib.figure import Figure

    names = [row.experiment for row in group.rows]
    panel, between = 0.24 * len(names), 0.55  # inches
    figure = Figure(figsize=(WIDTH, len(group.metrics) * (panel + between)))
    edge = 0.25 / figure.get_figheight()
    figure.subplots_adjust(bottom=edge, top=1 - edge, hspace=between / panel)
    for axes, key in zip(figure.subplots(len(group.metrics), squeeze=False)[:, 0], group.metrics, strict=True):
        scores = {row.experiment: row.scores[key] for row in group.rows if key in row.scores}
        for name, score in scores.items():
            low, high = score.estimate.interval or (score.estimate.value, score.estimate.value)
            place, colour = names.index(name), COLOURS[names.index(name) % len(COLOURS)]
            axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([score.estimate.value], [place], "o", color=colour, markersize=5)
        axes.axvline(group.floor(key), color=GREY, linestyle="--", linewidth=1)
        axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        better = next(iter(scores.values())).estimate.better
        axes.set_title(f"{key}: {better} is better; dashed: real against real", fontsize=9, loc="left")
    return _svg(figure)


def chart_drift(tables: Mapping[str, Path]) -> str:
    """Along the long videos of each experiment: the curve of `evaluate`, with its interval where there is one.

    `tables` has the CSV of each, as `evaluate` writes it: curve, frame, fake, fake_low, fake_high, real. '' without
    curves; one of another quantity than that of most is left out. A panel has no more curves than there are colours.
    """
    from matplotlib.figure import Figure

    read = {name: _columns(path) for name, path in tables.items() if path.is_file()}
    quantities = {name: columns["curve"][0] for name, columns in read.items() if columns}
    if not quantities:
        return ""
    ((quantity, _),) = Counter(quantities.values()).most_common(1)
    curves = {name: read[name] for name, other in quantities.items() if other == quantity}
    names, real = list(curves), next(iter(curves.values()))
    parts = [names[at : at + len(COLOURS)] for at in range(0, len(names), len(COLOURS))]
    figure = Figure(figsize=(WIDTH, 3 * len(parts)))
    panels = figure.subplots(len(parts), sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, part in zip(panels, parts, strict=True):
        for name, colour in zip(part, COLOURS[: len(part)], strict=True):
            columns = curves[name]
            axes.plot(columns["frame"], columns["fake"], label=name, color=colour, linewidth=1.6)
            axes.fill_between(columns["frame"], columns["fake_low"], columns["fake_high"], color=colour, alpha=0.2)
        axes.plot(real["frame"], real["real"], label="real", color=GREY, linewidth=1.6)
        axes.set_ylabel(QUANTITIES.get(quantity, f"{DISTANCE}, {quantity}"), fontsize=8)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    panels[-1].set(xlabel="frame", ylim=(0, None))
    return _svg(figure)


def _columns(path: Path) -> dict[str, list[Any]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        key: [row[key] if key == "curve" else float(row[key] or math.nan) for row in rows]
        for key in (rows[0] if rows else ())
    }


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
    drawn = io.StringIO()
    with rc_context({"svg.hashsalt": "lvdm"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    text = drawn.getvalue()
    return text[text.index("<svg") :]  # a page has no use for the prologue of a file
