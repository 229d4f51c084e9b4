"""Every random number of this room: drawn for one sample at a time, so that none depends on the batch.

Not here: what the numbers are used for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """A seed that is a function of `key` alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "big")


def generator_of(*key: int | str) -> torch.Generator:
    """A generator on the CPU whose numbers are a function of `key` alone."""
    return torch.Generator().manual_seed(seed_of(*key))


def draw_noise(generators: Sequence[torch.Generator], like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Standard normal noise of the shape, dtype and device of `like`; row i comes from generator i alone."""
    drawn = torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=like.device.type == "cuda")
    for row, generator in zip(drawn, generators, strict=True):
        row.normal_(generator=generator)
    return drawn.to(like.device, non_blocking=True)


def draw_uniform(generators: Sequence[torch.Generator], count: int) -> Float[Tensor, "b count"]:
    """`count` numbers of [0, 1) a sample, float32; row i comes from generator i alone."""
    return torch.stack([torch.rand(count, generator=g, device=g.device) for g in generators])
