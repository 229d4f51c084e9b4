"""Tensors to a device and back to the host, without waiting for what the device was told before.

Not here: which device (machine.py).
"""

from __future__ import annotations

import torch


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor` on `device`, without waiting for what the device was told before."""
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


class Fetched:
    """`tensor` on its way to the host, where `arrived` gives it; until then the device is not waited for."""

    def __init__(self, tensor: torch.Tensor):
        self._host, self._there = tensor, None
        if tensor.device.type == "cuda":
            self._host = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
            self._there = torch.cuda.Event(blocking=True)
            self._there.record(torch.cuda.current_stream(tensor.device))

    @property
    def nbytes(self) -> int:
        return self._host.nbytes

    def arrived(self) -> torch.Tensor:
        """The tensor on the host, which may be asked for by another thread."""
        if self._there:
            self._there.synchronize()
        return self._host
