"""What an experiment is asked to make, and the making of it: sampled and decoded.

Not here: how latents are made (lvdm/diffusion) and how a sample set lies on disk (lvdm/data/samples.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.data.samples import Sample
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, sample_videos
from lvdm.models.autoencoder import Autoencoder
from lvdm.models.checkpoint import load_autoencoder, load_denoiser
from lvdm.models.condition import Prompt
from lvdm.params import Params
from lvdm.prompting import understood
from lvdm.workspace import Workspace

DECODED_AT_ONCE = 8  # latents: bounds the memory, does not change the frames
SEEDS_A_KIND = 1_000_000


def samples_to_make(params: Params, experiment: str, prompts: Sequence[Prompt]) -> list[Sample]:
    """The short clips, as long as evaluation measures them, then the long videos; the prompts in turn."""
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
            **asdict(prompts[number % len(prompts)] if prompts else Prompt()),
        )
        for kind, count, frames in kinds
        for number in range(count)
    ]


def as_request(sample: Sample, names: Sequence[str], time_factor: int) -> VideoRequest:
    """What the denoiser is asked for: whole latents, at least as many as the frames need; `names` of its prompts."""
    prompt = None if sample.prompt is None else names.index(sample.prompt)
    return VideoRequest(sample.seed, prompt, math.ceil(sample.frames / time_factor))


def made(
    wanted: Sequence[Sample], params: Params, workspace: Workspace, name: str, scratch: Path
) -> Iterator[tuple[Sample, Iterator[Float[Tensor, "1 3 f y x"]]]]:
    """Makes what is asked of an experiment's denoiser: each sample with its frames, decoded as they are taken.

    Raises:
        ArtefactError: networks are missing or do not belong together.
        ParamsError: no plan exists for these lengths.
        WeightsError: the text encoder is not there, or another than in training.
    """
    experiment, device = params.experiment(name), workspace.machine.device
    trained = load_denoiser(workspace.denoiser(name))
    trained.check_autoencoder(workspace.autoencoder(experiment.autoencoder))
    autoencoder = load_autoencoder(workspace.autoencoder(experiment.autoencoder)).to(device)
    names, prompts = understood(trained, [s.prompt for s in wanted if s.prompt is not None], workspace)
    requests = [as_request(s, names, autoencoder.config.time_factor) for s in wanted]
    side = params.clips.size // autoencoder.config.space_factor
    spec = DenoiserSpec(trained.params, prompts, (trained.network.latent_channels, side, side))
    with workspace.machine.autocast():
        latents = sample_videos(trained.network.to(device), spec, experiment.sample, requests, scratch)
        for sample, latent in zip(wanted, latents, strict=True):
            yield sample, decoded(autoencoder, latent)


@torch.inference_mode()
def decoded(autoencoder: Autoencoder, latent: Float[Tensor, "c t h w"]) -> Iterator[Float[Tensor, "1 3 f y x"]]:
    """The frames of a latent video, chunk by chunk, on the autoencoder's device."""
    device = autoencoder.latent_mean.device
    yield from autoencoder.decode_stream(chunk[None].to(device) for chunk in latent.split(DECODED_AT_ONCE, dim=1))
