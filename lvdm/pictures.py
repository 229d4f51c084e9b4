"""Pictures for reports, PNG below 200 kB: curves, drift, reconstructions beside their input, strips of frames.

Not here: what is drawn (reporting.py). Imports no torch, and matplotlib inside: most callers draw nothing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lvdm.workspace import atomic_file

if TYPE_CHECKING:
    from lvdm.evaluation.drift import Drift

MAX_BYTES = 200_000
TILE = 96  # pixels, a frame's side in a strip or grid
GAP = 4
BLUE, GREY = "#2a6fdb", "#8a8f98"


def draw_curves(
    path: Path,
    curves: Mapping[str, tuple[Sequence[int | float], Sequence[int | float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_scale: bool = False,
) -> None:
    """One line for each of `curves`: name -> (x, y)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name, linewidth=1.6)
    axes.set(title=title, xlabel=x_label, ylabel=y_label, yscale="log" if log_scale else "linear")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")  # where it hides no curve
    _finish(path, figure)


def draw_drift(path: Path, drift: Drift, *, title: str) -> None:
    """A panel a curve: the samples, with their interval, against real video, along the frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.2 * len(drift.curves)), dpi=110, layout="constrained")
    panels = figure.subplots(len(drift.curves), sharex=True, squeeze=False)[:, 0]
    for axes, (name, pair) in zip(panels, drift.curves.items(), strict=True):
        for label, curve, colour in (("real", pair.real, GREY), ("samples", pair.fake, BLUE)):
            axes.plot(curve.frames, curve.values, label=label, color=colour, linewidth=1.6)
            if curve.without:
                low, high = zip(*(bounds for bounds in curve.intervals() if bounds), strict=True)
                axes.fill_between(curve.frames, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(ylabel=name, ylim=(0, None))
    panels[0].set_title(title)
    panels[0].legend(frameon=False, ncols=2)
    panels[-1].set_xlabel("frame")
    _finish(path, figure)


def draw_reconstructions(
    path: Path, frames: UInt8[np.ndarray, "n h w 3"], reconstructions: UInt8[np.ndarray, "n h w 3"]
) -> None:
    """Three rows: input, reconstruction, |error| brightened four times."""
    error = (4 * np.abs(frames.astype(np.int16) - reconstructions)).clip(max=255).astype(np.uint8)
    _write_image(path, [_strip(frames), _strip(reconstructions), _strip(error)])


def draw_strips(path: Path, videos: Sequence[UInt8[np.ndarray, "_ h w 3"]]) -> None:
    """A row a video, all of its frames."""
    _write_image(path, [_strip(video) for video in videos])


def _strip(frames: UInt8[np.ndarray, "n h w 3"]) -> Image.Image:
    tiles = [Image.fromarray(frame) for frame in frames]
    height = round(TILE * tiles[0].height / tiles[0].width)
    strip = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, height), "white")
    for i, tile in enumerate(tiles):
        strip.paste(tile.resize((TILE, height), Image.Resampling.BICUBIC), (i * (TILE + GAP), 0))
    return strip


def _write_image(path: Path, rows: Sequence[Image.Image]) -> None:
    width = max(row.width for row in rows)
    image = Image.new("RGB", (width, sum(row.height + GAP for row in rows) - GAP), "white")
    top = 0
    for row in rows:
        image.paste(row, (0, top))
        top += row.height + GAP
    _save(path, image)


def _finish(path: Path, figure: object) -> None:
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    _save(path, Image.open(drawn))


def _save(path: Path, image: Image.Image) -> None:
    """Writes the PNG, halved until it is small enough."""
    while True:
        encoded = io.BytesIO()
        image.save(encoded, format="PNG", optimize=True)
        if encoded.tell() <= MAX_BYTES:
            break
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    with atomic_file(path) as beside:
        beside.write_bytes(encoded.getvalue())
