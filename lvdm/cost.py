"""What a run of a stage cost: time, and the GPUs that it held meanwhile.

It is of the run that ended well; attempts that were killed before are not counted, only that there were some.
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
    peak_gpu_bytes: int  # of the first GPU, as torch allocated it
    after_killed: bool  # a run that was killed came before, whose own cost is not counted


def cost_since(began: float, machine: Machine, *, after_killed: bool) -> Cost:
    """The cost of what this process did since `began`, on the clock of `time.monotonic`."""
    wall, torch = time.monotonic() - began, sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return Cost(wall, 0.0, "cpu", 0, after_killed)
    held, peak = len(machine.shared_devices), torch.cuda.max_memory_allocated()
    return Cost(wall, wall * held, torch.cuda.get_device_name(), peak, after_killed)
