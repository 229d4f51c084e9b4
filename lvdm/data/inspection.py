"""What is in one video, a file or a folder of frames: counted by decoding all of it, not believed.

A file that decord reads exactly as a sequential decoder does stays as it is; any other readable one is straightened
once. Not here: decoding (decoding.py), reading clips (video.py), all videos of a source (probing.py), and which are
good enough (contract.py).
"""

from __future__ import annotations

import stat
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from av.video.frame import PictureType
from jaxtyping import UInt8

from lvdm.data.appearance import appearance, sampled_indices
from lvdm.data.bounded import beat
from lvdm.data.decoding import Shown, footage
from lvdm.data.frame_folders import frame_files, read_frame_files
from lvdm.data.reasons import UnreadableVideo
from lvdm.data.straightening import straighten
from lvdm.data.video import checksum, read_frames, why_decord_differs
from lvdm.params import Transcode

MP4_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"sidx", b"styp", b"mfra", b"uuid"}
)
MATROSKA, MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
KEPT = 12  # frames of a video, at most, that decord is held against
SURE = frozenset({"h264", "hevc"})  # of others with B-frames decord at times shows another last frame
HELD_AT_MOST = 10  # times as many frames a second as there are, when a video is sampled by time


@dataclass(frozen=True)
class Probe:
    """What is in a video, found by decoding all of it."""

    frames: int
    fps: float
    width: int  # as displayed: turned, and of square pixels
    height: int
    codec: str
    duration: float  # seconds, frames / fps


@dataclass
class _Survey:
    """One pass over a file: its frames, their times, and a few of them."""

    codec: str
    rates: list[float]
    times: list[float | None] = field(default_factory=list)
    kept: dict[int, UInt8[np.ndarray, "h w 3"]] = field(default_factory=dict)  # evenly spread, and the last one
    every: int = 1
    last: Shown | None = None
    reordered: bool = False  # it has B-frames

    def see(self, shown: Shown) -> None:
        index = len(self.times)
        self.reordered |= shown.frame.pict_type == PictureType.B
        self.times.append(shown.time)
        if index % self.every == 0:
            if len(self.kept) == KEPT:
                self.every *= 2
                self.kept = {i: pixels for i, pixels in self.kept.items() if i % self.every == 0}
            if index % self.every == 0:
                self.kept[index] = shown.pixels()
        self.last = shown


def probe(path: Path) -> Probe:
    """Decodes the whole file with PyAV: how many frames, how large, how fast.

    Of a folder of images every one is decoded; they do not say how fast they follow each other, so its fps is 0.

    Raises:
        UnreadableVideo: with the reason.
    """
    if path.is_dir():
        return _probe_folder(path)
    _check_bytes(path)
    survey = _surveyed(path)
    fps, _ = _clock(survey)
    return _found(survey, fps)


@dataclass(frozen=True)
class Request:
    """A video to examine, and where it goes if it has to be straightened."""

    path: Path
    straightened: Path
    transcode: Transcode | None


def examine(request: Request) -> dict[str, Any]:
    """The fields of `probe` and of its appearance, or error (a code of REASONS) and detail.

    `straightened` says why the video was written once more, to be read from there: then all fields are of what was
    written, except codec; else it is None. `checksum` is of what is to be read, `source_checksum` of `request.path`.
    """
    path = request.path
    try:
        return _examined(request)
    except UnreadableVideo as error:
        unread = error.reason in ("missing", "unreadable", "not-a-file")
        of_bytes = None if unread else checksum(path)
        said = {"error": error.reason, "detail": error.detail}
        return said | {"checksum": of_bytes, "source_checksum": of_bytes, "straightened": None}


def _examined(request: Request) -> dict[str, Any]:
    path, read, why = request.path, request.path, None
    try:
        if path.is_dir():
            found = _probe_folder(path)
        else:
            _check_bytes(path)
            survey = _surveyed(path)
            fps, constant = _clock(survey)
            found, why = _found(survey, fps), _why_straighten(path, survey, constant, request.transcode)
        if why is not None:
            straighten(path, request.straightened, fps, constant, request.transcode)
            read = request.straightened
            found = replace(_found(_surveyed(read), fps), codec=found.codec)
        seen = appearance(read_frames(read, sampled_indices(found.frames)))
    except MemoryError:
        raise UnreadableVideo.of(path, "out-of-memory", "while its frames were looked at") from None
    checksums = {"checksum": checksum(read), "source_checksum": checksum(path)}
    return asdict(found) | asdict(seen) | checksums | {"straightened": why}


def _surveyed(path: Path) -> _Survey:
    with footage(path) as source:
        survey = _Survey(source.codec, source.rates)
        for shown in source:
            survey.see(shown)
            beat()
    if survey.last is None:
        raise UnreadableVideo.of(path, "no-video-stream", "a video stream without frames")
    survey.kept[len(survey.times) - 1] = survey.last.pixels()
    return survey


def _found(survey: _Survey, fps: float) -> Probe:
    frames, (height, width) = len(survey.times), survey.kept[0].shape[:2]
    return Probe(frames, fps, width, height, survey.codec, frames / fps if fps else 0.0)


def _clock(survey: _Survey) -> tuple[float, bool]:
    """Frames a second, and whether every frame comes within one frame of its turn; else they are sampled by time.

    What the header says of the rate counts if the times of the frames bear it out.
    """
    said = next(iter(survey.rates), 0.0)
    times = np.array([np.nan if time is None else time for time in survey.times])
    gaps = np.diff(times)
    if len(gaps) == 0 or not (gaps > 0).all():  # also where a time is missing
        return said, True
    mean = len(gaps) / (times[-1] - times[0])
    late = (times - times[0]) * mean - np.arange(len(times))
    if np.abs(late).max() <= 1:
        return _near(mean, survey.rates, 0.01), True
    usual = _near(1 / float(np.median(gaps)), survey.rates, 0.05)
    return min(usual, HELD_AT_MOST * mean), False


def _near(rate: float, said: list[float], within: float) -> float:
    return next((s for s in said if abs(s / rate - 1) < within), round(rate, 3))


def _why_straighten(path: Path, survey: _Survey, constant: bool, transcode: Transcode | None) -> str | None:
    if transcode is not None:
        return "transcode"
    if not constant:
        return "frames at uneven times"
    if survey.reordered and survey.codec not in SURE:
        return f"decord is not sure of B-frames of {survey.codec}"
    return why_decord_differs(path, len(survey.times), survey.kept)


def _check_bytes(path: Path) -> None:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableVideo.of(path, "not-a-file", stat.filemode(state.st_mode))
        with path.open("rb") as file:
            declared = _declared_bytes(file)
    except FileNotFoundError as error:
        raise UnreadableVideo.of(path, "missing", error.strerror) from None
    except OSError as error:
        raise UnreadableVideo.of(path, "unreadable", error.strerror) from None
    if state.st_size == 0:
        raise UnreadableVideo.of(path, "empty", "0 bytes")
    if declared > state.st_size:
        raise UnreadableVideo.of(path, "truncated", f"{state.st_size} of {declared} bytes")


def _probe_folder(path: Path) -> Probe:
    files, size = frame_files(path), (0, 0)
    for index, file in enumerate(files):
        height, width = read_frame_files([file]).shape[1:3]
        if index and (width, height) != size:
            raise UnreadableVideo.of(path, "corrupt", f"frame {index} is {width}x{height}, those before {size}")
        size = (width, height)
        beat()
    if not files:
        raise UnreadableVideo.of(path, "not-a-file", "a folder without images")
    return Probe(len(files), 0.0, *size, "images", 0.0)


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
