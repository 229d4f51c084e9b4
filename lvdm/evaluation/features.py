"""Feature extractors: uint8 frames of one clip in, float64 features out.

A clip is extracted alone, never in a batch, so no choice of batch size, workers or ranks can change a number.
Not here: which weights are the true ones (lvdm/models/pretrained.py), what is done with the features (distances.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, UInt8
from torch import Tensor, nn

from lvdm.errors import WeightsError
from lvdm.evaluation.efficientnet import EfficientNetLite0Features
from lvdm.evaluation.transnet import TransNetV2Features
from lvdm.models.pretrained import NETWORKS, Network, locate
from lvdm.transfers import sent
from lvdm.workspace import Workspace

STATIC_LEVELS = 8  # of 255: a frame is static if no pixel changes by more (compression alone changes some)
CLIP_SIDE, CLIP_TOKENS = 224, 77
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class MeanFrameDifference(nn.Module):
    """Mean |difference| of consecutive frames, in grey levels."""

    num_features = 1

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 1"]:
        return frames.float().diff(dim=1).abs().mean(dim=(1, 2, 3, 4))[:, None]


class StaticShare(nn.Module):
    """Share of frames in which no pixel differs from the frame before by more than `STATIC_LEVELS`."""

    num_features = 1

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 1"]:
        largest = frames.float().diff(dim=1).abs().amax(dim=(2, 3, 4))
        return (largest <= STATIC_LEVELS).float().mean(dim=1, keepdim=True)


class _Torchscript(nn.Module):
    """A network as a file holds it; sent to another process, it is read there again."""

    def __init__(self, network: nn.Module, path: Path):
        super().__init__()
        self.network, self.path = network, path

    @classmethod
    def load(cls, path: Path) -> nn.Module:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.* is (deprecated|not supported)", DeprecationWarning)
            return cls(torch.jit.load(str(path), map_location="cpu").eval(), path)

    def __reduce__(self) -> tuple[Callable[[Path], nn.Module], tuple[Path]]:
        return type(self).load, (self.path,)


class I3DFeatures(_Torchscript):
    """400 logits a clip. The torchscript resizes to 224x224 (bilinear, no antialias) and scales to [-1, 1] itself."""

    num_features = 400

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b d"]:
        clip = frames.permute(0, 4, 1, 2, 3).float()
        return self.network(clip, rescale=True, resize=True, return_features=True)


class InceptionFeatures(_Torchscript):
    """2048 numbers a frame, not a clip. The torchscript takes uint8 and resizes to 299x299 itself."""

    num_features = 2048

    def forward(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "n d"]:
        return self.network(frames.flatten(0, 1).permute(0, 3, 1, 2), return_features=True)


class CaptionSimilarity(nn.Module):
    """Cosine of the caption and each frame in CLIP, averaged over the frames: GODIVA's CLIPSIM, arXiv 2104.14806."""

    num_features = 1

    def __init__(self, network: nn.Module, tokenizer: Callable):
        super().__init__()
        self.network, self.tokenizer = network, tokenizer

    @classmethod
    def load(cls, path: Path) -> CaptionSimilarity:
        from transformers import CLIPModel, CLIPTokenizer

        folder = str(path.parent)
        network = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=False, dtype=torch.float32)
        return cls(network, CLIPTokenizer.from_pretrained(folder, local_files_only=True))

    def forward(self, frames: UInt8[Tensor, "1 t h w 3"], caption: str) -> Float[Tensor, "1 1"]:
        images = frames[0].permute(0, 3, 1, 2).float()
        scale = CLIP_SIDE / min(images.shape[-2:])
        size = tuple(max(CLIP_SIDE, round(side * scale)) for side in images.shape[-2:])
        images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).round().clamp(0, 255)
        top, left = ((side - CLIP_SIDE) // 2 for side in size)
        images = images[..., top : top + CLIP_SIDE, left : left + CLIP_SIDE] / 255
        mean, std = (images.new_tensor(value)[:, None, None] for value in (CLIP_MEAN, CLIP_STD))
        tokens = self.tokenizer([caption], truncation=True, max_length=CLIP_TOKENS, return_tensors="pt")
        out = self.network(pixel_values=(images - mean) / std, **tokens.to(frames.device))
        return F.cosine_similarity(out.image_embeds, out.text_embeds).mean()[None, None]


@dataclass(frozen=True)
class Extractor:
    """A network on a device, with the hash of the file it came from ("none" for what needs no file)."""

    name: str
    sha256: str
    network: nn.Module
    device: torch.device

    @property
    def needs_captions(self) -> bool:
        return isinstance(self.network, CaptionSimilarity)

    @property
    def num_features(self) -> int:
        return int(self.network.num_features)  # type: ignore[arg-type]  # of a module torch types no number

    def on(self, device: torch.device) -> Extractor:
        """The same on another device; this one is gone."""
        return replace(self, network=self.network.to(device), device=device)

    @torch.inference_mode()
    def __call__(self, frames: UInt8[Tensor, "t h w 3"], caption: str | None = None) -> Float64[Tensor, "n d"]:
        """Features of one clip: one row, or one a frame where the network sees single frames.

        They are left on the device, which this does not wait for.

        Raises:
            WeightsError: the network answers in another shape than the one it is known for.
        """
        clip = sent(frames, self.device)[None]
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with exact:
            features = self.network(clip, caption) if self.needs_captions else self.network(clip)
        if features.ndim != 2 or features.shape[1] != self.num_features:
            raise WeightsError(
                f"{self.name}: features", expected=f"(n, {self.num_features})", got=tuple(features.shape)
            )
        return features.double()


_NO_FILE: Mapping[str, type[nn.Module]] = {"motion": MeanFrameDifference, "static": StaticShare}
_FROM_FILE: Mapping[str, Callable[[Path], nn.Module]] = {
    "tn2": TransNetV2Features.load,
    "efflite0": EfficientNetLite0Features.load,
    "i3d": I3DFeatures.load,
    "inception": InceptionFeatures.load,
    "clip": CaptionSimilarity.load,
}


def load_extractor(
    name: str, workspace: Workspace, device: torch.device, networks: Mapping[str, Network] = NETWORKS
) -> Extractor:
    """The extractor `name`, on `device`.

    Raises:
        WeightsError: its weights are missing or are not the true ones.
    """
    if name in _NO_FILE:
        return Extractor(name, "none", _NO_FILE[name](), device)
    network = networks[name]
    module = _FROM_FILE[name](locate(network, workspace)).eval().requires_grad_(False).to(device)
    return Extractor(name, network.sha256, module, device)
