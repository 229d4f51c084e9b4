"""Odd and broken videos as they occur, made by PyAV from frames that are known, so that no decoder is believed.

Each is a function of the path to write to. What is to be read of the odd ones is `expected`: which of the known
frames, in which order, and how they are displayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from .footage import audio, cut

NUM = 24


def known(num: int = NUM, height: int = 64, width: int = 96) -> np.ndarray:
    """Frames that cannot be mistaken for one another, nor for their mirror images: a light square moves over a ramp."""
    frames = np.empty((num, height, width, 3), dtype=np.uint8)
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    frames[:] = np.stack([60 + 60 * across + 0 * down, 40 + 70 * down + 0 * across, 90 + 0 * (down + across)], axis=-1)
    side = height // 4
    for t in range(num):
        x = t * (width - side) // max(1, NUM - 1)
        frames[t, side : 2 * side, x : x + side] = [225, 190, 60]
    return frames


def write(
    path: Path,
    frames: np.ndarray | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    options: Mapping[str, str] | None = None,
    like: str = "rgb24",
    rotation: float | None = None,
    container: Mapping[str, str] | None = None,
    **context: Any,
) -> None:
    """Frames in the container of the path's suffix; `context` is set on the encoder."""
    frames = known() if frames is None else frames
    with av.open(str(path), "w", options=dict(container or {})) as file:
        stream = _stream(file, frames, codec, pix_fmt, dict(options or {"crf": "12"}), context)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = time_base
        for index, pixels in enumerate(frames):
            frame = _converted(pixels, like, pix_fmt, context)
            if times is not None:
                frame.pts, frame.time_base = times[index], time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _stream(file: Any, frames: np.ndarray, codec: str, pix_fmt: str, options: dict, context: Mapping) -> Any:
    quiet = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    stream = file.add_stream(codec, rate=30, options=options | quiet)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = pix_fmt
    for name, value in context.items():
        setattr(stream.codec_context, name, value)
    return stream


def _converted(pixels: np.ndarray, like: str, pix_fmt: str, context: Mapping[str, Any]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(pixels, format=like)
    colours = {"color_range": "dst_color_range", "colorspace": "dst_colorspace"}
    wanted = {colours[name]: value for name, value in context.items() if name in colours}
    return frame.reformat(format=pix_fmt, **wanted) if wanted else frame


def half_transparent() -> np.ndarray:
    frames = known()
    return np.concatenate([frames, np.full_like(frames[..., :1], 128)], axis=-1)


def two_streams(path: Path) -> None:
    with av.open(str(path), "w") as file:
        first, second = known(), known(height=128, width=192)[::-1]
        streams = [_stream(file, frames, "libx264", "yuv420p", {"crf": "12"}, {}) for frames in (first, second)]
        for pair in zip(first, second, strict=True):
            for stream, pixels in zip(streams, pair, strict=True):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            file.mux(stream.encode())


def with_cover(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as file:
        sound = file.add_stream("aac", rate=16000)
        cover = file.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 96, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame.from_ndarray(known(1)[0], format="rgb24")))
        file.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        file.mux(sound.encode(silence))
        file.mux(sound.encode())


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as file:
        _stream(file, known(), "libx264", "yuv420p", {}, {})
        file.start_encoding()


def flipped_bits(path: Path) -> None:
    write(path)
    content = bytearray(path.read_bytes())
    for at in np.random.default_rng(0).integers(len(content) // 4, len(content), 40):
        content[at] ^= 16
    path.write_bytes(content)


def zeroed_data(path: Path) -> None:
    write(path, known(60))
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat") + 4
    content[at : at + 2000] = bytes(2000)
    path.write_bytes(content)


def growing(path: Path) -> None:
    """Two transport streams, one behind the other, of other sizes."""
    write(path)
    small = path.read_bytes()
    write(path, known(height=128, width=192))
    path.write_bytes(small + path.read_bytes())


def huge(path: Path) -> None:
    """A GIF whose header says 9216x9216."""
    write(path, codec="gif", pix_fmt="rgb8")
    content = path.read_bytes()
    path.write_bytes(content[:6] + b"\x00\x24" * 2 + content[10:])


def renamed(suffix: str) -> Callable[[Path], None]:
    """A good mp4 of another name."""

    def make(path: Path) -> None:
        write(path.with_name("to be renamed.mp4"))
        path.with_name("to be renamed.mp4").rename(path)

    return make


@dataclass(frozen=True)
class Odd:
    """A file that can be read rightly."""

    make: Callable[[Path], object]
    frames: Sequence[int] = tuple(range(NUM))  # the known ones, in order
    shown: Callable[[np.ndarray], np.ndarray] = lambda frames: frames  # what is done to them
    size: Mapping[str, int] = field(default_factory=dict)
    fps: float = 30.0
    off_by: float = 3.0  # levels, mean; of the coder that made it
    straightened: bool = False


def _of(**arguments: Any) -> Callable[[Path], None]:
    size = arguments.pop("size", None)
    return lambda path: write(path, known(**size) if size else None, **arguments)


def _sized(width: int, height: int, **arguments: Any) -> Odd:
    size = {"width": width, "height": height}
    expected = {name: arguments.pop(name) for name in ("straightened", "off_by") if name in arguments}
    return Odd(_of(size=size, **arguments), size=size, **expected)


def _held(times: Sequence[int]) -> list[int]:
    """The frame that is shown at every tick, if frame i comes at times[i]: written down, not computed by a decoder."""
    return [max(i for i, time in enumerate(times) if time <= tick) for tick in range(times[0], times[-1] + 1)]


DROPPED = [n for n in range(40) if n % 10 not in (3, 4, 5, 6)]
SLOWER = [*range(14), *range(14, 44, 3)]
JUMP = [15, *range(19, 42)]
TURNED = {"width": 64, "height": 96}
HDR = {"color_primaries": 9, "colorspace": 9, "codec": "libx265", "pix_fmt": "yuv420p10le"}

ODD: dict[str, Odd] = {
    "dropped frames.mp4": Odd(_of(times=DROPPED), _held(DROPPED), straightened=True),
    "30 then 10 a second.mkv": Odd(_of(times=SLOWER), _held(SLOWER), straightened=True),
    "starts late, jumps.mkv": Odd(_of(times=JUMP), _held(JUMP), straightened=True),
    "starts late.mkv": Odd(_of(times=range(150, 150 + NUM))),
    "odd sides.mkv": _sized(53, 31, pix_fmt="yuv444p"),
    "tiny.mkv": _sized(33, 17, codec="ffv1", pix_fmt="bgr0", options={}),
    "48 wide.mp4": _sized(48, 64, straightened=True),
    "72 wide.mp4": _sized(72, 64, straightened=True),
    "16 wide.mp4": _sized(16, 32, straightened=True, off_by=5),
    "portrait.mp4": _sized(54, 96),
    "turned.mp4": Odd(_of(rotation=90), shown=lambda f: np.rot90(f, 1, (1, 2)), size={}),
    "upside down.mp4": Odd(_of(rotation=180), shown=lambda f: f[:, ::-1, ::-1]),
    "anamorphic.mp4": Odd(
        _of(sample_aspect_ratio=Fraction(2)), shown=lambda f: f.repeat(2, axis=2), straightened=True, off_by=5
    ),
    "nearly square pixels.mp4": Odd(_of(sample_aspect_ratio=Fraction(256, 255))),
    "10 bits.mp4": Odd(_of(codec="libx265", pix_fmt="yuv420p10le", codec_tag="hvc1")),
    "full range.mp4": Odd(_of(color_range=ColorRange.JPEG)),
    "bt709.mp4": Odd(_of(colorspace=Colorspace.ITU709)),
    "grey.mkv": Odd(
        _of(codec="ffv1", pix_fmt="gray", options={}),
        shown=lambda f: (f @ [0.299, 0.587, 0.114])[..., None].repeat(3, axis=-1),
    ),
    "half transparent.mov": Odd(
        lambda p: write(p, half_transparent(), "prores_ks", "yuva444p10le", like="rgba", options={"profile": "4444"}),
        shown=lambda f: f * (128 / 255),
        straightened=True,
    ),
    "half transparent.webm": Odd(
        lambda p: write(p, half_transparent(), "libvpx-vp9", "yuva420p", like="rgba", options={"crf": "10", "b": "0"}),
        shown=lambda f: f * (128 / 255),
        straightened=True,
    ),
    "a.gif": Odd(_of(codec="gif", pix_fmt="rgb8", options={}), fps=29.97, off_by=20, straightened=True),
    "a.apng": Odd(
        _of(codec="apng", pix_fmt="rgb24", options={}, container={"plays": "0"}), off_by=1, straightened=True
    ),
    "b-frames.avi": Odd(_of(codec="mpeg4", options={"bf": "2", "qmin": "1", "qmax": "2"}), straightened=True),
    "interlaced.mpg": Odd(
        _of(codec="mpeg2video", options={"flags": "+ildct+ilme", "qmin": "1", "qmax": "2"}), straightened=True
    ),
    "one key frame.mp4": Odd(_of(options={"g": "600", "keyint_min": "600", "crf": "12"})),
    "av1.mp4": Odd(_of(codec="libsvtav1", options={"crf": "10", "preset": "10"}), straightened=True),
    "1000 a second.mp4": Odd(_of(times=range(NUM), time_base=Fraction(1, 1000)), fps=1000),
    "one in ten seconds.mp4": Odd(_of(times=range(0, 240, 10), time_base=Fraction(1)), fps=0.1),
    "one frame.mp4": Odd(lambda p: write(p, known(1)), frames=[0]),
    "two streams.mkv": Odd(two_streams),
    "h264.jpg": Odd(renamed(".jpg")),
    "no suffix": Odd(renamed("")),
    "sp aces, 'quotes\" & ünïcödé – 视频.mp4": Odd(renamed(".mp4")),
}

BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "hdr10.mp4": ("hdr", _of(color_trc=16, **HDR)),
    "hlg.mp4": ("hdr", _of(color_trc=18, **HDR)),
    "sound.mp4": ("no-video-stream", audio),
    "sound and cover.m4v": ("no-video-stream", with_cover),
    "empty.mp4": ("empty", Path.touch),
    "no frames.mp4": ("no-video-stream", no_frames),
    "cut, index last.mp4": ("truncated", lambda p: (write(p), cut(p, 0.5))),
    "cut, index first.mp4": ("truncated", lambda p: (write(p, container={"movflags": "faststart"}), cut(p, 0.6))),
    "flipped bits.ts": ("corrupt", flipped_bits),
    "zeroes.mp4": ("corrupt", zeroed_data),
    "grows.ts": ("size-changes", growing),
    "huge.gif": ("too-large", huge),
    "text.mp4": ("not-a-video", lambda p: p.write_text("<html>not found</html>\n" * 50)),
    "list.mp4": ("not-a-video", lambda p: p.write_text("#EXTM3U\n#EXTINF:1,\nbt709.mp4\n#EXT-X-ENDLIST\n")),
    "concat.mp4": ("not-a-video", lambda p: p.write_text("ffconcat version 1.0\nfile bt709.mp4\n")),
    "picture.mp4": ("not-a-video", lambda p: Image.fromarray(known(1)[0]).save(p, "PNG")),
    "dangling.mp4": ("missing", lambda p: p.symlink_to("nowhere.mp4")),
    "pipe.mp4": ("not-a-file", os.mkfifo),
    "endless.mp4": ("not-a-file", lambda p: p.symlink_to("/dev/zero")),
    "folder.mp4": ("not-a-file", Path.mkdir),
}

ANIMATED_WEBP = _of(codec="libwebp_anim", options={})
if int(av.__version__.split(".")[0]) < 19:
    BROKEN["animated.webp"] = ("not-a-video", ANIMATED_WEBP)
else:
    ODD["animated.webp"] = Odd(ANIMATED_WEBP, off_by=8, straightened=True)
