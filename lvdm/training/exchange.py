"""Gradients averaged over devices where they lie: Lightning's data parallelism without the buckets of torch's.

torch's DDP copies every gradient into buckets of its own to exchange it: at the sizes of `reference` 2 GB a step, and
as much memory. Not here: weights that are sharded over devices (sharding.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn


def groups_of(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters that train of each child of a network, and those that are in no child."""
    groups = [network.parameters(recurse=False), *(child.parameters() for child in network.children())]
    trained = [[parameter for parameter in group if parameter.requires_grad] for group in groups]
    return [group for group in trained if group]


class Exchange:
    """Sums the gradients of a backward pass over all processes, in place, a group of parameters at a time.

    A group is sent off when the last of its gradients is there, beside the rest of the backward pass. A parameter has
    to have a gradient in every process or in none: processes that send different groups wait for each other for ever.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]]):
        self.groups, self.blocked = groups, False
        self._missing = [len(group) for group in groups]
        self._under_way: list[dist.Work] = []
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, number))
            for number, group in enumerate(groups)
            for parameter in group
        ]

    def finish(self) -> None:
        """After a backward pass: sends groups of which some gradients never came, and has the device wait for all."""
        for number, missing in enumerate(self._missing):
            if missing:
                self._send(number)
        for sums in self._under_way:
            sums.wait()
        self._under_way = []
        self._missing = [len(group) for group in self.groups]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _arrived(self, number: int, _: Tensor) -> None:
        self._missing[number] -= 1
        if not self._missing[number]:
            self._send(number)

    def _send(self, number: int) -> None:
        gradients = [parameter.grad for parameter in self.groups[number] if parameter.grad is not None]
        if gradients and not self.blocked:
            assert dist.group.WORLD is not None
            self._under_way.append(dist.group.WORLD.allreduce_coalesced(gradients))


class DataParallel(DDPStrategy):
    """Every process has all weights, equal because a run is a function of its configuration, and the mean gradients.

    The gradients of each child of a network are exchanged together: those of a denoiser's body beside the backward
    pass of its stem, those of a decoder beside that of its encoder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange([])

    def configure_ddp(self) -> None:
        assert self.lightning_module is not None
        networks = self.lightning_module.children()
        self.exchange = Exchange([group for network in networks for group in groups_of(network)])

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # Lightning's, the rest its own
        return super().backward(closure_loss / self.world_size, *args, **kwargs)  # sums are then means

    def post_backward(self, closure_loss: Tensor) -> None:
        self.exchange.finish()

    @contextlib.contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        self.exchange.blocked = True
        try:
            yield
        finally:
            self.exchange.blocked = False

    def teardown(self) -> None:
        self.exchange.close()
        super().teardown()
