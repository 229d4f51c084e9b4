"""One video, a file or a folder of frames: read, written.

The only importer of decord, which reads frames; PyAV writes them.
Not here: what is in a file, and if it is whole (inspection.py), which there are (sources.py), tensors (frames.py).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from lvdm.data.decoding import footage
from lvdm.data.frame_folders import frame_files, frames_checksum, read_frame_files
from lvdm.data.mirror import reads_locally
from lvdm.data.reasons import UnreadableVideo
from lvdm.errors import ArtefactError, VideoError, refusals_told
from lvdm.fingerprints import sha256
from lvdm.workspace import atomic_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoding:
    """How frames become H.264."""

    codec: str
    pix_fmt: str
    options: Mapping[str, str]


WATCHABLE = Encoding("libx264", "yuv420p", {"crf": "16", "g": "16"})
SAME_LUMA, SAME_COLOUR = 4, 2  # levels that the same frame may be off: luma anywhere, colour in the mean


@reads_locally
def read_frames(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    """The RGB frames at `indices` (a range will do), as displayed.

    decord seeks to them. What it cannot read PyAV decodes from the start; after ingest that is left of some widths of
    rows that decord's decoder pads, as 48. The reader is opened, used and dropped: a decord reader that stays alive
    decodes ahead without bound.

    Raises:
        UnreadableVideo: the file cannot be read, or it has no such frame.
    """
    if path.is_dir():
        return _read_folder(path, indices)
    if not path.exists():
        raise UnreadableVideo.of(path, "missing", "it was there at ingest; put it back, or run `lvdm ingest` again")
    try:
        return _read_by_decord(path, indices)
    except _Undecodable as error:
        logger.debug("%s: decord: %s", path, error)
        return _read_from_the_start(path, indices)


@reads_locally
def checksum(path: Path) -> str:
    """The sha256 of a video's bytes, or of the frames of a folder, in order."""
    return frames_checksum(path) if path.is_dir() else sha256(path)


def check_unchanged(path: Path, ingested: str) -> None:
    """Holds a video against the checksum that the manifest has of it.

    Raises:
        ArtefactError: it is not there, or not what was ingested.
        SourceError: it lies on S3 and cannot be had.
    """
    try:
        got = checksum(path)
    except FileNotFoundError:
        got = "no such file"
    if got != ingested:
        said = "changed since it was ingested"
        raise ArtefactError(f"{path}: {said}", expected=ingested, got=got, remedy="run `lvdm ingest` again")


def why_decord_differs(path: Path, num_frames: int, frames: Mapping[int, UInt8[np.ndarray, "h w 3"]]) -> str | None:
    """What decord gets wrong of a file of `num_frames` frames, some of which are known; None if nothing.

    Some it reads forwards, and some in reverse, so that it has to seek.
    """
    backwards = sorted(frames, reverse=True)[:: max(1, len(frames) // 4)]
    try:
        counted = len(_decord_reader(path))
        if counted != num_frames:
            return f"decord counts {counted} of {num_frames} frames"
        for order in (sorted(frames), backwards):
            for index, read in zip(order, _read_by_decord(path, order), strict=True):
                known = frames[index]
                if read.shape != known.shape:
                    return f"decord shows {read.shape[1]}x{read.shape[0]}"
                if _is_another(known, read):
                    return f"decord shows another frame {index}"
    except _Undecodable:
        return "decord cannot read it"
    return None


@refusals_told()
def write_video(
    path: Path, chunks: Iterable[UInt8[np.ndarray, "_t h w 3"]], fps: float, encoding: Encoding = WATCHABLE
) -> None:
    """Streams chunks of RGB frames to an H.264 mp4 that appears only when it is whole.

    Equal frames give equal bytes: one thread, and nothing that depends on the CPU, with which x264 varies from run to
    run. An odd side gains a copy of its last line where yuv420p asks for even sides.

    Raises:
        VideoError: there are no frames.
        RefusedBySystem: the disk is full, or may not be written to.
    """
    even = 2 if encoding.pix_fmt == "yuv420p" else 1
    options = {**encoding.options, "threads": "1", "x264-params": "cpu-independent=1"}
    with atomic_file(path) as beside, av.open(str(beside), "w", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for chunk in chunks:
            below, right = -chunk.shape[1] % even, -chunk.shape[2] % even
            padded = np.pad(chunk, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream(encoding.codec, rate=rate, options=options)
                stream.height, stream.width = padded.shape[1:3]
                stream.pix_fmt, stream.thread_count = encoding.pix_fmt, 1
            for pixels in padded:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame.reformat(format=encoding.pix_fmt, threads=1)))
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


def _read_folder(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    files = frame_files(path)
    try:
        wanted = [files[index] for index in indices]
    except IndexError:
        raise UnreadableVideo.of(path, "truncated", f"no frame {max(indices)} of {len(files)}") from None
    return read_frame_files(wanted)


def _is_another(known: UInt8[np.ndarray, "h w 3"], read: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether these are different frames; of 10 bits two versions of one library interpolate colour differently."""
    off = read.astype(np.int16) - known
    luma = np.abs(off @ np.array([0.299, 0.587, 0.114], np.float32))
    return bool(luma.max() > SAME_LUMA or np.abs(off).mean() > SAME_COLOUR)


class _Undecodable(Exception):
    """decord does not read this."""


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """All that decord raises, as one."""
    import decord
    from decord.base import DECORDError

    try:
        yield
    except (DECORDError, decord.DECORDLimitReachedError, RuntimeError, IndexError) as error:
        raise _Undecodable(str(error)) from None


def _decord_reader(path: Path) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    with _refusals():
        return decord.VideoReader(str(path), num_threads=1)


def _read_by_decord(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    reader = _decord_reader(path)
    with _refusals():
        return reader.get_batch(list(indices)).asnumpy()


def _read_from_the_start(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    wanted, found = set(indices), {}
    with footage(path) as source:
        for index, shown in enumerate(source):
            if index in wanted:
                found[index] = shown.pixels()
            if len(found) == len(wanted):
                return np.stack([found[i] for i in indices])
    raise UnreadableVideo.of(path, "truncated", f"no frame {min(wanted - set(found))}")
