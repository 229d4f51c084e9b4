"""Tensors sharded over the devices: all of a task (FSDP2, arXiv 2304.11277), shares of what all have; whole again.

Everything here leaves what is not sharded as it is. Not here: how a network is fitted (fit.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor


def shard(task: pl.LightningModule, entries: Iterable[str]) -> None:
    """Shards the parameters of `task` over all devices; what it computes stays the same.

    Parameters are gathered when they are needed, an entry of a list of modules (as a level of the UNet) at a time, and
    those in no such list together. `entries` names the methods of `task` that compute.
    """
    for parameter in task.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP takes no other
    device = task.trainer.strategy.root_device  # the task itself is moved there later
    mesh = init_device_mesh(device.type, (task.trainer.world_size,))
    for unit in _units(task):
        fully_shard(unit, mesh=mesh)
    fully_shard(task, mesh=mesh, reshard_after_forward=True)  # else a pass without a backward leaves it whole
    for entry in entries:
        register_fsdp_forward_method(task, entry)


def _units(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else _units(child)


def shares(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors that every process has, equal, as if they were sharded by their first dimension, sharing their memory."""
    every = list(tensors)
    if not dist.is_initialized() or not every:
        return every
    mesh = init_device_mesh(every[0].device.type, (dist.get_world_size(),))  # one: each may be a process group more
    return [t if isinstance(t, DTensor) else _share(t, mesh) for t in every]


def _share(tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    parts = tensor.detach().chunk(mesh.size())  # fewer where it is too short for all
    part = parts[mesh.get_rank()] if mesh.get_rank() < len(parts) else tensor.detach()[:0]
    return DTensor.from_local(part, mesh, [Shard(0)], shape=tensor.shape, stride=tensor.stride())


def shards(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The part of each tensor that lies on this device, sharing its memory."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all devices; a sharded one is gathered, so every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A copy of `tensor` that lies over the devices and in memory as `parameter` does.

    A tensor that is not sharded has to be equal in every process.
    """
    if isinstance(parameter, DTensor) and not isinstance(tensor, DTensor):
        tensor = distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def assign(parameter: Tensor, tensor: Tensor) -> None:
    """Gives `parameter` the values of `tensor`, which is gathered if it alone is sharded: every process has to ask."""
    parameter.copy_(tensor if isinstance(parameter, DTensor) else whole(tensor))
