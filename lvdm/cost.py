"""What a run of a stage cost: time, and the GPUs that it held meanwhile.

It is of the run that ended well; attempts that were killed before are not counted, only that there were some. What
other processes did for it on GPUs, they say themselves (`GpuUse`), and this one adds it up.
Not here: who writes it down (run.py). This module loads no torch.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from lvdm.machine import Machine


@dataclass(frozen=True)
class Cost:
    """Of one run of one stage."""

    wall_seconds: float
    gpu_seconds: float  # wall time times the GPUs held; 0 if none was
    device: str  # the GPU's name, or cpu
    peak_gpu_bytes: int  # of the first GPU, as torch allocated it; of several processes on it the sum of their peaks
    after_killed: bool  # a run that was killed came before, whose own cost is not counted


@dataclass(frozen=True)
class GpuUse:
    """What one process held of a GPU."""

    index: int
    name: str
    peak_bytes: int

    @classmethod
    def of_this_process(cls) -> GpuUse | None:
        """Of the current GPU; None if this process put nothing on it since `start_counting`, or ever."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return None
        if not torch.cuda.memory_stats()["allocated_bytes.all.allocated"]:
            return None
        return cls(torch.cuda.current_device(), torch.cuda.get_device_name(), torch.cuda.max_memory_allocated())


_by_others: list[GpuUse] = []


def start_counting() -> float:
    """Forgets what was held for the run before in this process; returns when, on the clock of `time.monotonic`."""
    _by_others.clear()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
            torch.cuda.reset_accumulated_memory_stats(index)
    return time.monotonic()


def add(use: GpuUse | None) -> None:
    """Counts what another process held while it worked for this one."""
    if use is not None:
        _by_others.append(use)


def cost_since(began: float, machine: Machine, *, after_killed: bool) -> Cost:
    """The cost of what this process did since `began`, which `start_counting` returned."""
    wall, own = time.monotonic() - began, GpuUse.of_this_process()
    uses = [*_by_others, *([own] if own else [])]
    if not uses:
        return Cost(wall, 0.0, "cpu", 0, after_killed)
    first = min(use.index for use in uses)
    peak = sum(use.peak_bytes for use in uses if use.index == first)
    return Cost(wall, wall * len(machine.shared_devices), uses[0].name, peak, after_killed)
