"""Real files for the tests of this room: good, odd and broken."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from lvdm.data.video import write_video


def moving(frames: int = 24, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A light square that moves over a dark, coloured ground."""
    random = np.random.default_rng(seed)
    video = np.empty((frames, height, width, 3), dtype=np.uint8)
    video[:] = random.integers(20, 90, 3)
    for t in range(frames):
        video[t, 10:26, t : t + 16] = random.integers(180, 230, 3)
    return video


def video(path: Path, seed: int = 0, **shape: int) -> Path:
    write_video(path, [moving(seed=seed, **shape)], fps=8.0)
    return path


def encoded(path: Path, codec: str, seed: int = 0, frames: np.ndarray | None = None, **options: str) -> Path:
    """A video in the container of the path's suffix, through PyAV directly."""
    frames = moving(seed=seed) if frames is None else frames
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def quarter_turned(path: Path, **shape: int) -> Path:
    """A video whose header says that it is shown turned: the matrix in tkhd, as telephones write it."""
    video(path, **shape)
    content = path.read_bytes()
    upright = b"".join(n.to_bytes(4, "big") for n in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(n.to_bytes(4, "big") for n in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0x300000, 0, 0x40000000))
    at = content.index(upright, content.index(b"tkhd"))
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    return path


@contextlib.contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond that, in processes that are started meanwhile too: as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path
