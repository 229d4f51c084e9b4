"""What an experiment is asked to make, and its latents decoded to the videos asked for.

Not here: how latents are made (lvdm/diffusion) and how a sample set lies on disk (lvdm/data/samples.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.data.samples import Sample
from lvdm.diffusion.sampling import VideoRequest
from lvdm.models.autoencoder import Autoencoder
from lvdm.params import Params

DECODED_AT_ONCE = 8  # latents: bounds the memory, does not change the frames
SEEDS_A_KIND = 1_000_000


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
