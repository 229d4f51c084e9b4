"""The video autoencoder: clips in [-1, 1] to whitened latents and back, causal in time, in chunks of any size.

Latent i stands for frames n*i .. n*i + n-1, n the time factor, and sees all of them and none later: each resampling
gathers whole groups of frames into channels. Not here: losses and training; those are in lvdm/training.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lvdm.errors import ParamsError
from lvdm.models.layers import (
    Blocks,
    CausalConvolution,
    CausalState,
    Factors,
    PointwiseConvolution,
    channel_norm,
    channels_last,
    depth_to_space,
    space_to_depth,
    zero_initialised,
)
from lvdm.params import AutoencoderNetwork


class Autoencoder(nn.Module, ABC):
    """What every autoencoder offers: whitened latents, whole or in chunks, and the measurement that whitens them."""

    def __init__(self, config: AutoencoderNetwork):
        super().__init__()
        self.config = config
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))
        self.latent_mean: Tensor
        self.latent_std: Tensor

    @abstractmethod
    def moments(
        self, clip: Float[Tensor, "b 3 t h w"], state: CausalState | None = None
    ) -> tuple[Float[Tensor, "b c u i j"], Float[Tensor, "b c u i j"]]:
        """Mean and log-variance of the raw latent.

        Raises:
            ParamsError: frames or sides are no multiples of the factors.
        """

    @abstractmethod
    def reconstruct(
        self, raw_latent: Float[Tensor, "b c u i j"], state: CausalState | None = None
    ) -> Float[Tensor, "b 3 t h w"]:
        """The clip of a raw latent."""

    def encode(self, clip: Float[Tensor, "b 3 t h w"], state: CausalState | None = None) -> Float[Tensor, "b c u i j"]:
        """The whitened mean latent of a clip; with a state, of the next chunk of a video.

        Raises:
            ParamsError: frames or sides are no multiples of the factors.
        """
        mean, _ = self.moments(clip, state)
        return (mean - _per_channel(self.latent_mean)) / _per_channel(self.latent_std)

    def decode(
        self, latent: Float[Tensor, "b c u i j"], state: CausalState | None = None
    ) -> Float[Tensor, "b 3 t h w"]:
        """The clip of a whitened latent; with a state, the next chunk of a video."""
        return self.reconstruct(latent * _per_channel(self.latent_std) + _per_channel(self.latent_mean), state)

    def encode_stream(self, chunks: Iterable[Float[Tensor, "b 3 _t h w"]]) -> Iterator[Float[Tensor, "b c _u i j"]]:
        """The latents of a video that comes in chunks of any sizes: up to rounding those of the whole; constant memory.

        Frames wait for the chunk that completes their latent; at the end those that complete none are left out.
        """
        state, waiting = CausalState(), None
        for chunk in chunks:
            frames = chunk if waiting is None else torch.cat([waiting, chunk], dim=2)
            complete = frames.shape[2] // self.config.time_factor * self.config.time_factor
            if complete:
                yield self.encode(frames[:, :, :complete], state)
            waiting = frames[:, :, complete:].clone()

    def decode_stream(self, chunks: Iterable[Float[Tensor, "b c _u i j"]]) -> Iterator[Float[Tensor, "b 3 _t h w"]]:
        """The video of latents that come in chunks of any sizes: up to rounding that of the whole; constant memory."""
        state = CausalState()
        return (self.decode(chunk, state) for chunk in chunks)

    def measure_latents(self, clips: Iterable[Float[Tensor, "_b 3 _t h w"]]) -> None:
        """Sets the whitening to the mean and standard deviation of each channel over `clips`, summed in float64."""
        count, sums, sums_of_squares = 0, torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            for clip in clips:
                raw_latent = self.moments(clip)[0].double()
                count += raw_latent[:, 0].numel()
                sums = raw_latent.sum(dim=(0, 2, 3, 4)) + sums
                sums_of_squares = raw_latent.square().sum(dim=(0, 2, 3, 4)) + sums_of_squares
            assert count > 0, "measure_latents needs a clip"
            mean = sums / count
            self.latent_mean.copy_(mean)
            self.latent_std.copy_((sums_of_squares / count - mean.square()).clamp(min=1e-12).sqrt())


class VideoAutoencoder(Autoencoder):
    """Causal 3D convolutions between a clip and a diagonal Gaussian over its raw latent."""

    def __init__(self, config: AutoencoderNetwork):
        super().__init__(config)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        channels_last(self)

    def moments(
        self, clip: Float[Tensor, "b 3 t h w"], state: CausalState | None = None
    ) -> tuple[Float[Tensor, "b c u i j"], Float[Tensor, "b c u i j"]]:
        _check_multiples(clip, self.config)
        mean, logvar = _kept(self.encoder(clip, state)).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def reconstruct(
        self, raw_latent: Float[Tensor, "b c u i j"], state: CausalState | None = None
    ) -> Float[Tensor, "b 3 t h w"]:
        return _kept(self.decoder(raw_latent, state))


class IdentityAutoencoder(Autoencoder):
    """Pixels as latents, whitened: with it the denoiser is a diffusion model of pixels (VDM, arXiv 2204.03458)."""

    def moments(
        self, clip: Float[Tensor, "b 3 t h w"], state: CausalState | None = None
    ) -> tuple[Float[Tensor, "b c u i j"], Float[Tensor, "b c u i j"]]:
        return clip, torch.full_like(clip, -30)

    def reconstruct(
        self, raw_latent: Float[Tensor, "b c u i j"], state: CausalState | None = None
    ) -> Float[Tensor, "b 3 t h w"]:
        return raw_latent


def build_autoencoder(config: AutoencoderNetwork) -> Autoencoder:
    """The untrained autoencoder that `config` describes."""
    return VideoAutoencoder(config) if config.kind == "causal" else IdentityAutoencoder(config)


def resampling_plan(config: AutoencoderNetwork) -> tuple[Factors, list[Factors]]:
    """The patch that the input is cut into, and the factors between each two levels, finest first.

    Each step between levels halves what is left to halve, in space and in time; the patch takes the rest.
    """
    time: int = config.time_factor
    space: int = config.space_factor
    resamplings: list[Factors] = []
    for _ in config.channels[1:]:
        t, s = min(time, 2), min(space, 2)
        resamplings.insert(0, (t, s, s))
        time, space = time // t, space // s
    return (time, space, space), resamplings


class CausalBlock(nn.Module):
    """A residual block: a convolution in space, then a causal one in time.

    At equal seconds of training it reconstructs better than 3x3x3 convolutions, which cost 4.5 times as much.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.in_space = CausalConvolution(channels, channels, (1, 3, 3))
        self.in_time = zero_initialised(CausalConvolution(channels, channels, (3, 1, 1)))

    def forward(self, x: Float[Tensor, "b c t h w"], state: CausalState | None) -> Float[Tensor, "b c t h w"]:
        h = self.in_space(F.silu(channel_norm(x)), state)
        return x + self.in_time(F.silu(channel_norm(h)), state)


class CausalLevel(nn.Module):
    """The residual blocks of one resolution."""

    def __init__(self, channels: int, num_blocks: int):
        super().__init__()
        self.blocks = Blocks(CausalBlock(channels) for _ in range(num_blocks))

    def forward(self, x: Float[Tensor, "b c t h w"], state: CausalState | None) -> Float[Tensor, "b c t h w"]:
        return self.blocks(x, state)


class Encoder(nn.Module):
    """A clip to the two moments of its raw latent, stacked in channels."""

    def __init__(self, config: AutoencoderNetwork):
        super().__init__()
        channels = config.channels
        self.patch, self.resamplings = resampling_plan(config)
        self.first = PointwiseConvolution(3 * math.prod(self.patch), channels[0])
        self.levels = nn.ModuleList(CausalLevel(width, config.encoder_blocks) for width in channels)
        self.downs = nn.ModuleList(
            PointwiseConvolution(fine * math.prod(factors), coarse)
            for (fine, coarse), factors in zip(pairwise(channels), self.resamplings, strict=True)
        )
        self.last = PointwiseConvolution(channels[-1], 2 * config.latent_channels)

    def forward(self, clip: Float[Tensor, "b 3 t h w"], state: CausalState | None = None) -> Float[Tensor, "b d u i j"]:
        x = self.first(space_to_depth(clip, self.patch))
        x = self.levels[0](x, state)
        for factors, down, level in zip(self.resamplings, self.downs, self.levels[1:], strict=True):
            x = level(down(space_to_depth(x, factors)), state)
        return self.last(F.silu(channel_norm(x)))


class Decoder(nn.Module):
    """A raw latent to its clip: the encoder's levels in reverse."""

    def __init__(self, config: AutoencoderNetwork):
        super().__init__()
        channels = config.channels
        self.patch, resamplings = resampling_plan(config)
        self.resamplings = resamplings[::-1]
        self.first = CausalConvolution(config.latent_channels, channels[-1], (3, 3, 3))
        self.levels = nn.ModuleList(CausalLevel(width, config.decoder_blocks) for width in channels[::-1])
        self.ups = nn.ModuleList(
            PointwiseConvolution(coarse, fine * math.prod(factors))
            for (coarse, fine), factors in zip(pairwise(channels[::-1]), self.resamplings, strict=True)
        )
        self.last = CausalConvolution(channels[0], 3 * math.prod(self.patch), (1, 3, 3))

    def forward(
        self, raw_latent: Float[Tensor, "b c u i j"], state: CausalState | None = None
    ) -> Float[Tensor, "b 3 t h w"]:
        x = self.first(raw_latent.contiguous(memory_format=torch.channels_last_3d), state)
        x = self.levels[0](x, state)
        for factors, up, level in zip(self.resamplings, self.ups, self.levels[1:], strict=True):
            x = level(depth_to_space(up(x), factors), state)
        return depth_to_space(self.last(F.silu(channel_norm(x)), state), self.patch)


def _kept(result: Tensor) -> Tensor:
    """What a compiled part returned, out of reach of its next pass: a CUDA graph reuses what no backward pass needs."""
    return result if torch.is_grad_enabled() else result.clone()


def _per_channel(values: Float[Tensor, " c"]) -> Float[Tensor, "c 1 1 1"]:
    return values[:, None, None, None]


def _check_multiples(clip: Tensor, config: AutoencoderNetwork) -> None:
    t, h, w = clip.shape[2:]
    if t % config.time_factor or h % config.space_factor or w % config.space_factor:
        raise ParamsError(
            "a clip for the autoencoder (frames, height, width)",
            expected=f"multiples of {config.time_factor}, {config.space_factor} and {config.space_factor}",
            got=(t, h, w),
            remedy="change clips.frames or clips.size, or the factors of the autoencoder",
        )
