"""What is written down of the GPUs that a run held, in processes of its own and in others."""

from __future__ import annotations

import time

import pytest
import torch

from lvdm import cost
from lvdm.cost import GpuUse, cost_since, start_counting
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_run_that_puts_nothing_on_a_gpu_is_charged_none_and_one_that_does_its_own_peak() -> None:
    machine, held = Machine(accelerator="cpu"), torch.zeros(2**20, device="cuda")
    torch.zeros(2**26, device="cuda")
    assert GpuUse.of_this_process().peak_bytes >= 2**28
    assert cost_since(start_counting(), machine, after_killed=False).device == "cpu"
    began = start_counting()
    added = held + 1
    cost = cost_since(began, machine, after_killed=False)
    assert cost.gpu_seconds > 0
    assert held.nbytes + added.nbytes <= cost.peak_gpu_bytes < 2**27
