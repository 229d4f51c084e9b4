"""Perceptual distances between the frames of two clips: a measure of reconstructions, and a loss to train them with.

LPIPS bears its name only on its true network; what runs without that file is `pd_efflite0`.
Not here: which weights are the true ones (lvdm/models/pretrained.py), distances between sets of clips (distances.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lvdm.errors import WeightsError
from lvdm.evaluation.efficientnet import EfficientNetLite0Features
from lvdm.fingerprints import sha256
from lvdm.models.pretrained import NETWORKS, Network, locate
from lvdm.workspace import Workspace

HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"  # v0.1 of LPIPS, for VGG-16
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels
EFFLITE0_TAPS = (16, 24, 40, 112, 320)  # channels
VGG_MEAN, VGG_STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet, in [-1, 1]


class PerceptualDistance(nn.Module):
    """How far the features of two clips lie apart, differentiable in both; its own weights are frozen.

    For features f, g at a tap, each scaled to length 1 over its channels: the mean over frames and positions of
    sum_c w_c (f_c - g_c)^2, summed over the taps. With the heads of LPIPS as w that is eq. 1 of arXiv 1801.03924.
    """

    def __init__(self, backbone: Vgg16 | EfficientNetLite0Features, weights: Sequence[Float[Tensor, " _c"]]):
        super().__init__()
        self.backbone = backbone
        self.weights = nn.ParameterList(weights)
        self.eval().requires_grad_(False)

    def forward(self, clip: Float[Tensor, "b 3 t h w"], other: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, ""]:
        """The distance of two clips in [-1, 1], frame by frame, at their own size."""
        one, two = (self.backbone.taps(rearrange((x + 1) * 127.5, "b c t h w -> (b t) c h w")) for x in (clip, other))
        return torch.stack(
            [
                (weight[:, None, None] * (_unit(f) - _unit(g)).square()).sum(dim=1).mean()
                for f, g, weight in zip(one, two, self.weights, strict=True)
            ]
        ).sum()


class Vgg16(nn.Module):
    """The convolutions of VGG-16 (arXiv 1409.1556), named as in torchvision's weights, so that these load strictly."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = 3
        for i, block in enumerate(VGG_BLOCKS):
            layers += [nn.MaxPool2d(2)] if i else []
            for c_out in block:
                layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU()]
                c_in = c_out
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(VGG_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(VGG_STD)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @classmethod
    def load(cls, path: Path) -> Vgg16:
        """The network with torchvision's weights; its classifier is left out."""
        network = cls()
        weights = torch.load(path, weights_only=True)
        network.load_state_dict({name: w for name, w in weights.items() if name.startswith("features.")})
        return network

    def taps(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _c _i _j"]]:
        """The last features of each resolution, 1/1 to 1/16, of `images` in 0..255 and of 16 pixels or more."""
        x, taps = (images / 127.5 - 1 - self.mean) / self.std, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
            x = layer(x)
        return [*taps, x]


def load_perceptual(name: str, workspace: Workspace, networks: Mapping[str, Network] = NETWORKS) -> PerceptualDistance:
    """The distance `name`: "lpips", or "pd_efflite0", which weighs all channels alike and takes the mean of the taps.

    Raises:
        WeightsError: its weights are missing or are not the true ones.
    """
    if name == "lpips":
        return PerceptualDistance(Vgg16.load(locate(networks["vgg16"], workspace)), _heads_of_lpips())
    backbone = EfficientNetLite0Features.load(locate(networks["efflite0"], workspace))
    return PerceptualDistance(backbone, [torch.full((c,), 1 / len(EFFLITE0_TAPS)) for c in EFFLITE0_TAPS])


def _heads_of_lpips() -> list[Float[Tensor, " _c"]]:
    """The learnt weights of the channels, as torchmetrics ships them.

    Raises:
        WeightsError: this torchmetrics ships others.
    """
    with as_file(files("torchmetrics.functional.image") / "lpips_models" / "vgg.pth") as path:
        if (got := sha256(path)) != HEADS_SHA256:
            remedy = "install torchmetrics 1.9, which has those of LPIPS v0.1"
            raise WeightsError(f"{path}", expected=f"sha256 {HEADS_SHA256}", got=got, remedy=remedy)
        heads = torch.load(path, weights_only=True, map_location="cpu")
    return [heads[f"lin{i}.model.1.weight"].flatten() for i in range(len(VGG_BLOCKS))]


def _unit(features: Float[Tensor, "n c i j"]) -> Float[Tensor, "n c i j"]:
    """Length 1 over the channels of each position; the small number under the root is that of torchmetrics."""
    features = features.float()
    return features / (features.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
