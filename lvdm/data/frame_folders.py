"""A video that lies as a folder of images, one a frame, in numeric order: frame 2 before frame 10.

Not here: video files (video.py), which this room's readers call for both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import UInt8

from lvdm.data.reasons import UnreadableVideo
from lvdm.fingerprints import sha256

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def frame_files(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names."""
    files = [file for file in folder.iterdir() if is_image(file)]
    return sorted(files, key=lambda file: numeric_aware(file.name))


def is_image(path: PurePath) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_frame_files(files: Sequence[Path]) -> UInt8[np.ndarray, "t h w 3"]:
    """RGB images of one size, decoded whole, turned as displayed.

    Raises:
        UnreadableVideo: one is no image, damaged or of more than 8 bits a channel, or their sizes differ.
    """
    from PIL import Image, ImageOps

    frames = []
    try:
        for file in files:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):  # converting these to RGB clips them to white
                    raise ValueError(f"{file.name}: pixels of mode {image.mode}, expected 8 bits a channel")
                frames.append(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
        return np.stack(frames)
    except (OSError, ValueError) as error:
        raise UnreadableVideo.of(files[0].parent, "corrupt", error) from None


def frames_checksum(folder: Path) -> str:
    """The sha256 of the sha256s of the frames, in order: their names do not matter, their order does."""
    in_turn = map(sha256, frame_files(folder))  # no threads: a process that probes may hold only so much memory
    return hashlib.sha256("".join(in_turn).encode()).hexdigest()


def numeric_aware(name: str) -> tuple[list[str | int], str]:
    """A key to sort names by in which numbers count as numbers: clip 2 before clip 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name
