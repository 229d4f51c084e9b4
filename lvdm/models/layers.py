"""The layers that the autoencoder and the denoiser share, for videos laid out `b c t h w`, channels last in memory.

At the end, what is done to all layers of a network. Not here: which layers one has, diffusion and training.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Factors = tuple[int, int, int]  # of time, height, width
LEAST_NORM, LEAST_IN_HALF = 1e-4, 1e-3  # sqrt(channels) over the latter is in reach of float16 up to 4,000 channels


def channel_norm(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
    """`x` divided by the root mean square over the channels of each position (pixel norm, arXiv 1710.10196).

    No statistics over time or space, so a frame never sees another one through it. One reduction and one product:
    F.rms_norm is 40 times slower on a CPU when channels are last in memory only, and torch.compile fuses this one.
    """
    at_least_float32 = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=at_least_float32)
    least = LEAST_IN_HALF if x.dtype == torch.float16 else LEAST_NORM
    return x * (x.shape[1] ** 0.5 / norm.clamp(min=least)).to(x.dtype)


class CausalState:
    """The last input frames of every causal convolution: what the next chunk of a video needs of the chunks before."""

    def __init__(self) -> None:
        self._last: dict[nn.Module, Tensor] = {}

    def extend(self, layer: nn.Module, x: Tensor, num_before: int) -> Tensor:
        """`x` after the last `num_before` input frames of `layer`; at the start of a video, after its first frame."""
        before = [self._last[layer]] if layer in self._last else [x[:, :, :1]] * num_before
        x = torch.cat([*before, x], dim=2)
        self._last[layer] = x[:, :, -num_before:].clone()
        return x


class CausalConvolution(nn.Conv3d):
    """A 3D convolution whose output frame t sees input frames up to t alone; the first frame stands for those before.

    With a state, a video convolved in chunks gives the numbers of the whole, up to rounding.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Factors):
        super().__init__(in_channels, out_channels, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.num_before = kernel[0] - 1

    def forward(  # type: ignore[override]  # torch's convolution has no state
        self, x: Float[Tensor, "b c t h w"], state: CausalState | None = None
    ) -> Float[Tensor, "b d t h w"]:
        if self.num_before:
            x = (state or CausalState()).extend(self, x, self.num_before)
        return super().forward(x)


class PointwiseConvolution(nn.Linear):
    """A convolution of one position, which is a product of matrices.

    As `nn.Conv3d` its weight would not say how it is laid out, and torch.compile would lay `x` out channels first.
    """

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        positions = rearrange(x, "b c t h w -> b t h w c").contiguous()  # else rounding depends on gradients
        return _as_channels_last(super().forward(positions))


def space_to_depth(x: Float[Tensor, "b c t h w"], factors: Factors) -> Float[Tensor, "b d u i j"]:
    """Gathers blocks of `factors` frames, rows and columns into channels; output frame i holds all of group i."""
    t, h, w = factors
    return _as_channels_last(rearrange(x, "b c (u t) (i h) (j w) -> b u i j (t h w c)", t=t, h=h, w=w))


def depth_to_space(x: Float[Tensor, "b d u i j"], factors: Factors) -> Float[Tensor, "b c t h w"]:
    """The inverse of `space_to_depth`."""
    t, h, w = factors
    return _as_channels_last(rearrange(x, "b (t h w c) u i j -> b (u t) (i h) (j w) c", t=t, h=h, w=w))


def resized(x: Float[Tensor, "b c t i j"], height: int, width: int) -> Float[Tensor, "b c t h w"]:
    """Each frame at another size, by its nearest pixels."""
    frames = rearrange(x, "b c t i j -> (b t) c i j")  # of five dimensions, torch would lay out channels first
    return rearrange(F.interpolate(frames, (height, width)), "(b t) c h w -> b c t h w", b=len(x))


def _as_channels_last(x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b c t h w"]:
    return rearrange(x, "b t h w c -> b c t h w")


class Blocks(nn.ModuleList):
    """Blocks in a row, each given `x` of the one before and the same besides.

    What a block computes is kept for the backward pass, unless `recomputed`: then only `x` before each block is kept,
    and the rest is computed again when it is needed. Less memory, a third more time, the same gradients.
    """

    recomputed = False

    def forward(self, x: Float[Tensor, "b c t h w"], *besides: Any) -> Float[Tensor, "b d t h w"]:
        for block in self:
            if self.recomputed and torch.is_grad_enabled():
                x = checkpoint(block, x, *besides, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, *besides)
        return x


def recompute(network: nn.Module) -> None:
    """Trades time for memory in the training of `network`, in place."""
    for module in network.modules():
        if isinstance(module, Blocks):
            module.recomputed = True


def channels_last(network: nn.Module) -> None:
    """Lays the convolutions of `network` out with channels last, which saves cuDNN and oneDNN their transpositions."""
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)


L = TypeVar("L", bound=nn.Module)


def zero_initialised(layer: L) -> L:
    """`layer` with an output of zeros, so that a residual branch begins as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
