"""A video that decord cannot read rightly, or that is to be read fast, written once more: plain H.264, a frame a tick.

Not here: which videos need it (inspection.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lvdm.data.bounded import beat
from lvdm.data.decoding import Shown, footage
from lvdm.data.video import Encoding, write_video
from lvdm.params import Transcode

# RGB, as decord reads it at any width and nothing of colour is lost: on average less than a level off, and a third of
# the bytes of what is bit for bit the same.
FAITHFUL = Encoding("libx264rgb", "rgb24", {"crf": "8", "g": "16", "bf": "0", "preset": "veryfast"})
SLOWEST = 0.001  # frames a second that an mp4 is written with; a single frame may come without a rate


def straighten(path: Path, destination: Path, fps: float, constant: bool, transcode: Transcode | None) -> None:
    """Writes the frames of `path` as they are displayed: at `fps`, each once, or, unless `constant`, sampled by time.

    They come back on average within a level, unless `transcode` asks for less.

    Raises:
        UnreadableVideo: `path` is damaged.
    """
    side, encoding = (transcode.size, _compact(transcode)) if transcode else (None, FAITHFUL)
    with footage(path) as source:
        shown = iter(source) if constant else by_the_clock(iter(source), fps)
        write_video(destination, _pixels(shown, side), max(fps, SLOWEST), encoding)


def by_the_clock(frames: Iterator[Shown], fps: float) -> Iterator[Shown]:
    """For every tick the frame that is displayed then: the last one whose time, rounded to a tick, has come.

    The first frame is shown at tick 0, the last for one tick.
    """
    held, start, tick = None, 0.0, 0
    for shown in frames:
        assert shown.time is not None, "only what has times is sampled by time"
        if held is None:
            start = shown.time
        due = round((shown.time - start) * fps)
        while held is not None and tick < due:
            yield held
            tick += 1
        held = shown
    if held is not None:
        yield held


def _pixels(frames: Iterator[Shown], side: int | None) -> Iterator[UInt8[np.ndarray, "1 h w 3"]]:
    for shown in frames:
        beat()
        yield shown.pixels(side)[None]


def _compact(transcode: Transcode) -> Encoding:
    options = {"crf": str(transcode.crf), "g": str(transcode.keyframe_interval), "bf": "0", "preset": "fast"}
    return Encoding("libx264", "yuv420p", options)
