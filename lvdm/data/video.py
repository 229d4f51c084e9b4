"""One video, a file or a folder of frames: read, written.

The only importer of decord, which reads frames; PyAV writes them.
Not here: what is in a file, and if it is whole (inspection.py), which files there are (sources.py), tensors (clips.py).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from lvdm.data.frame_folders import frame_files, frames_checksum, read_frame_files
from lvdm.data.reasons import UnreadableVideo
from lvdm.errors import VideoError
from lvdm.workspace import atomic_file, sha256

logger = logging.getLogger(__name__)


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


def checksum(path: Path) -> str:
    """The sha256 of a video's bytes, or of the frames of a folder, in order."""
    return frames_checksum(path) if path.is_dir() else sha256(path)


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


def _read_folder(path: Path, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    files = frame_files(path)
    try:
        wanted = [files[index] for index in indices]
    except IndexError:
        raise UnreadableVideo.of(path, "truncated", f"no frame {max(indices)} of {len(files)}") from None
    return read_frame_files(wanted)


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
