"""How well an autoencoder gives back held-out clips: frame by frame, and as a set.

Not here: the distances themselves (perceptual.py, distances.py), and how samples are measured (measuring.py).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from lvdm.data.frames import as_clip, as_frames
from lvdm.errors import WeightsError
from lvdm.evaluation.distances import distance
from lvdm.evaluation.extraction import ClipSet, extract
from lvdm.evaluation.features import load_extractor
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.perceptual import load_perceptual
from lvdm.evaluation.ssim import ssim
from lvdm.models.autoencoder import Autoencoder
from lvdm.workspace import Workspace

log = logging.getLogger(__name__)

PERCEPTUAL = ("pd_efflite0", "lpips")
EXACT = 1e-10  # mean squared error that counts as none: 106 dB


@dataclass(frozen=True)
class Reconstruction:
    """Numbers by name, and the clips with what came back of them."""

    numbers: dict[str, float]
    clips: list[UInt8[Tensor, "t h w 3"]]
    reconstructions: list[UInt8[Tensor, "t h w 3"]]


@torch.compiler.set_stance("force_eager")  # for so few passes nothing is compiled again
@torch.inference_mode()
def measure_reconstruction(
    autoencoder: Autoencoder, clips: Iterable[UInt8[Tensor, "t h w 3"]], workspace: Workspace
) -> Reconstruction:
    """Encodes and decodes each clip on the autoencoder's device, and compares.

    `psnr` (dB), `ssim`, `pd_efflite0` and `lpips` are means over all frames. `rfd_tn2`, `rfd_efflite0`, `rfvd` and
    `rfid` are Frechet distances between the reconstructions and their own clips, so a perfect autoencoder has 0. What
    needs a network that is not there is left out, and a line says what to do about it. Without clips there are no
    numbers.
    """
    device = autoencoder.latent_mean.device
    perceptual = {}
    for name in PERCEPTUAL:
        with _left_out_without_network(name):
            perceptual[name] = load_perceptual(name, workspace).to(device)
    sums = dict.fromkeys(perceptual, 0.0)
    ratios, similarities, before, after = [], [], [], []
    for frames in clips:
        original = as_clip(frames.to(device))[None]
        with workspace.machine.autocast():  # as latents are encoded and decoded; what measures them is in float32
            result = autoencoder.decode(autoencoder.encode(original))
        result = result.clamp(-1, 1).float()
        pair = [rearrange(x, "1 c t h w -> t c h w") for x in (result, original)]
        ratios.append(psnr(*pair))
        similarities.append(ssim(*(127.5 * (images.double().cpu() + 1) for images in pair)))
        for name, network in perceptual.items():
            sums[name] += network(result, original).item()
        before.append(frames)
        after.append(as_frames(result[0]).cpu())
    if not before:
        return Reconstruction({}, before, after)
    means = {name: total / len(before) for name, total in sums.items()}
    numbers = {"psnr": torch.cat(ratios).mean().item(), "ssim": torch.cat(similarities).mean().item(), **means}
    return Reconstruction(numbers | frechet_distances(before, after, workspace), before, after)


def psnr(one: Float[Tensor, "t c h w"], other: Float[Tensor, "t c h w"]) -> Float[Tensor, "t"]:
    """10 log10(2^2 / MSE) of each frame in [-1, 1], in dB; finite, as an MSE below `EXACT` counts as that."""
    return 10 * torch.log10(4 / (one - other).square().mean(dim=(1, 2, 3)).clamp_min(EXACT))


def frechet_distances(
    clips: Sequence[UInt8[Tensor, "t h w 3"]], others: Sequence[UInt8[Tensor, "t h w 3"]], workspace: Workspace
) -> dict[str, float]:
    """Every Frechet distance whose network is there, between two sets of as many clips; none below two.

    Their names begin with r, as in rFID: they are of reconstructions, and by no protocol of samples.
    """
    if len(clips) < 2:
        return {}
    numbers = {}
    for metric in METRICS.values():
        if metric.measure != "frechet":
            continue
        name = f"r{metric.key}"
        with _left_out_without_network(name):
            extractor = load_extractor(metric.features, workspace, workspace.machine.device)
            of_clips, of_others = (extract(extractor, ClipSet(side), workspace) for side in (clips, others))
            numbers[name] = distance(metric, of_clips, of_others).value
    return numbers


@contextlib.contextmanager
def _left_out_without_network(name: str) -> Iterator[None]:
    try:
        yield
    except WeightsError as error:
        log.warning("%s: left out until the autoencoder is made anew: %s", name, error)
