"""A small picture of a video, also of one that is broken, if there is a frame to be had.

Decoded in processes of their own, as no file may hang or kill the run. Not here: which videos are shown.
"""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.video import read_frames
from lvdm.errors import SourceError, VideoError
from lvdm.machine import Machine

logger = logging.getLogger(__name__)

SIDE = 160  # pixels of the longer side
STANDARD_ERROR = 2  # the file descriptor
SECONDS = 20.0  # for one picture


def thumbnails(frames: Mapping[str, tuple[Path, int]], machine: Machine) -> dict[str, str]:
    """A `data:` URI for each video by its id, of the frame asked for; those without one are left out."""
    ids, asked, max_bytes = list(frames), list(frames.values()), int(machine.probe_gigabytes * 1e9)
    pictures = {}
    for index, jpeg in bounded_map(_thumbnail, asked, machine.probe_workers, lambda _: SECONDS, max_bytes):
        if isinstance(jpeg, Lost):
            logger.info("%s: no picture of it: %s", ids[index], jpeg.detail)
        elif jpeg:
            pictures[ids[index]] = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return pictures


def _thumbnail(asked: tuple[Path, int]) -> bytes:
    """A JPEG of a few kilobytes; empty if the frame cannot be had or decoded."""
    from PIL import Image

    path, index = asked
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), STANDARD_ERROR)  # where decord says what it cannot open
    try:
        (frame,) = read_frames(path, [index])
    except (SourceError, VideoError):
        return b""
    image, encoded = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(encoded, "JPEG", quality=75)
    return encoded.getvalue()
