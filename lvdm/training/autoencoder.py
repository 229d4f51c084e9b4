"""Training the autoencoder: reconstruction and KL, then the measured statistics that whiten its latents.

Not here: how a network is fitted; that is fit.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.diffusion.noise import draw_noise
from lvdm.machine import Machine, leave_to_first_process
from lvdm.models.autoencoder import Autoencoder, VideoAutoencoder, build_autoencoder
from lvdm.params import TrainAutoencoder
from lvdm.training.callbacks import History
from lvdm.training.fit import Batch, Examples, Task, fit, initialised

NUM_MEASURED_CLIPS = 64


class AutoencoderTraining(Task):
    """Reconstruction of a clip from a sample of its posterior, and the divergence of that posterior from N(0, 1)."""

    network: Autoencoder

    def __init__(self, network: Autoencoder, params: TrainAutoencoder, held_out: Sequence[Batch] = ()):
        super().__init__(network, params.training, held_out)
        self.objective = params.objective

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        clip = batch["clip"]
        mean, logvar = self.network.moments(clip)
        raw_latent = mean + (0.5 * logvar).exp() * draw_noise(self.generators(), mean)
        error = reconstruction_error(self.network.reconstruct(raw_latent), clip, self.objective.reconstruction)
        kl = kl_divergence(mean, logvar)
        return {"loss": error + self.objective.kl_weight * kl, "reconstruction": error.detach(), "kl": kl.detach()}

    def validation_means(self, batch: Batch, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        clip = batch["clip"]
        mean, _ = self.network.moments(clip)
        error = reconstruction_error(self.network.reconstruct(mean), clip, self.objective.reconstruction)
        return {"reconstruction": error}


def train_autoencoder(
    clips: Examples, params: TrainAutoencoder, machine: Machine, scratch: Path, held_out: Sequence[Batch] = ()
) -> tuple[Autoencoder, History]:
    """A trained autoencoder with whitened latents, ready for inference, and the trace of its training.

    Args:
        clips: examples {"clip": float32 of 3 t h w in [-1, 1]}, example i a function of i alone.
        scratch: the folder that a killed run goes on from.
        held_out: examples of the same kind, to validate on.

    The identity has nothing to train: its pixels are measured alone.
    """
    autoencoder = initialised(lambda: build_autoencoder(params.network), params.training.seed)
    history: History = []
    if isinstance(autoencoder, VideoAutoencoder):
        if machine.compile:
            autoencoder.encoder.compile()
            autoencoder.decoder.compile()
        history = fit(
            AutoencoderTraining(autoencoder, params, held_out=held_out), clips, params.training, machine, scratch
        )
    leave_to_first_process()
    autoencoder.eval().requires_grad_(False)
    autoencoder.measure_latents(_batches(clips, params.training.batch_size, autoencoder.latent_mean.device))
    return autoencoder, history


def reconstruction_error(
    reconstruction: Float[Tensor, "b c t h w"], clip: Float[Tensor, "b c t h w"], kind: Literal["l1", "l2", "l1+l2"]
) -> Float[Tensor, ""]:
    """The mean over all numbers of the absolute error, of the squared error, or the sum of the two."""
    difference = reconstruction - clip
    match kind:
        case "l1":
            return difference.abs().mean()
        case "l2":
            return difference.square().mean()
        case "l1+l2":
            return difference.abs().mean() + difference.square().mean()


def kl_divergence(mean: Float[Tensor, "*n"], logvar: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """KL(N(mean, exp(logvar)) || N(0, 1)), the mean over the numbers of the latent.

    The mean, where the reference sums over a latent: so the weight does not depend on the size of a clip.
    """
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def _batches(clips: Examples, size: int, device: torch.device) -> Iterator[Float[Tensor, "b c t h w"]]:
    for first in range(0, NUM_MEASURED_CLIPS, size):
        yield torch.stack([clips[i]["clip"] for i in range(first, min(first + size, NUM_MEASURED_CLIPS))]).to(device)
