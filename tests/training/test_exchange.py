"""Gradients of several devices are averaged in place, each once, and those that are there beside what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from exchange_run import ACCUMULATE, STEPS, Parts
from safetensors.torch import load_file

from lvdm.orphan import DIES_WITH
from lvdm.training.exchange import Exchange, groups_of

ROOT = Path(__file__).parents[2]


def gradients(folder: Path, devices: int, batch: int) -> dict[str, dict[str, torch.Tensor]]:
    """By file, of a run on so many devices."""
    script = str(Path(__file__).with_name("exchange_run.py"))
    environment = {**os.environ, DIES_WITH: str(os.getpid()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, str(folder), f"{devices}", f"{batch}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)
    return {str(path.relative_to(folder)): load_file(path) for path in sorted(folder.rglob("*.gradients"))}


def test_two_devices_step_by_the_mean_gradients_of_all_their_examples(tmp_path):
    """Not by a sum, to which the optimiser alone would be blind; also where batches are summed up before a step."""
    two, one = gradients(tmp_path / "two", 2, 2), gradients(tmp_path / "one", 1, 4)
    assert two.keys() == one.keys() and len(two) == 2 * STEPS
    for file, of_one in one.items():
        assert two[file].keys() == of_one.keys()
        accumulated = file.startswith(f"{ACCUMULATE}/")  # in memory of their own, zeros where nothing came
        assert {"first.weight", "second.bias", "scale"} <= of_one.keys()
        assert ("idle.weight" in of_one) == accumulated
        for name, gradient in of_one.items():
            assert name.startswith("idle") or gradient.abs().max() > 0
            torch.testing.assert_close(two[file][name], gradient, atol=1e-6, rtol=1e-5)
    for_two, for_one = (averages(tmp_path / name / "1" / "state" / "run.ckpt") for name in ("two", "one"))
    assert {len(weight) for weight in for_one} >= {1, 2, 8}, "of one row only one process has a share"
    for weight, expected in zip(for_two, for_one, strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-5)


def averages(state: Path) -> list[torch.Tensor]:
    """The averaged weights of a saved state, whole."""
    return torch.load(state, weights_only=True)["callbacks"]["Average"]["weights"]


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Watched(Exchange):
    """Notes what is there when a group is sent: the names of all parameters that have a gradient."""

    def __init__(self, network: Parts):
        super().__init__(groups_of(network))
        self.network, self.seen = network, []

    def _send(self, number: int) -> None:
        self.seen.append([name for name, p in self.network.named_parameters() if p.grad is not None])
        super()._send(number)


def test_the_gradients_of_a_child_are_sent_when_they_are_there_and_before_those_of_the_child_before_it(alone):
    network = Parts()
    exchange = Watched(network)
    network(torch.ones(1, 64)).sum().backward()
    assert exchange.seen[0] == ["second.weight", "second.bias"]
    assert sorted(exchange.seen[-1]) == ["first.bias", "first.weight", "scale", "second.bias", "second.weight"]
    addresses = {name: p.grad.data_ptr() for name, p in network.named_parameters() if p.grad is not None}
    exchange.finish()
    assert addresses == {name: p.grad.data_ptr() for name, p in network.named_parameters() if p.grad is not None}
    assert len(exchange.seen) == 4  # that of the child without a gradient last


def test_a_network_that_no_longer_trains_is_left_alone(alone):
    network = Parts()
    exchange = Watched(network)
    exchange.close()
    network(torch.ones(1, 64)).sum().backward()
    assert exchange.seen == []


def test_every_weight_that_is_trained_is_in_one_group():
    network = Parts()
    network.second.bias.requires_grad_(False)
    trained = [id(p) for p in network.parameters() if p.requires_grad]
    assert sorted(id(p) for group in groups_of(network) for p in group) == sorted(trained)
    assert all(groups_of(network))
