"""How a task is sharded: an entry of its lists at a time, all of its parameters, and back to whole tensors."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from lvdm.training.callbacks import Average
from lvdm.training.sharding import assign, laid_out_as, shard, shards, shares, whole


class Level(nn.Module):
    """With a list within."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[0](x).relu()


class Task(pl.LightningModule):
    """A list of two levels, and parameters beside."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Linear(2, 3), Level()])
        self.beside = nn.Linear(3, 1)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.beside(self.levels[1](self.levels[0](x))).square().mean()


@pytest.fixture
def task() -> Iterator[Task]:
    """In a group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    one = Task()
    one.trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, barebones=False)
    yield one
    distributed.destroy_process_group()


def test_a_task_is_sharded_an_entry_of_its_lists_at_a_time_and_computes_what_it_did(task: Task) -> None:
    x = torch.randn(5, 2)
    before = {name: parameter.detach().clone() for name, parameter in task.named_parameters()}
    loss = task.loss(x)
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in task.parameters() if parameter.grad is not None]
    task.zero_grad()
    shard(task, ["loss"])
    units = {name for name, module in task.named_modules() if isinstance(module, FSDPModule)}
    assert units == {"", "levels.0", "levels.1"}, "gathered one after the other, those within with what holds them"
    assert all(isinstance(parameter, DTensor) for parameter in task.parameters())
    with torch.no_grad():
        task.loss(x)
    assert all(isinstance(p, DTensor) for p in task.parameters()), "whole for no longer than it is needed"
    again = task.loss(x)
    again.backward()
    assert again.item() == pytest.approx(loss.item())
    for (name, parameter), gradient in zip(task.named_parameters(), gradients, strict=True):
        assert torch.equal(whole(parameter), before[name])
        assert parameter.grad is not None
        torch.testing.assert_close(whole(parameter.grad), gradient)


def test_what_lies_here_shares_its_memory_and_a_copy_lies_as_its_parameter_does(task: Task) -> None:
    plain = torch.arange(6.0).reshape(3, 2)
    assert whole(plain) is plain and shards([plain])[0] is plain
    shard(task, ["loss"])
    parameter = task.levels[0].weight
    copy = laid_out_as(parameter, plain)
    assert isinstance(copy, DTensor) and copy.placements == parameter.placements and not copy.requires_grad
    assert torch.equal(whole(copy), plain)
    (here,) = shards([copy])
    assert type(here) is torch.Tensor
    here.zero_()
    assert not whole(copy).any() and plain.any()
    beside = laid_out_as(nn.Parameter(torch.zeros(3, 2)), plain)
    assert torch.equal(beside, plain) and beside is not plain and not beside.requires_grad


@pytest.mark.parametrize("rows", [1, 5, 6])
def test_processes_share_a_tensor_out_and_each_sees_its_own_memory(rows: int) -> None:
    """The fake group moves nothing: each rank is asked in turn, of a tensor that is not contiguous."""
    tensor = torch.arange(rows * 12.0).reshape(rows, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    seen = []
    for rank in range(3):
        distributed.init_process_group("fake", store=distributed.HashStore(), rank=rank, world_size=3)
        try:
            (share,) = shares([tensor])
            assert isinstance(share, DTensor) and share.shape == tensor.shape
            (part,) = shards([share])
            (copy,) = shards([laid_out_as(share, share)])
            assert copy.stride() == part.stride(), "else the average of all weights is no single kernel"
            seen.append(part.clone())
            part += 100
        finally:
            distributed.destroy_process_group()
    assert torch.equal(torch.cat(seen) + 100, tensor), "every row once"
    assert shares([tensor])[0] is tensor, "alone"


def test_each_process_averages_its_share_of_the_weights_alone() -> None:
    """The second of two, in a fake group, which moves nothing."""
    module, trainer = pl.LightningModule(), Mock(spec=pl.Trainer, global_step=1)
    module.network = nn.Linear(2, 6, bias=False)
    with torch.no_grad():
        module.network.weight.zero_()
    distributed.init_process_group("fake", store=distributed.HashStore(), rank=1, world_size=2)
    try:
        average = Average(0.5)
        average.on_train_start(trainer, module)
        assert [tuple(part.shape) for part in shards(average.weights)] == [(3, 2)]
        with torch.no_grad():
            module.network.weight.fill_(11)
        average.after_step(trainer, module)
        (part,) = shards(average.weights)
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(part, torch.full((3, 2), 11 * (1 - 2 / 11)))


def test_a_parameter_takes_values_as_it_lies_itself(task: Task) -> None:
    plain, other = nn.Parameter(torch.zeros(3, 2)), torch.arange(6.0).reshape(3, 2)
    with torch.no_grad():
        assign(plain, shares([other])[0])
        assert torch.equal(plain, other)
        shard(task, ["loss"])
        sharded = task.levels[0].weight
        assign(sharded, laid_out_as(sharded, other))
    assert isinstance(sharded, DTensor) and torch.equal(whole(sharded), other)
