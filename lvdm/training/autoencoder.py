"""Training the autoencoder: its losses, then the measured statistics that whiten its latents.

Not here: how a network is fitted (fit.py), the discriminator (lvdm/models), perceptual networks (lvdm/evaluation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lvdm.data.frames import as_clip
from lvdm.diffusion.noise import draw_noise
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, VideoAutoencoder, build_autoencoder
from lvdm.models.compilation import compile_all, mode_of_training
from lvdm.models.discriminator import PatchDiscriminator, discriminator_loss, generator_loss
from lvdm.params import AutoencoderNetwork, AutoencoderObjective, TrainAutoencoder
from lvdm.ranks import leave_to_first_process
from lvdm.training.callbacks import History
from lvdm.training.fit import fit, initialised
from lvdm.training.task import Batch, Draw, Examples, Task

NUM_MEASURED_CLIPS = 64
HALF_PRECISION_SCALE = 1024.0  # on losses whose gradients are asked for, lest small ones vanish; taken off them again


class AutoencoderTraining(Task):
    """Reconstruction of a clip from a sample of its posterior, the divergence of that posterior, and optional terms.

    Autoencoder and discriminator take their steps together, each from a part of the one loss that cannot reach the
    other: the discriminator sees the reconstruction detached, the autoencoder sees the discriminator held constant.
    """

    network: VideoAutoencoder

    def __init__(
        self,
        network: VideoAutoencoder,
        params: TrainAutoencoder,
        perceptual: nn.Module | None = None,
        held_out: Sequence[Batch] = (),
    ):
        super().__init__(network, params.training, held_out)
        self.objective = params.objective
        self.frozen = [perceptual] if perceptual else []  # a list hides it: not trained, averaged or saved
        if adversarial := params.objective.adversarial:
            self.discriminator = initialised(lambda: PatchDiscriminator(adversarial.channels), params.training.seed)

    @property
    def draw(self) -> Draw:
        return partial(_posterior_noise, self.network.config)

    def on_train_start(self) -> None:
        for network in self.frozen:
            network.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        clip, objective = as_clip(batch["frames"]), self.objective
        mean, logvar = (moment.float() for moment in self.network.moments(clip))
        raw_latent = mean + (0.5 * logvar).exp() * batch["noise"]
        reconstruction = self.network.reconstruct(raw_latent)
        terms = {
            "reconstruction": reconstruction_error(reconstruction, clip, objective.reconstruction),
            "kl": kl_divergence(mean, logvar),
        }
        loss = terms["reconstruction"]
        if objective.perceptual:
            terms["perceptual"] = self.frozen[0](reconstruction, clip)
            loss = loss + objective.perceptual.weight * terms["perceptual"]
        if objective.adversarial:
            terms |= self._adversarial_terms(reconstruction, clip, likeness=loss)
            loss = loss + terms["adversarial_weight"] * terms["adversarial"] + terms["discriminator"]
        if objective.equivariance:
            factors, decode = objective.equivariance.factors, self.network.reconstruct
            terms["equivariance"] = equivariance_error(decode, raw_latent, clip, factors, objective.reconstruction)
            loss = loss + objective.equivariance.weight * terms["equivariance"]
        loss = loss + objective.kl_weight * terms["kl"]
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    @property
    def _plays(self) -> bool:
        """Whether the discriminator takes part in this step."""
        adversarial = self.objective.adversarial
        return adversarial is not None and self.trainer.global_step >= adversarial.start

    def _adversarial_terms(
        self, reconstruction: Float[Tensor, "b 3 t h w"], clip: Float[Tensor, "b 3 t h w"], likeness: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of either side and the weight of the autoencoder's; zeros until the discriminator plays."""
        assert self.objective.adversarial
        if not self._plays:
            zero = clip.new_zeros(())
            return {"adversarial": zero, "discriminator": zero, "adversarial_weight": zero.detach()}
        adversarial = generator_loss(self.discriminator.held(reconstruction))
        real, fake = self.discriminator(clip), self.discriminator(reconstruction.detach())
        last = self.network.decoder.last.weight
        terms = (HALF_PRECISION_SCALE * term for term in (likeness, adversarial))
        gradients = torch.stack([torch.autograd.grad(term, last, retain_graph=True)[0] for term in terms])
        whole = self.trainer.strategy.reduce(gradients / HALF_PRECISION_SCALE, reduce_op="mean")  # over all devices
        assert isinstance(whole, Tensor)
        return {
            "adversarial": adversarial,
            "discriminator": discriminator_loss(real, fake),
            "adversarial_weight": self.objective.adversarial.weight * gradient_ratio(whole[0], whole[1]),
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if self.objective.adversarial and not self._plays:
            self.discriminator.zero_grad()  # to None, so that the optimiser leaves it alone
        super().configure_gradient_clipping(optimizer)

    def validation_means(self, batch: Batch) -> dict[str, Tensor]:
        clip = as_clip(batch["frames"])
        mean, _ = self.network.moments(clip)
        error = reconstruction_error(self.network.reconstruct(mean), clip, self.objective.reconstruction)
        return {"reconstruction": error}


def _posterior_noise(config: AutoencoderNetwork, batch: Batch, generators: Sequence[torch.Generator]) -> Batch:
    """What makes a sample of the posterior of each clip."""
    t, h, w = batch["frames"].shape[1:4]
    space = config.space_factor
    shape = len(generators), config.latent_channels, t // config.time_factor, h // space, w // space
    return {"noise": draw_noise(generators, torch.empty(shape))}


def compile_autoencoder(network: VideoAutoencoder, objective: AutoencoderObjective, machine: Machine) -> None:
    """Compiles what a step passes through.

    The adversarial weight asks for gradients of the decoder's last layer alone, so that stays outside then, and the
    rest is passed backwards more than once a step, which graphs are not for.
    """
    if objective.adversarial:
        compile_all([network.encoder, *network.decoder.levels])
    else:
        compile_all([network.encoder, network.decoder], mode=mode_of_training(machine))


def check_strategy(objective: AutoencoderObjective, machine: Machine) -> None:
    """Refuses an objective that cannot be trained under the machine's strategy.

    Raises:
        ParamsError: there is an adversarial term under FSDP, which has no gradients of a whole layer.
    """
    if objective.adversarial and machine.strategy == "fsdp":
        remedy = "use strategy: ddp, or switch adversarial off"
        raise ParamsError("machine.yaml: strategy fsdp with an adversarial term", remedy=remedy)


def train_autoencoder(
    clips: Examples,
    params: TrainAutoencoder,
    machine: Machine,
    scratch: Path,
    perceptual: nn.Module | None = None,
    held_out: Sequence[Batch] = (),
) -> tuple[Autoencoder, History]:
    """A trained autoencoder with whitened latents, ready for inference, and the trace of its training.

    Args:
        clips: examples {"frames": uint8 of t h w 3}, example i a function of i alone.
        scratch: the folder that a killed run goes on from.
        perceptual: the distance of two clips "b 3 t h w" that `params.objective.perceptual` names.
        held_out: examples of the same kind, to validate on.

    The identity has nothing to train: its pixels are measured alone.

    Raises:
        ParamsError: the sides of a clip or of its latent are no multiples of what the objective divides them by, or
            the terms of the objective cannot be trained under the strategy of the machine.
    """
    assert (perceptual is None) == (params.objective.perceptual is None)
    autoencoder = initialised(lambda: build_autoencoder(params.network), params.training.seed)
    history: History = []
    if isinstance(autoencoder, VideoAutoencoder):
        check_strategy(params.objective, machine)
        if machine.compile:
            compile_autoencoder(autoencoder, params.objective, machine)
        task = AutoencoderTraining(autoencoder, params, perceptual, held_out)
        history = fit(task, clips, machine, scratch)
    leave_to_first_process()
    autoencoder.eval().requires_grad_(False)
    eager = torch.compiler.set_stance("force_eager")  # for few passes nothing is compiled again
    with eager, machine.autocast():  # the latents that are whitened are those that encoding makes
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


def equivariance_error(
    decode: Callable[[Tensor], Tensor],
    raw_latent: Float[Tensor, "b d u i j"],
    clip: Float[Tensor, "b c t h w"],
    factors: Sequence[int],
    kind: Literal["l1", "l2", "l1+l2"],
) -> Float[Tensor, ""]:
    """How far the decoded latent, downsampled in space, is from the clip, downsampled: the mean over `factors`.

    The regulariser of arXiv 2502.14831, which draws one factor a step. Downsampled means averaged over squares, which
    at factor 2 is the paper's bilinear.

    Raises:
        ParamsError: a factor does not divide the sides of the latent.
    """
    sides = tuple(raw_latent.shape[3:])
    if any(side % factor for side in sides for factor in factors):
        raise ParamsError(
            "objective.equivariance.factors",
            expected=f"divisors of the sides of the latent, {sides}",
            got=tuple(factors),
            remedy="ask for smaller factors, or change clips.size or the autoencoder's space_factor",
        )
    errors = []
    for factor in factors:
        small_latent, small_clip = (F.avg_pool3d(x, (1, factor, factor)) for x in (raw_latent, clip))
        errors.append(reconstruction_error(decode(small_latent), small_clip, kind))
    return torch.stack(errors).mean()


def gradient_ratio(of_likeness: Float[Tensor, "*w"], of_adversarial: Float[Tensor, "*w"]) -> Float[Tensor, ""]:
    """The weight that gives the adversarial term as large a gradient as the likeness: eq. 7 of arXiv 2012.09841."""
    return (of_likeness.norm() / (of_adversarial.norm() + 1e-6)).clamp(max=1e4)


def _batches(clips: Examples, size: int, device: torch.device) -> Iterator[Float[Tensor, "b c t h w"]]:
    for first in range(0, NUM_MEASURED_CLIPS, size):
        frames = [clips[i]["frames"] for i in range(first, min(first + size, NUM_MEASURED_CLIPS))]
        yield as_clip(torch.stack(frames).to(device))
