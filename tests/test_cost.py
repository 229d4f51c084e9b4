"""What is written down of the GPUs that a run held, in processes of its own and in others."""

from __future__ import annotations

import time

import pytest

from lvdm import cost
from lvdm.cost import GpuUse, cost_since
from lvdm.machine import Machine


def test_gpus_that_other_processes_held_for_a_run_are_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_by_others", [])
    began, machine = time.monotonic() - 10, Machine(accelerator="cpu", devices=2)
    alone = cost_since(began, machine, after_killed=True)
    assert (alone.device, alone.gpu_seconds, alone.peak_gpu_bytes, alone.after_killed) == ("cpu", 0, 0, True)
    for use in (None, GpuUse(1, "card", 50), GpuUse(0, "card", 3), GpuUse(0, "card", 4)):
        cost.add(use)
    found = cost_since(began, machine, after_killed=False)
    assert (found.device, found.peak_gpu_bytes) == ("card", 7)
    assert found.gpu_seconds == 2 * found.wall_seconds > 20
