"""What is in one video, a file or a folder of frames: counted by decoding all of it, not believed.

PyAV decodes here, as it sees damage that decord decodes over. Not here: reading clips (video.py), all videos of a
source (probing.py), and which are good enough (expectations.py).
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av

from lvdm.data.appearance import appearance, sampled_indices
from lvdm.data.frame_folders import frame_files, read_frame_files
from lvdm.data.reasons import UnreadableVideo
from lvdm.data.video import checksum, read_frames

MP4_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"sidx", b"styp", b"mfra", b"uuid"}
)
MATROSKA, MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Probe:
    """What is in a video file, found by decoding all of it."""

    frames: int
    fps: float  # average
    width: int  # as displayed: a quarter turn swaps the coded sides
    height: int
    codec: str
    duration: float  # seconds, frames / fps


def probe(path: Path) -> Probe:
    """Decodes the whole file with PyAV and reads its last frame: what passes can be read by `read_frames`.

    Of a folder of images every one is decoded; they do not say how fast they follow each other, so its fps is 0.

    Raises:
        UnreadableVideo: with the reason.
    """
    if path.is_dir():
        return _probe_folder(path)
    try:
        with path.open("rb") as file:
            declared, present = _declared_bytes(file), path.stat().st_size
    except FileNotFoundError as error:
        raise UnreadableVideo.of(path, "missing", error.strerror) from None
    except OSError as error:
        raise UnreadableVideo.of(path, "unreadable", error.strerror) from None
    if present == 0:
        raise UnreadableVideo.of(path, "empty", "0 bytes")
    if declared > present:
        raise UnreadableVideo.of(path, "truncated", f"{present} of {declared} bytes")
    found = _decode(path)
    last = read_frames(path, [found.frames - 1])
    if last.shape[1:3] != (found.height, found.width):
        raise UnreadableVideo.of(
            path, "unsupported", f"{last.shape[2]}x{last.shape[1]} and {found.width}x{found.height}"
        )
    return found


def examine(path: Path) -> dict[str, Any]:
    """The fields of `probe` and of its appearance, or error (a code of REASONS) and detail; and checksum, the sha256 of
    what can be read."""
    try:
        found = probe(path)
        seen = appearance(read_frames(path, sampled_indices(found.frames)))
        return asdict(found) | asdict(seen) | {"checksum": checksum(path)}
    except UnreadableVideo as error:
        unread = error.reason in ("missing", "unreadable")
        return {"error": error.reason, "detail": error.detail, "checksum": None if unread else checksum(path)}


def _probe_folder(path: Path) -> Probe:
    files, size = frame_files(path), (0, 0)
    for index, file in enumerate(files):
        height, width = read_frame_files([file]).shape[1:3]
        if index and (width, height) != size:
            raise UnreadableVideo.of(path, "corrupt", f"frame {index} is {width}x{height}, those before {size}")
        size = (width, height)
    if not files:
        raise UnreadableVideo.of(path, "unreadable", "a folder without images")
    return Probe(len(files), 0.0, *size, "images", 0.0)


def _decode(path: Path) -> Probe:
    frames, rotation = 0, 0
    try:
        with av.open(str(path)) as container:
            if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty"):
                raise UnreadableVideo.of(path, "not-a-video", f"a {container.format.name.removesuffix('_pipe')}")
            moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not moving:
                raise UnreadableVideo.of(path, "no-video-stream", f"{len(container.streams)} other streams")
            stream = moving[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise UnreadableVideo.of(path, "corrupt", f"frame {frames} is damaged")
                frames, rotation = frames + 1, frame.rotation
            fps = float(stream.average_rate or 0)
            sides = (stream.width, stream.height) if rotation % 180 == 0 else (stream.height, stream.width)
            codec = stream.codec_context.name
    except (av.FFmpegError, IndexError) as error:  # PyAV raises IndexError on some damaged transport streams
        what = error.strerror if isinstance(error, av.FFmpegError) else error
        raise UnreadableVideo.of(
            path, "corrupt" if frames else "not-a-video", f"{what}, after {frames} frames"
        ) from None
    if frames == 0:
        raise UnreadableVideo.of(path, "no-video-stream", "a video stream without frames")
    return Probe(frames, fps, *sides, codec, frames / fps if fps else 0.0)


def _declared_bytes(file: BinaryIO) -> int:
    """How long the file must be by its own container headers; 0 if they do not say."""
    head = file.read(256)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == MATROSKA and (at := head.find(MATROSKA_SEGMENT)) >= 0:
        field = int.from_bytes(head[at + 4 : at + 12], "big")  # of the usual 8 bytes: 0x01, then the length
        known = field >> 56 == 1 and field & (2**56 - 1) != 2**56 - 1
        return at + 12 + (field & (2**56 - 1)) if known else 0
    at = 0
    while len(head) >= 8 and head[4:8] in MP4_BOXES:
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) >= 16:
            length = struct.unpack(">Q", head[8:16])[0]
        if length < 8:  # 0: to the end of the file
            break
        at += length
        file.seek(at)
        head = file.read(16)
    return at
