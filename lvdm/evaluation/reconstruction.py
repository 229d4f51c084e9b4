"""How well an autoencoder gives back held-out clips: PSNR and SSIM by torchmetrics.

Not here: the distances between sets of clips (metrics.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from lvdm.data.clips import to_frames
from lvdm.models.autoencoder import Autoencoder


@dataclass(frozen=True)
class Reconstruction:
    """Means over all frames, and the clips with what came back of them."""

    psnr: float  # dB
    ssim: float
    clips: list[UInt8[Tensor, "t h w 3"]]
    reconstructions: list[UInt8[Tensor, "t h w 3"]]


@torch.inference_mode()
def measure_reconstruction(autoencoder: Autoencoder, clips: Iterable[Float[Tensor, "3 t h w"]]) -> Reconstruction:
    """Encodes and decodes each clip on the autoencoder's device, and compares frame by frame in [-1, 1]."""
    device = autoencoder.latent_mean.device
    psnr = PeakSignalNoiseRatio(data_range=(-1.0, 1.0), reduction="elementwise_mean", dim=(1, 2, 3)).to(device)
    ssim = StructuralSimilarityIndexMeasure(data_range=(-1.0, 1.0)).to(device)
    before, after = [], []
    for clip in clips:
        original = clip[None].to(device)
        result = autoencoder.decode(autoencoder.encode(original)).clamp(-1, 1)
        pair = [rearrange(x.float(), "1 c t h w -> t c h w") for x in (result, original)]
        psnr.update(*pair)
        ssim.update(*pair)
        before.append(torch.from_numpy(to_frames(clip)))
        after.append(torch.from_numpy(to_frames(result[0])))
    similarity = ssim.compute()
    assert isinstance(similarity, Tensor)  # not the pair that torchmetrics gives when asked for more
    return Reconstruction(psnr.compute().item(), similarity.item(), before, after)
