"""Attention of a video: over the positions of a frame, over the frames of a position, and to the tokens of a text.

Not here: which levels of a network attend; that is in denoiser.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lvdm.models.layers import channel_norm, zero_initialised
from lvdm.params.sections import MAX_WINDOW

ROTARY_BASE = 100.0  # wavelengths of 6 to 600 latents
TILE = 64  # tokens that a GPU's attention kernels work on at once: shorter sequences cost as much


class SelfAttention(nn.Module):
    """Normalise, attend, add: the part that both axes share."""

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.head_channels = head_channels
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_initialised(nn.Linear(channels, channels))

    def attend(
        self, tokens: Float[Tensor, "g n c"], turns: Tensor | None = None, mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "g n c"]:
        q, k, v = rearrange(self.qkv(tokens), "g n (three m d) -> three g m n d", three=3, d=self.head_channels)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(rearrange(attended, "g m n d -> g n (m d)"))


class SpatialAttention(SelfAttention):
    """Every position of a frame attends to all positions of that frame."""

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        b, _, _, h, _ = x.shape
        tokens = rearrange(channel_norm(x), "b c t h w -> (b t) (h w) c")
        return x + rearrange(self.attend(tokens), "(b t) (h w) c -> b c t h w", b=b, h=h)


class TemporalAttention(SelfAttention):
    """Every frame of a position attends to all frames of that position, told apart by rotary positions.

    Neighbouring positions share a sequence, as many as fill a tile, and a mask keeps them apart: with one sequence of
    a handful of frames for each position a GPU would compute mostly padding.
    """

    def __init__(self, channels: int, head_channels: int):
        super().__init__(channels, head_channels)
        self.register_buffer("turns", rotary_turns(MAX_WINDOW, head_channels), persistent=False)
        self.turns: Tensor

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        b, _, t, h, w = x.shape
        p = positions_together(t, h * w)
        tokens = rearrange(channel_norm(x).flatten(3), "b c t (s p) -> (b s) (t p) c", p=p)
        position = torch.arange(t * p, device=x.device) % p
        mask = position[:, None] == position if p > 1 else None
        attended = self.attend(tokens, self.turns[:, :t].repeat_interleave(p, dim=1), mask)
        return x + rearrange(attended, "(b s) (t p) c -> b c t (s p)", b=b, p=p).unflatten(3, (h, w))


class CrossAttention(nn.Module):
    """Every position of every frame attends to the tokens of its window's text, padding left out.

    Tokens are normalised first: encoders differ in scale.
    """

    def __init__(self, channels: int, token_channels: int, head_channels: int):
        super().__init__()
        self.head_channels = head_channels
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(token_channels, 2 * channels)
        self.out = zero_initialised(nn.Linear(channels, channels))

    def forward(
        self, x: Float[Tensor, "b c t h w"], tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b c t h w"]:
        _, _, t, h, _ = x.shape
        queries = self.q(rearrange(channel_norm(x), "b c t h w -> b (t h w) c"))
        q = rearrange(queries, "b g (m d) -> b m g d", d=self.head_channels)
        normalised = F.layer_norm(tokens.to(x.dtype), tokens.shape[-1:])
        k, v = rearrange(self.kv(normalised), "b n (two m d) -> two b m n d", two=2, d=self.head_channels)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return x + rearrange(
            self.out(rearrange(attended, "b m g d -> b g (m d)")), "b (t h w) c -> b c t h w", t=t, h=h
        )


def positions_together(frames: int, positions: int) -> int:
    """How many positions share a sequence: the largest power of two that divides their number and fits into a tile.

    At least one, however many frames it has.
    """
    return math.gcd(positions, 1 << max(TILE // frames, 1).bit_length() - 1)


def rotary_turns(length: int, channels: int) -> Float[Tensor, "two n e"]:
    """Cosine and sine of the angle of each position and pair of channels (Su et al., arXiv 2104.09864)."""
    pairs = torch.arange(0, channels, 2, dtype=torch.float32)
    angles = torch.arange(length)[:, None] * ROTARY_BASE ** (-pairs / channels)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Float[Tensor, "*g n d"], turns: Float[Tensor, "two n e"]) -> Float[Tensor, "*g n d"]:
    """`x` with each pair of channels (i, i + d/2) turned by the angle of its position."""
    real, imaginary = x.chunk(2, dim=-1)
    cos, sin = turns.to(x.dtype)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
