"""A trained network made ready to compute on a machine: weights in its arithmetic, compiled if machine.yaml says so.

What is computed stays the same up to rounding. Not here: training, which compiles its own (lvdm/training).
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, VideoAutoencoder

N = TypeVar("N", bound=nn.Module)


def ready(network: N, machine: Machine, device: torch.device) -> N:
    """`network` on `device`, in place, to be called under `machine.autocast()`.

    Under autocast the weights of inference would be rounded again at every call: here they are, once. Buffers keep
    their precision.
    """
    network = network.to(device).eval().requires_grad_(False)
    autocast = machine.autocast()
    if autocast._enabled:
        for parameter in network.parameters():
            parameter.data = parameter.data.to(autocast.fast_dtype)
    if machine.compile:
        for part in _compiled(network):
            # a CUDA graph costs one launch; what it writes is overwritten by the next call, which copies nothing
            part.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    return network


def _compiled(network: nn.Module) -> list[nn.Module]:
    """The parts whose inputs are tensors of few shapes."""
    if isinstance(network, VideoAutoencoder):
        return [network.encoder, network.decoder]
    return [] if isinstance(network, Autoencoder) else [network]
