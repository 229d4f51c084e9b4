"""A map over items in child processes, where no item can hang or kill the run. They end with the process that maps.

Not here: what is done to an item.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from lvdm.errors import RefusedBySystem
from lvdm.orphan import watch_over_parent

T = TypeVar("T")
R = TypeVar("R")

# Of these an algebra library reads how many threads it starts, each with tens of megabytes of its own: else one a core.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


@dataclass(frozen=True)
class Lost:
    """An item without a result: its process died (`crashed`), or was killed at its limit of time (`timeout`)."""

    reason: Literal["crashed", "timeout"]
    detail: str


def bounded_map(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    seconds: Callable[[T], float],
    max_bytes: int | None = None,
) -> Iterator[tuple[int, R | Lost]]:
    """Yields (index, result) as results come, with `workers` processes at work.

    `function` and the items are pickled. `seconds(item)` is how long an item may take without a `beat`, math.inf for
    ever; `max_bytes` how much memory its process may hold beside the module of `function`, beyond which it sees a
    MemoryError; that process computes in one thread, so that what it holds does not depend on the number of cores. An
    exception in `function` is a crash that says which, unless it is of no item.

    Raises:
        RefusedBySystem: `function` did, as the disk is full: the other items would fare no better.
    """
    crew = [_Worker(function, max_bytes) for _ in range(min(workers, len(items)))]
    waiting = iter(enumerate(items))
    try:
        for worker in crew:
            worker.take(next(waiting), seconds)
        while busy := [worker for worker in crew if worker.index is not None]:
            left = min(w.deadline for w in busy) - time.monotonic()
            wait([w.connection for w in busy], None if left == math.inf else max(0.0, left))
            for worker in busy:
                if worker.connection.poll() or time.monotonic() > worker.deadline:
                    index, outcome = worker.finish()
                    if isinstance(outcome, RefusedBySystem):
                        raise outcome
                    yield index, outcome
                    worker.take(next(waiting, None), seconds)
    finally:
        for worker in crew:
            worker.stop()


class _Worker(Generic[T, R]):
    def __init__(self, function: Callable[[T], R], max_bytes: int | None):
        self.function, self.max_bytes = function, max_bytes
        self.index: int | None = None  # of the item in work
        self.seconds = math.inf  # that it may take without a beat
        self.start()

    @property
    def deadline(self) -> float:
        return self.last_beat.value + self.seconds

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside the threads of torch and s3fs
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.last_beat: Any = context.RawValue("d", 0.0)  # by the clock that all processes share
        self.process = context.Process(target=_serve, args=(theirs, self.last_beat, self.max_bytes), daemon=True)
        self.process.start()
        theirs.close()
        self.send(self.function)

    def send(self, message: object) -> None:
        """What a process that has died does not take, `finish` finds out."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def take(self, numbered: tuple[int, T] | None, seconds: Callable[[T], float]) -> None:
        if numbered is None:
            self.index = None
            return
        if self.connection.closed:
            self.start()
        self.index, item = numbered
        self.seconds, self.last_beat.value = seconds(item), time.monotonic()
        self.send(item)

    def finish(self) -> tuple[int, R | Lost | RefusedBySystem]:
        assert self.index is not None
        result: R | Lost | RefusedBySystem
        try:
            result = (
                self.connection.recv()
                if self.connection.poll()
                else Lost("timeout", "no sign of life within its limit")
            )
        except (EOFError, ConnectionResetError):
            self.process.join()
            result = Lost("crashed", f"exit code {self.process.exitcode}")
        if isinstance(result, Lost):
            self.stop()
        return self.index, result


_last_beat: Any = None  # of this process, if it works for a map


def beat() -> None:
    """Says, from within an item, that it goes on: its time begins anew. Elsewhere it does nothing."""
    if _last_beat is not None:
        _last_beat.value = time.monotonic()


def _limit_memory(max_bytes: int) -> None:
    """Lets this process hold so much more than it does now of memory that it can write to."""
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held + max_bytes if most == resource.RLIM_INFINITY else min(held + max_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _serve(connection: Connection, last_beat: Any, max_bytes: int | None) -> None:
    global _last_beat
    _last_beat = last_beat
    watch_over_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if max_bytes is not None:
        os.environ.update(dict.fromkeys(THREADS, "1"))  # before the function brings its libraries
    function: Callable[[Any], Any] = connection.recv()
    if max_bytes is not None:
        _limit_memory(max_bytes)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            result = function(item)
        except RefusedBySystem as error:
            result = error
        except Exception as error:  # whatever it is, the run that maps must hear of it and go on
            result = Lost("crashed", " ".join(f"{type(error).__name__}: {error}".split()))
        connection.send(result)
