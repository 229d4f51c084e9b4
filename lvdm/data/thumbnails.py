"""A small picture of a video, also of one that is broken, if there is a frame to be had.

Decoded in processes of their own, as no file may hang or kill the run. Not here: which videos are shown.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping
from pathlib import Path

from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.video import read_frames
from lvdm.errors import SourceError, VideoError

logger = logging.getLogger(__name__)

SIDE = 160  # pixels of the longer side
SECONDS = 20.0  # for one picture


def thumbnails(frames: Mapping[str, tuple[Path, int]], workers: int) -> dict[str, str]:
    """A `data:` URI for each video by its id, of the frame asked for; those without one are left out."""
    ids = list(frames)
    pictures = {}
    for index, jpeg in bounded_map(_thumbnail, [frames[video] for video in ids], workers, lambda _: SECONDS):
        if isinstance(jpeg, Lost):
            logger.info("%s: no picture of it: %s", ids[index], jpeg.detail)
        elif jpeg:
            pictures[ids[index]] = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return pictures


def _thumbnail(asked: tuple[Path, int]) -> bytes:
    """A JPEG of a few kilobytes; empty if the frame cannot be had or decoded."""
    from PIL import Image

    path, index = asked
    try:
        (frame,) = read_frames(path, [index])
    except (SourceError, VideoError):
        return b""
    image, encoded = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(encoded, "JPEG", quality=75)
    return encoded.getvalue()
