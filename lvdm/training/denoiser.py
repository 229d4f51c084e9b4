"""Training the denoiser on windows of whitened latents.

Not here: what the loss is (lvdm/diffusion/objective.py) and how a network is fitted (fit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lvdm.diffusion.objective import denoising_loss
from lvdm.machine import Machine, leave_to_first_process
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainDenoiser
from lvdm.training.callbacks import History
from lvdm.training.fit import Batch, Examples, Task, fit, initialised


class DenoiserTraining(Task):
    """The denoising loss on a batch of windows."""

    network: Denoiser

    def __init__(self, network: Denoiser, params: TrainDenoiser):
        super().__init__(network, params.training)
        self.objective = params.objective

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        num_labels = self.network.num_labels
        label = batch["label"].clamp(max=num_labels)
        denoising = denoising_loss(
            self.network, batch["latent"], batch["stride"], label, self.objective, num_labels, self.generators()
        )
        return {"loss": denoising.loss, "error": denoising.error.mean()}


def train_denoiser(
    windows: Examples,
    params: TrainDenoiser,
    latent_channels: int,
    labels: Sequence[str],
    machine: Machine,
    scratch: Path,
) -> tuple[Denoiser, History]:
    """A trained denoiser, ready for inference, and the trace of its training.

    Args:
        windows: examples {"latent": float32 of c t h w, whitened; "stride", "label": int64}, example i a function of
            i alone; a label that is no index into `labels` from above means that there is none.
        labels: the names of the labels; without label condition the denoiser learns none of them.
        scratch: the folder that a killed run goes on from.
    """
    num_labels = len(labels) if params.network.condition == "label" else 0
    network = initialised(lambda: Denoiser(params.network, latent_channels, num_labels), params.training.seed)
    if machine.compile:
        network.compile()
    history = fit(DenoiserTraining(network, params), windows, params.training, machine, scratch)
    leave_to_first_process()
    return network.eval().requires_grad_(False), history
