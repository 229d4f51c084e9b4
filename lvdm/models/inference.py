"""A trained network made ready to compute on a machine: weights in its arithmetic, compiled if machine.yaml says so.

What is computed stays the same up to rounding. Not here: training, which compiles its own (lvdm/training), and
encoding, whose processes wait for the decoding of videos, not for the GPU.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, VideoAutoencoder
from lvdm.models.compilation import GRAPHS, compile_all

N = TypeVar("N", bound=nn.Module)


def ready(network: N, machine: Machine, device: torch.device) -> N:
    """`network` on `device`, in place, to be called under `machine.autocast()`.

    Autocast would round the weights again at every call: here they are rounded once. Buffers keep their precision.
    """
    network = network.to(device).eval().requires_grad_(False)
    if machine.arithmetic != "float32":
        for parameter in network.parameters():
            parameter.data = parameter.data.to(getattr(torch, machine.arithmetic))
    if machine.compile and isinstance(network, VideoAutoencoder):
        compile_all([network.encoder, network.decoder], dynamic=False)  # clips and chunks have few sizes
    elif machine.compile and not isinstance(network, Autoencoder):
        compile_all([network], mode=GRAPHS if device.type == "cuda" else "default")
    return network
