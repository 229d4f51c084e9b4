"""Videos through the autoencoder: every video to its latents, and an experiment's latents to the videos asked for.

Not here: how latents are made (lvdm/diffusion) and how a sample set lies on disk (lvdm/data/samples.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.data.clips import whole_video
from lvdm.data.latents import CachedVideo
from lvdm.data.samples import Sample
from lvdm.diffusion.sampling import VideoRequest
from lvdm.errors import ParamsError
from lvdm.models.autoencoder import Autoencoder
from lvdm.params import Clips, Params
from lvdm.progress import progress
from lvdm.workspace import Workspace

DECODED_AT_ONCE = 8  # latents: bounds the memory, does not change the frames
SEEDS_A_KIND = 1_000_000


@torch.inference_mode()
def encoded(
    autoencoder: Autoencoder, manifest: pd.DataFrame, clips: Clips, workspace: Workspace, chunk_frames: int
) -> Iterator[CachedVideo]:
    """Every video of the manifest as latents; the last frames that fill no latent are left out.

    Raises:
        ParamsError: `chunk_frames` is no multiple of the autoencoder's time factor.
    """
    factor, device = autoencoder.config.time_factor, workspace.machine.device
    if chunk_frames % factor:
        raise ParamsError("encode_latents.chunk_frames", expected=f"a multiple of {factor}", got=chunk_frames)
    for _, row in progress(manifest.iterrows(), len(manifest), "encoding", "video"):
        chunks = (
            chunk[:, : len(chunk[0]) // factor * factor]
            for chunk in whole_video(row, clips, workspace.root, chunk_frames)
        )
        with workspace.machine.autocast():
            latents = list(autoencoder.encode_stream(chunk[None].to(device) for chunk in chunks if chunk.shape[1]))
        label = None if pd.isna(row["label"]) else row["label"]
        yield CachedVideo(row["id"], label, row["split"], torch.cat(latents, dim=2)[0].float().transpose(0, 1))


def samples_to_make(params: Params, experiment: str, labels: Sequence[str]) -> list[Sample]:
    """The short clips, as long as evaluation measures them, then the long videos; the labels in turn."""
    asked = params.experiment(experiment).sample
    kinds: list[tuple[Literal["clip", "long"], int, int]] = [
        ("clip", asked.num_clips, params.clips.frames),
        ("long", asked.num_long_videos, asked.long_frames),
    ]
    return [
        Sample(
            kind=kind,
            number=number,
            frames=frames,
            seed=(2 * asked.seed + (kind == "long")) * SEEDS_A_KIND + number,
            label=labels[number % len(labels)] if labels else None,
        )
        for kind, count, frames in kinds
        for number in range(count)
    ]


def as_request(sample: Sample, labels: Sequence[str], time_factor: int) -> VideoRequest:
    """What the denoiser is asked for: whole latents, at least as many as the frames need."""
    label = None if sample.label is None else labels.index(sample.label)
    return VideoRequest(sample.seed, label, math.ceil(sample.frames / time_factor))


@torch.inference_mode()
def decoded(autoencoder: Autoencoder, latent: Float[Tensor, "c t h w"]) -> Iterator[Float[Tensor, "1 3 f y x"]]:
    """The frames of a latent video, chunk by chunk, on the autoencoder's device."""
    device = autoencoder.latent_mean.device
    yield from autoencoder.decode_stream(chunk[None].to(device) for chunk in latent.split(DECODED_AT_ONCE, dim=1))
