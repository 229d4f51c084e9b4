"""The denoiser: the paper's factorised 3D UNet, with a noise level for every frame.

Convolutions and attention are spatial or temporal, never both; resampling is spatial. What a level means (schedule,
prediction) belongs to lvdm/diffusion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lvdm.models.attention import CrossAttention, SpatialAttention, TemporalAttention
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.layers import Blocks, PointwiseConvolution, channel_norm, channels_last, resized, zero_initialised
from lvdm.params import DenoiserNetwork

MAX_PERIOD = 10_000.0


class Denoiser(nn.Module):
    """Predicts v, eps or x0, shaped like its input, from noisy latents, the level of each, their stride and a prompt.

    A backward pass comes through the body first, so that on several GPUs its gradients, most of all, are exchanged
    while those of the stem are computed.

    Args:
        config: sizes.
        latent_channels: of the autoencoder.
        vocabulary: what it can be asked for.
    """

    def __init__(self, config: DenoiserNetwork, latent_channels: int, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.latent_channels = config, latent_channels
        token_channels = vocabulary.token_channels
        widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
        condition = FrameEmbedding(config.channels, 4 * config.channels, len(vocabulary.labels))
        first = spatial_convolution(latent_channels, widths[0])
        downs = [spatial_convolution(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(widths)]
        ups = [spatial_convolution(coarse, fine) for fine, coarse in itertools.pairwise(widths)]

        def level(index: int, entrance: nn.Module, in_channels: int) -> Level:
            return Level(entrance, in_channels, widths[index], config, index, token_channels)

        before = [level(i, entrance, widths[i]) for i, entrance in enumerate([first, *downs])]
        middle = level(len(widths) - 1, nn.Identity(), widths[-1])
        after = [level(i, up, 2 * widths[i]) for i, up in enumerate([*ups, nn.Identity()])]
        in_stem = max(1, len(widths) // 2)
        self.stem = Stem(condition, before[:in_stem])
        self.body = Body(before[in_stem:], middle, after, Head(widths[0], latent_channels))
        channels_last(self)

    def forward(
        self,
        z: Float[Tensor, "b c t h w"],
        level: Float[Tensor, "b t"],
        stride: Int64[Tensor, " b"],
        condition: Condition,
    ) -> Float[Tensor, "b c t h w"]:
        skips, embedding = self.stem(z, level, stride, condition)
        return self.body(skips, embedding, condition)


class Stem(nn.Module):
    """The embedding of each frame, and the finer half of the way down: a third of the operations."""

    def __init__(self, condition: FrameEmbedding, before: Iterable[Level]):
        super().__init__()
        self.condition, self.before = condition, nn.ModuleList(before)

    def forward(
        self,
        z: Float[Tensor, "b c t h w"],
        level: Float[Tensor, "b t"],
        stride: Int64[Tensor, " b"],
        condition: Condition,
    ) -> tuple[list[Tensor], Float[Tensor, "b t e"]]:
        """The output of each level, the finest first, and the embedding of each frame."""
        embedding = self.condition(level, stride, condition)
        z = z.contiguous(memory_format=torch.channels_last_3d)
        return _down(self.before, z, embedding, condition.texts), embedding


class Body(nn.Module):
    """The coarser half of the way down, the middle, and the way up, whose levels `after` lie the finest first."""

    def __init__(self, before: Iterable[Level], middle: Level, after: Iterable[Level], head: Head):
        super().__init__()
        self.before, self.middle, self.after, self.head = nn.ModuleList(before), middle, nn.ModuleList(after), head

    def forward(
        self, skips: list[Tensor], embedding: Float[Tensor, "b t e"], condition: Condition
    ) -> Float[Tensor, "b c t h w"]:
        texts = condition.texts
        skips = [*skips, *_down(self.before, skips[-1], embedding, texts)]
        x = self.middle(skips[-1], None, embedding, texts)
        for level in reversed(self.after):
            x = level(x, skips.pop(), embedding, texts)
        return self.head(x)


def _down(
    levels: Iterable[nn.Module], x: Float[Tensor, "b c t h w"], embedding: Float[Tensor, "b t e"], texts: Prompts
) -> list[Tensor]:
    """The output of each level, which is the input of the next, and a skip connection."""
    outputs = []
    for level in levels:
        x = level(x, None, embedding, texts)
        outputs.append(x)
    return outputs


class Level(nn.Module):
    """The blocks of one resolution, after the convolution that leads there and, on the way up, the skip connection."""

    def __init__(
        self,
        entrance: nn.Module,
        in_channels: int,
        out_channels: int,
        config: DenoiserNetwork,
        level: int,
        token_channels: int,
    ):
        super().__init__()
        self.entrance = entrance
        widths = [in_channels] + [out_channels] * config.num_blocks
        attends = level in config.attention_levels
        self.blocks = Blocks(Block(i, o, config, attends, token_channels) for i, o in itertools.pairwise(widths))

    def forward(
        self,
        x: Float[Tensor, "b c t i j"],
        skip: Float[Tensor, "b k t h w"] | None,
        embedding: Float[Tensor, "b t e"],
        texts: Prompts,
    ) -> Float[Tensor, "b d t h w"]:
        x = self.entrance(x)
        if skip is not None:
            x = torch.cat([resized(x, *skip.shape[3:]), skip], dim=1)
        return self.blocks(x, embedding, texts)


class Head(nn.Module):
    """The last convolution."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = zero_initialised(spatial_convolution(channels, out_channels))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        return self.conv(F.silu(channel_norm(x)))


class FrameEmbedding(nn.Module):
    """An embedding a frame: of its noise level, and of the stride and the label, if it knows labels, of its window."""

    def __init__(self, channels: int, out_channels: int, num_labels: int):
        super().__init__()
        self.channels = channels
        self.level = nn.Sequential(nn.Linear(channels, out_channels), nn.SiLU(), nn.Linear(out_channels, out_channels))
        self.stride = nn.Linear(channels, out_channels)
        self.label = nn.Embedding(num_labels + 1, out_channels) if num_labels else None

    def forward(
        self, level: Float[Tensor, "b t"], stride: Int64[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b t e"]:
        of_level = self.level(sinusoids(1000 * level, self.channels))
        of_window = self.stride(sinusoids(100 * stride.to(level.dtype).log2(), self.channels))
        if self.label is not None:
            of_window = of_window + self.label(condition.number)
        return F.silu(of_level + of_window[:, None])


class Block(nn.Module):
    """Spatial convolution, then, each where configured, temporal convolution, spatial, temporal and cross-attention."""

    def __init__(
        self, in_channels: int, out_channels: int, config: DenoiserNetwork, attends: bool, token_channels: int
    ):
        super().__init__()
        self.spatial = SpatialBlock(in_channels, out_channels, 4 * config.channels)
        self.mixers = nn.ModuleList()
        if config.temporal_convolution:
            self.mixers.append(TemporalConvolution(out_channels))
        if attends:
            self.mixers.append(SpatialAttention(out_channels, config.head_channels))
            self.mixers.append(TemporalAttention(out_channels, config.head_channels))
        reads = attends and token_channels > 0
        self.text = CrossAttention(out_channels, token_channels, config.head_channels) if reads else None

    def forward(
        self, x: Float[Tensor, "b c t h w"], embedding: Float[Tensor, "b t e"], texts: Prompts
    ) -> Float[Tensor, "b d t h w"]:
        x = self.spatial(x, embedding)
        for mixer in self.mixers:
            x = mixer(x)
        return x if self.text is None else self.text(x, texts.tokens, texts.mask)


class SpatialBlock(nn.Module):
    """Two 3x3 convolutions with a residual; the embedding of each frame scales and shifts between them (AdaGN)."""

    def __init__(self, in_channels: int, out_channels: int, embedding_channels: int):
        super().__init__()
        self.in_conv = spatial_convolution(in_channels, out_channels)
        self.modulation = zero_initialised(nn.Linear(embedding_channels, 2 * out_channels))
        self.out_conv = zero_initialised(spatial_convolution(out_channels, out_channels))
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else PointwiseConvolution(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "b c t h w"], embedding: Float[Tensor, "b t e"]) -> Float[Tensor, "b d t h w"]:
        scale, shift = rearrange(self.modulation(embedding), "b t (two d) -> two b d t 1 1", two=2)
        h = self.in_conv(F.silu(channel_norm(x)))
        h = self.out_conv(F.silu(channel_norm(h) * (1 + scale) + shift))
        return self.skip(x) + h


class TemporalConvolution(nn.Module):
    """A residual convolution over the three nearest frames, past and future."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = zero_initialised(nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        return x + self.conv(F.silu(channel_norm(x)))


def spatial_convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv3d:
    """A 3x3 convolution of each frame; with stride 2, an odd side of 2n+1 becomes n+1."""
    return nn.Conv3d(in_channels, out_channels, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1))


def sinusoids(values: Float[Tensor, "*n"], channels: int) -> Float[Tensor, "*n {channels}"]:
    """Cosines and sines of `values` at `channels`/2 frequencies (Vaswani et al., arXiv 1706.03762)."""
    half = channels // 2
    exponents = torch.arange(half, device=values.device, dtype=values.dtype) / half
    angles = values[..., None] * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
