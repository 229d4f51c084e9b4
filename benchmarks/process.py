"""A command as a process of its own, and what it cost.

Not here: what is run (the benchmarks).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvdm.orphan import DIES_WITH

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """Of one process, Python's start included."""

    megabytes: float  # peak resident memory
    seconds: float
    cpu_seconds: float


def environment() -> dict[str, str]:
    """For a process that finds what this one finds, this project's packages too, and ends with it."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {DIES_WITH: str(os.getpid()), "PYTHONPATH": os.pathsep.join(paths)}


def cost_of(command: Sequence[str]) -> Cost:
    """Runs `command` in that environment.

    Raises:
        SystemExit: it failed.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return Cost(usage.ru_maxrss / 1024, time.monotonic() - start, usage.ru_utime + usage.ru_stime)
