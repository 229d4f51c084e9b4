"""Every frame of a video file in order, as it is displayed: turned, stretched to square pixels, on black, in 8-bit RGB.

PyAV decodes here, one frame after the other, and stops at the first damage. It is what other readers are held against.
Not here: jumping to a frame (video.py), and what is found out about a file (inspection.py).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from lvdm.data.reasons import UnreadableVideo

MAX_PIXELS = 2**26  # of a frame: 8192 x 8192
SQUARE = 0.02  # pixels that are this much wider or narrower than high count as square: 340x256 of a 4:3 film
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
LISTS = frozenset({"concat", "dash", "hls", "image2", "rtsp", "sdp", "tty"})  # name other files, or are text
# What a file says of itself need not be UTF-8; PyAV replaces such bytes by itself from 19 on, and before if told to.
NOT_UTF8: Any = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
ON_DAMAGE = {"err_detect": "explode+crccheck+bitstream+buffer"}


@dataclass(frozen=True)
class Shown:
    """One frame as it was decoded."""

    time: float | None  # seconds, from wherever the file begins to count
    frame: av.VideoFrame
    stretch: float  # width of a pixel by its height

    def pixels(self, shorter_side: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """As displayed; `shorter_side` makes it smaller, with even sides."""
        width, height = self._upright(shorter_side)
        alpha = any(component.is_alpha for component in self.frame.format.components)
        pixels = self.frame.to_ndarray(format="rgba" if alpha else "rgb24", width=width, height=height, threads=1)
        if alpha:
            pixels = ((pixels[..., :3].astype(np.uint16) * pixels[..., 3:] + 127) // 255).astype(np.uint8)
        return _turned(pixels, self.frame)

    def _upright(self, shorter_side: int | None) -> tuple[int, int]:
        """Width and height of square pixels, before turning: no line is lost, the narrower direction gains."""
        width, height = float(self.frame.width), float(self.frame.height)
        if abs(self.stretch - 1) > SQUARE:
            width, height = width * max(1.0, self.stretch), height / min(1.0, self.stretch)
        if shorter_side is None or min(width, height) <= shorter_side:
            return round(width), round(height)
        scale = shorter_side / min(width, height) / 2
        return 2 * round(width * scale), 2 * round(height * scale)


class Footage:
    """The first moving stream of an open file."""

    def __init__(self, path: Path, container: Any):
        self.path, self.container = path, container
        kind = container.format.name
        if kind.endswith("_pipe") or kind in LISTS:
            raise UnreadableVideo.of(path, "not-a-video", f"a {kind.removesuffix('_pipe')}")
        moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not moving:
            raise UnreadableVideo.of(path, "no-video-stream", f"streams of other kinds: {len(container.streams)}")
        self.stream = moving[0]
        if self.stream.codec_context is None:
            raise UnreadableVideo.of(path, "unsupported", "a codec that is not known")
        self.codec: str = self.stream.codec_context.codec.canonical_name
        _check_size(path, self.stream.width, self.stream.height)
        self.rates = [float(r) for r in (self.stream.average_rate, self.stream.base_rate) if r]  # a second; may lie

    def __iter__(self) -> Iterator[Shown]:
        """Raises UnreadableVideo at the first damage, or if a frame cannot be shown rightly."""
        stretch = float(self.stream.sample_aspect_ratio or 1) or 1.0
        decoder, count, first = self._decoder(), 0, None
        while True:
            with _explained(self.path, "corrupt", count):
                frame = next(decoder, None)
            if frame is None:
                return
            first = first or frame
            self._check(frame, first, count)
            time = None if frame.pts is None else float(frame.pts * self.stream.time_base)
            yield Shown(time, frame, stretch)
            count += 1

    def _decoder(self) -> Iterator[av.VideoFrame]:
        context = self.stream.codec_context
        if self.codec in ("vp8", "vp9") and self.stream.metadata.get("alpha_mode") == "1":
            context = av.CodecContext.create(f"libvpx{'-vp9' * (self.codec == 'vp9')}", "r")  # the other drops alpha
        context.thread_count = 1
        context.options = ON_DAMAGE
        for packet in self.container.demux(self.stream):
            yield from context.decode(packet if packet.size else None)

    def _check(self, frame: av.VideoFrame, first: av.VideoFrame, count: int) -> None:
        if frame.is_corrupt:
            raise UnreadableVideo.of(self.path, "corrupt", f"frame {count} is damaged")
        if (frame.width, frame.height) != (first.width, first.height):
            sizes = f"{first.width}x{first.height}, then {frame.width}x{frame.height}"
            raise UnreadableVideo.of(self.path, "size-changes", f"{sizes} from frame {count} on")
        if frame.color_trc in HDR:
            raise UnreadableVideo.of(self.path, "hdr", f"brightness by {HDR[frame.color_trc]}")
        if count == 0:
            _check_size(self.path, frame.width, frame.height)


@contextlib.contextmanager
def footage(path: Path) -> Iterator[Footage]:
    """Opens a file; nothing but this file is read, whatever it names.

    Raises:
        UnreadableVideo: it is no video.
    """
    with _explained(path, "not-a-video"):
        container = av.open(str(path), options={"protocol_whitelist": "file"}, **NOT_UTF8)
    with container:
        yield Footage(path, container)


@contextlib.contextmanager
def _explained(path: Path, reason: str, frames: int = 0) -> Iterator[None]:
    """What PyAV raises, as UnreadableVideo; on some damaged transport streams that is an IndexError."""
    try:
        yield
    except MemoryError:
        raise UnreadableVideo.of(path, "out-of-memory", f"after {frames} frames") from None
    except (av.FFmpegError, IndexError) as error:
        what = error.strerror if isinstance(error, av.FFmpegError) else error
        raise UnreadableVideo.of(path, reason, f"{what}, after {frames} frames") from None


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableVideo.of(path, "too-large", f"frames of {width}x{height}, at most {MAX_PIXELS} pixels are read")


def _turned(pixels: UInt8[np.ndarray, "h w 3"], frame: av.VideoFrame) -> UInt8[np.ndarray, "h2 w2 3"]:
    """By the display matrix (a b 0, c d 0, x y 1): a point goes to (a x + c y, b x + d y)."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) > abs(a):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
