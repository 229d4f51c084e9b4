"""Writes samples in threads of its own, so that the device makes the next ones meanwhile.

At 256x256 an mp4 takes a thread about as long as a GPU takes to sample its frames. Who makes them does not wait for
the device: the threads do.
Not here: how a sample lies on disk (samples.py).
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from lvdm.data.samples import VideoSample, fetched_frames, write_sample
from lvdm.transfers import Fetched

WRITERS = 2  # threads
ROOM = 2**28  # bytes of frames that wait to be written: 1,365 frames of 256x256


class _End(enum.Enum):
    """Of the frames of a sample."""

    WHOLE = enum.auto()
    EARLY = enum.auto()  # an error ended the making


class SampleWriter:
    """As a context; at its end all that was given is written, unless an error ends it: then what is whole stays.

    Args:
        made: the folder where samples lie that are made.
        fps: of their mp4 files.
    """

    def __init__(self, made: Path, fps: float):
        self.made, self.fps = made, fps
        self._pool = ThreadPoolExecutor(WRITERS, "writer")
        self._unfinished: list[Future[None]] = []
        self._waiting, self._changed = 0, threading.Condition()  # bytes

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._raise_what_failed()

    def write(self, sample: VideoSample, chunks: Iterable[Float[Tensor, "1 3 t h w"]]) -> None:
        """Takes the chunks of a sample, no sooner than there is room; one that is made is left alone.

        Raises:
            Exception: whatever the writing of this sample or of one before it raised.
        """
        if sample.is_made(self.made):
            return
        taken: SimpleQueue[Fetched | _End] = SimpleQueue()
        writing = self._pool.submit(write_sample, self.made, sample, self._in_turn(taken), self.fps)
        writing.add_done_callback(self._tell)
        self._unfinished.append(writing)
        end = _End.EARLY
        try:
            for frames in fetched_frames(sample, chunks):
                self._make_room(frames.nbytes)
                taken.put(frames)
            end = _End.WHOLE
        finally:
            taken.put(end)

    def _in_turn(self, taken: SimpleQueue[Fetched | _End]) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """The frames of a sample, as its writer asks for them."""
        while not isinstance(frames := taken.get(), _End):
            arrived = frames.arrived().numpy()
            with self._changed:
                self._waiting -= frames.nbytes
                self._changed.notify_all()
            yield arrived
        if frames is _End.EARLY:
            raise EOFError("a sample whose making failed is not written")

    def _make_room(self, size: int) -> None:
        """Waits until so many bytes more may wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting + size <= ROOM or not self._waiting or self._failed())
            self._waiting += size
        self._raise_what_failed()

    def _tell(self, _: Future[None]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _failed(self) -> bool:
        return any(writing.done() and writing.exception() for writing in self._unfinished)

    def _raise_what_failed(self) -> None:
        ended = [writing for writing in self._unfinished if writing.done()]  # looked at once: others may end meanwhile
        for writing in ended:
            writing.result()
        self._unfinished = [writing for writing in self._unfinished if writing not in ended]
