"""One video, a file or a folder of frames: probed, read, written.

The only importer of decord, which reads frames; PyAV writes, and probes, as it sees damage that decord decodes over.
Not here: which files there are (sources.py), which are good enough (expectations.py), tensors (clips.py).
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from jaxtyping import UInt8

from lvdm.data.frame_folders import frame_files, frames_checksum, read_frame_files
from lvdm.errors import VideoError
from lvdm.workspace import atomic_file, sha256

logger = logging.getLogger(__name__)

MP4_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"sidx", b"styp", b"mfra", b"uuid"}
)
MATROSKA, MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


class UnreadableVideo(VideoError):
    """A VideoError with its reason as a code that does not change: missing, unreadable, empty, not_a_video,
    no_video_stream, truncated, corrupt, unsupported.

    Made by `of`. A DataLoader makes it from its message alone when it brings it over from a worker.
    """

    reason = "unreadable"
    detail = ""

    @classmethod
    def of(cls, path: Path, reason: str, detail: object) -> UnreadableVideo:
        """The error of one file; its detail is the same wherever the file lies."""
        error = cls(f"{path}: {reason}: {detail}")
        error.reason, error.detail = reason, " ".join(str(detail).replace(str(path), path.name).split())
        return error


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
    """The fields of `probe`, or error (the reason code) and detail; and checksum, the sha256 of what can be read."""
    try:
        return asdict(probe(path)) | {"checksum": _checksum(path)}
    except UnreadableVideo as error:
        unread = error.reason in ("missing", "unreadable")
        return {"error": error.reason, "detail": error.detail, "checksum": None if unread else _checksum(path)}


def read_frames(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    """The RGB frames at `indices` (a range will do), turned as displayed.

    decord seeks to them. What it cannot read (AV1; widths whose rows its decoder pads, as 48 and 72) PyAV decodes from
    the start. The reader is opened, used and dropped: a decord reader that stays alive decodes ahead without bound.

    Raises:
        UnreadableVideo: the file cannot be read, or it has no such frame.
    """
    if path.is_dir():
        return _read_folder(path, indices)

    import decord
    from decord.base import DECORDError

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        return reader.get_batch(list(indices)).asnumpy()
    except (DECORDError, decord.DECORDLimitReachedError, RuntimeError, IndexError) as error:
        logger.debug("%s: decord: %s", path, error)
        return _read_from_the_start(path, indices)


def write_video(path: Path, chunks: Iterable[UInt8[np.ndarray, "_t h w 3"]], fps: float) -> None:
    """Streams chunks of RGB frames to an H.264 mp4 that appears only when it is whole.

    Equal frames give equal bytes: one thread, and nothing that depends on the CPU, with which x264 varies from run to
    run. An odd side gains a copy of its last line, as yuv420p asks for even sides.

    Raises:
        VideoError: there are no frames.
    """
    with atomic_file(path) as beside, av.open(str(beside), "w", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for chunk in chunks:
            even = np.pad(chunk, ((0, 0), (0, chunk.shape[1] % 2), (0, chunk.shape[2] % 2), (0, 0)), mode="edge")
            if stream is None:
                options = {"crf": "16", "g": "16", "threads": "1", "x264-params": "cpu-independent=1"}
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
                stream.height, stream.width = even.shape[1:3]
                stream.pix_fmt, stream.thread_count = "yuv420p", 1
            for frame in even:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is None:
            raise VideoError(f"{path}: no frames to write")
        container.mux(stream.encode())


def write_gif(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: float, max_bytes: int = 200_000) -> None:
    """Writes a GIF of at most `max_bytes`: of every second frame, then smaller, until it fits; the pace stays."""
    from PIL import Image

    images, step = [Image.fromarray(frame) for frame in frames], 1
    while True:
        encoded, shown = io.BytesIO(), images[::step]
        milliseconds = round(1000 * step / fps)
        shown[0].save(encoded, "GIF", save_all=True, append_images=shown[1:], duration=milliseconds, loop=0)
        width, height = images[0].size
        if encoded.tell() <= max_bytes or min(width, height) < 16:
            break
        if len(shown) > 16:
            step *= 2
        else:
            images = [image.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.BOX) for image in images]
    with atomic_file(path) as beside:
        beside.write_bytes(encoded.getvalue())


def _probe_folder(path: Path) -> Probe:
    files, size = frame_files(path), (0, 0)
    for index, file in enumerate(files):
        height, width = _read_images(path, [file]).shape[1:3]
        if index and (width, height) != size:
            raise UnreadableVideo.of(path, "corrupt", f"frame {index} is {width}x{height}, those before {size}")
        size = (width, height)
    if not files:
        raise UnreadableVideo.of(path, "unreadable", "a folder without images")
    return Probe(len(files), 0.0, *size, "images", 0.0)


def _read_folder(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    files = frame_files(path)
    try:
        wanted = [files[index] for index in indices]
    except IndexError:
        raise UnreadableVideo.of(path, "truncated", f"no frame {max(indices)} of {len(files)}") from None
    return _read_images(path, wanted)


def _read_images(path: Path, files: Sequence[Path]) -> UInt8[np.ndarray, "t h w 3"]:
    try:
        return read_frame_files(files)
    except (OSError, ValueError) as error:
        raise UnreadableVideo.of(path, "corrupt", error) from None


def _checksum(path: Path) -> str:
    return frames_checksum(path) if path.is_dir() else sha256(path)


def _read_from_the_start(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    wanted, found = set(indices), {}
    try:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    found[index] = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if len(found) == len(wanted):
                    return np.stack([found[i] for i in indices])
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableVideo.of(path, "corrupt", error) from None
    raise UnreadableVideo.of(path, "truncated", f"no frame {min(wanted - set(found))}")


def _decode(path: Path) -> Probe:
    frames, rotation = 0, 0
    try:
        with av.open(str(path)) as container:
            if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty"):
                raise UnreadableVideo.of(path, "not_a_video", f"a {container.format.name.removesuffix('_pipe')}")
            moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not moving:
                raise UnreadableVideo.of(path, "no_video_stream", f"{len(container.streams)} other streams")
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
            path, "corrupt" if frames else "not_a_video", f"{what}, after {frames} frames"
        ) from None
    if frames == 0:
        raise UnreadableVideo.of(path, "no_video_stream", "a video stream without frames")
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
