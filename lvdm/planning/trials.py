"""Short runs that are measured: a few steps of training through the library's own `fit`, and calls of inference.

On a GPU the peak is that of torch's allocator; on a CPU that of what torch allocates, by its profiler.
Not here: what is concluded from them (needs.py, plan.py).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lvdm.machine import Machine
from lvdm.training.fit import fit
from lvdm.training.task import Batch, Examples, Task

BEFORE, TIMED = 5, 5  # steps that warm up (and compile), and the least that are timed
LONG_ENOUGH = 1.0  # seconds of steps that are timed: the first short ones wait for the processes that load examples
ENDLESS = {"steps": 10**9, "checkpoint_every": 10**9, "validate_every": 0, "accumulate": 1}


@dataclass(frozen=True)
class Trial:
    """What one step, or one call, took: bytes at the peak of the whole process, and seconds.

    Of a step also the bytes of all gradients.
    """

    bytes: float
    seconds: float
    gradients: float = 0.0


class _Enough(Exception):
    """The steps that were wanted are timed."""


def now(device: torch.device) -> float:
    """The time, in seconds, when the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def train(build: Callable[[], Task], examples: Examples, machine: Machine) -> Trial:
    """Trains the task that `build` makes for a few steps as a stage would, on one device, and throws all of it away.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    alone = machine.model_copy(update={"devices": 1, "strategy": "auto"})
    seconds, gradients = list[float](), list[int]()

    def run() -> None:
        task = build()
        gradients.append(sum(p.numel() * p.element_size() for p in task.parameters() if p.requires_grad))
        seconds.append(seconds_a_step(task, examples, alone, BEFORE, TIMED, LONG_ENOUGH))

    peak = float(peak_of(run, machine.device))
    return Trial(peak, seconds[0], float(gradients[0]))


def seconds_a_step(
    task: Task, examples: Examples, machine: Machine, before: int, timed: int, at_least: float = 0.0
) -> float:
    """The mean over steps of training as a stage takes them, after `before` that are not timed.

    Timed are `timed` of them, and as many again until they have taken `at_least` seconds.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    return fmean(seconds_of_parts(task, examples, machine, before, timed, at_least=at_least))


def seconds_of_parts(
    task: Task, examples: Examples, machine: Machine, before: int, timed: int, parts: int = 1, at_least: float = 0.0
) -> list[float]:
    """The mean seconds a step of each of `parts` parts, `timed` steps each, after `before` steps that are not timed.

    There are more parts if need be, until they have taken `at_least` seconds.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    moments, step = list[float](), task.training_step

    def watched(batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        if task.trainer.global_step == before + timed * len(moments):
            moments.append(now(task.device))
            if len(moments) > parts and moments[-1] - moments[0] >= at_least:
                raise _Enough
        return step(batch, batch_idx)

    task.training_params = task.training_params.model_copy(update=ENDLESS)
    task.__dict__["training_step"] = watched
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
        fit(task, examples, machine, Path(folder))
    return [(end - start) / timed for start, end in itertools.pairwise(moments)]


def call(run: Callable[[], object], device: torch.device, warm_up: int = 2, timed: int = 3) -> Trial:
    """Calls `run` a few times; the first ones compile."""
    for _ in range(warm_up):
        run()
    start = now(device)
    for _ in range(timed):
        run()
    seconds = (now(device) - start) / timed
    return Trial(float(peak_of(run, device)), seconds)


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that were allocated at once, at the most, while `run` ran; on a GPU with what was there before."""
    gc.collect()  # what ran before refers to itself; freed while `run` runs, it would be taken off
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    assert profile.profiler is not None
    events: list[Any] = profile.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
