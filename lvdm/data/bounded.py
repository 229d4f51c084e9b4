"""A map over items in child processes, where no item can hang or kill the run. They end with the process that maps.

Not here: what is done to an item.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

from lvdm.orphan import watch_over_parent

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Lost:
    """An item without a result: its process died (`crashed`) or was killed at its limit (`timeout`)."""

    reason: Literal["crashed", "timeout"]
    detail: str


def bounded_map(
    function: Callable[[T], R], items: Sequence[T], workers: int, seconds: Callable[[T], float]
) -> Iterator[tuple[int, R | Lost]]:
    """Yields (index, result) as results come, with `workers` processes at work.

    `function` and the items are pickled. `seconds(item)` is the wall-clock limit of an item, math.inf for none; an
    exception in `function` counts as a crash.
    """
    crew = [_Worker(function) for _ in range(min(workers, len(items)))]
    waiting = iter(enumerate(items))
    try:
        for worker in crew:
            worker.take(next(waiting), seconds)
        while busy := [worker for worker in crew if worker.index is not None]:
            left = min(w.deadline for w in busy) - time.monotonic()
            wait([w.connection for w in busy], None if left == math.inf else max(0.0, left))
            for worker in busy:
                if worker.connection.poll() or time.monotonic() > worker.deadline:
                    yield worker.finish()
                    worker.take(next(waiting, None), seconds)
    finally:
        for worker in crew:
            worker.stop()


class _Worker(Generic[T, R]):
    def __init__(self, function: Callable[[T], R]):
        self.function = function
        self.index: int | None = None  # of the item in work
        self.deadline = 0.0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside the threads of torch and s3fs
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.function, theirs), daemon=True)
        self.process.start()
        theirs.close()

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
        self.deadline = time.monotonic() + seconds(item)
        self.connection.send(item)

    def finish(self) -> tuple[int, R | Lost]:
        assert self.index is not None
        result: R | Lost
        try:
            result = (
                self.connection.recv() if self.connection.poll() else Lost("timeout", "the wall-clock limit passed")
            )
        except (EOFError, ConnectionResetError):
            self.process.join()
            result = Lost("crashed", f"exit code {self.process.exitcode}")
        if isinstance(result, Lost):
            self.stop()
        return self.index, result


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    watch_over_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(function(item))
