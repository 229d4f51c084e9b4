"""Training the denoiser on windows of whitened latents.

Not here: what the loss is (lvdm/diffusion/objective.py) and how a network is fitted (fit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lvdm.diffusion.objective import DenoisingLoss, denoising_loss
from lvdm.machine import Machine, leave_to_first_process
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser
from lvdm.prompting import TrainingPrompts
from lvdm.training.callbacks import History
from lvdm.training.fit import Batch, Examples, Task, fit, initialised

VALIDATION_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


class DenoiserTraining(Task):
    """The denoising loss on a batch of windows."""

    network: Denoiser

    def __init__(
        self, network: Denoiser, params: TrainDenoiser, prompts: TrainingPrompts, held_out: Sequence[Batch] = ()
    ):
        super().__init__(network, params.training, held_out)
        self.objective, self.prompts = params.objective, prompts

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        denoising = self._denoising(batch, self.generators())
        return {"loss": denoising.loss, "error": denoising.error.mean()}

    def validation_means(self, batch: Batch, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """The weighted loss, a mean over fixed levels, and the unweighted error at each; tasks and noise are fixed."""
        states = [generator.get_state() for generator in generators]
        losses, means = [], {}
        for level in VALIDATION_LEVELS:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            denoising = self._denoising(batch, generators, level)
            losses.append(denoising.loss)
            means[f"error_at_{level}"] = denoising.error.mean()
        return {"loss": torch.stack(losses).mean(), **means}

    def _denoising(
        self, batch: Batch, generators: Sequence[torch.Generator], level: float | None = None
    ) -> DenoisingLoss:
        condition = self.prompts.condition(batch)
        return denoising_loss(
            self.network, batch["latent"], batch["stride"], condition, self.objective, generators, level
        )


def train_denoiser(
    windows: Examples,
    params: TrainDenoiser,
    latent_channels: int,
    prompts: TrainingPrompts,
    machine: Machine,
    scratch: Path,
    held_out: Sequence[Batch] = (),
) -> tuple[Denoiser, History]:
    """A trained denoiser, ready for inference, and the trace of its training.

    Args:
        windows: examples {"latent": float32 of c t h w, whitened; "stride": int64; and what `prompts` says of a video},
            example i a function of i alone.
        scratch: the folder that a killed run goes on from.
        held_out: examples of the same kind, to validate on.
    """
    network = initialised(lambda: Denoiser(params.network, latent_channels, prompts.vocabulary), params.training.seed)
    if machine.compile:
        network.compile()
    task = DenoiserTraining(network, params, prompts, held_out)
    history = fit(task, windows, params.training, machine, scratch)
    leave_to_first_process()
    return network.eval().requires_grad_(False), history
