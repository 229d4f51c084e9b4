"""Training the denoiser on windows of whitened latents.

Not here: what the loss is (lvdm/diffusion/objective.py) and how a network is fitted (fit.py).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lvdm.diffusion.objective import denoising_loss
from lvdm.machine import Machine, leave_to_first_process
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser
from lvdm.prompting import TrainingPrompts
from lvdm.training.callbacks import History
from lvdm.training.fit import Batch, Examples, Task, fit, initialised


class DenoiserTraining(Task):
    """The denoising loss on a batch of windows."""

    network: Denoiser

    def __init__(self, network: Denoiser, params: TrainDenoiser, prompts: TrainingPrompts):
        super().__init__(network, params.training)
        self.objective, self.prompts = params.objective, prompts

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        condition = self.prompts.condition(batch)
        denoising = denoising_loss(
            self.network, batch["latent"], batch["stride"], condition, self.objective, self.generators()
        )
        return {"loss": denoising.loss, "error": denoising.error.mean()}


def train_denoiser(
    windows: Examples,
    params: TrainDenoiser,
    latent_channels: int,
    prompts: TrainingPrompts,
    machine: Machine,
    scratch: Path,
) -> tuple[Denoiser, History]:
    """A trained denoiser, ready for inference, and the trace of its training.

    Args:
        windows: examples {"latent": float32 of c t h w, whitened; "stride": int64; and what `prompts` says of a video},
            example i a function of i alone.
        scratch: the folder that a killed run goes on from.
    """
    network = initialised(lambda: Denoiser(params.network, latent_channels, prompts.vocabulary), params.training.seed)
    if machine.compile:
        network.compile()
    history = fit(DenoiserTraining(network, params, prompts), windows, params.training, machine, scratch)
    leave_to_first_process()
    return network.eval().requires_grad_(False), history
