"""Training the denoiser on windows of whitened latents: one network for all tasks, or one that predicts and one that
interpolates, as arXiv 2211.13221 trains them.

Not here: what the loss is (lvdm/diffusion/objective.py) and how a network is fitted (fit.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lvdm.data.latent_windows import LatentWindows, held_out_windows
from lvdm.data.latents import LatentCache
from lvdm.diffusion.frame_conditions import FrameConditions
from lvdm.diffusion.objective import DenoisingLoss, Draws, denoising_loss
from lvdm.machine import Machine
from lvdm.models.compilation import compile_all, mode_of_training
from lvdm.models.denoiser import Denoiser
from lvdm.params import DenoiserObjective, TrainDenoiser
from lvdm.prompting import TrainingPrompts
from lvdm.ranks import leave_to_first_process
from lvdm.training.callbacks import History
from lvdm.training.fit import fit, initialised
from lvdm.training.task import Batch, Draw, Examples, Task

logger = logging.getLogger(__name__)

VALIDATION_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


class DenoiserTraining(Task):
    """The denoising loss on a batch of windows."""

    network: Denoiser

    def __init__(
        self, network: Denoiser, params: TrainDenoiser, prompts: TrainingPrompts, held_out: Sequence[Batch] = ()
    ):
        super().__init__(network, params.training, held_out)
        self.objective, self.prompts = params.objective, prompts

    @property
    def draw(self) -> Draw:
        return partial(_drawn_for_windows, self.objective)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        denoising = self._denoising(batch)
        return {"loss": denoising.loss, "error": denoising.error.mean()}

    def validation_means(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss, a mean over fixed levels, and the unweighted error at each; tasks and noise are fixed."""
        losses, means = [], {}
        for level in VALIDATION_LEVELS:
            denoising = self._denoising(batch, level)
            losses.append(denoising.loss)
            means[f"error_at_{level}"] = denoising.error.mean()
        return {"loss": torch.stack(losses).mean(), **means}

    def _denoising(self, batch: Batch, level: float | None = None) -> DenoisingLoss:
        condition, latent, stride = self.prompts.condition(batch), batch["latent"], batch["stride"]
        draws = Draws(FrameConditions(batch["given"], batch["level"]), batch["dropped"], batch["noise"])
        return denoising_loss(self.network, latent, stride, condition, self.objective, draws, level)


def _drawn_for_windows(objective: DenoiserObjective, batch: Batch, generators: Sequence[torch.Generator]) -> Batch:
    draws = Draws.of(objective, batch["latent"], generators)
    given, level = draws.conditions.given, draws.conditions.level
    return {"given": given, "level": level, "dropped": draws.dropped, "noise": draws.noise}


@dataclass(frozen=True)
class TrainedNetworks:
    """What an experiment has trained; without an `interpolator`, `network` fills the gaps too.

    `history` has a row for every step that was traced; what it says of the interpolator begins with `interpolator_`.
    """

    network: Denoiser
    interpolator: Denoiser | None
    history: History


def train_networks(
    cache: LatentCache, params: TrainDenoiser, prompts: TrainingPrompts, machine: Machine, scratch: Path
) -> TrainedNetworks:
    """Trains the network, or one after the other the two, of an experiment on the windows of a cache.

    A killed run goes on with the network that it was training; the first of two is not trained again.

    Raises:
        ArtefactError: no video is long enough.
        TrainingLeft: this process only helped to train.
    """

    def trained(settings: TrainDenoiser, folder: Path) -> tuple[Denoiser, History]:
        window, strides, training = settings.window, settings.strides, settings.training
        windows = LatentWindows(cache, window, strides, training.seed, prompts.example)
        held_out = held_out_windows(cache, window, strides, training.validation_examples, prompts.example)
        return train_denoiser(windows, settings, cache.shape[0], prompts, machine, folder, held_out)

    if not params.separate_interpolator:
        network, history = trained(params, scratch)
        leave_to_first_process()
        return TrainedNetworks(network, None, history)
    logger.info("training the predictor, then the interpolator")
    network, history = trained(predictor_params(params), scratch / "predictor")
    network.cpu()  # the other one needs the room
    logger.info("training the interpolator")
    interpolator, its_history = trained(interpolator_params(params), scratch / "interpolator")
    leave_to_first_process()
    return TrainedNetworks(network, interpolator, _of_both(history, its_history))


def predictor_params(params: TrainDenoiser) -> TrainDenoiser:
    """What the network beside an interpolator is trained by: the mix of tasks without interpolation."""
    tasks = params.objective.tasks
    rest = 1 - tasks.interpolate
    return _with_tasks(params, predict=tasks.predict / rest, interpolate=0.0, independent=tasks.independent / rest)


def interpolator_params(params: TrainDenoiser) -> TrainDenoiser:
    """What an interpolator is trained by: nothing but interpolation, at the strides that gaps have.

    Its unconditional pass is trained by the windows whose given frames are raised.
    """
    alone = _with_tasks(params, predict=0.0, interpolate=1.0, independent=0.0)
    return alone.model_copy(update={"strides": params.strides[:-1]})


def _with_tasks(params: TrainDenoiser, predict: float, interpolate: float, independent: float) -> TrainDenoiser:
    shares = {"predict": predict, "interpolate": interpolate, "independent": independent}
    tasks = params.objective.tasks.model_copy(update=shares)  # unchecked: an interpolator has no unconditional rest
    return params.model_copy(update={"objective": params.objective.model_copy(update={"tasks": tasks})})


def _of_both(history: History, of_interpolator: History) -> History:
    """One trace of both networks; a step that only one of them has traced is there too."""
    rows = {row["step"]: dict(row) for row in history}
    for row in of_interpolator:
        said = {f"interpolator_{key}": value for key, value in row.items() if key != "step"}
        rows.setdefault(row["step"], {"step": row["step"]}).update(said)
    return [rows[step] for step in sorted(rows)]


def compile_denoiser(network: Denoiser, machine: Machine) -> None:
    """Compiles what a step passes through; under DDP in two, so that gradients of one part are exchanged beside the
    backward pass of the other.
    """
    parts = [network.stem, network.body] if machine.by_ddp else [network]
    compile_all(parts, dynamic=False, mode=mode_of_training(machine))


def train_denoiser(
    windows: Examples,
    params: TrainDenoiser,
    latent_channels: int,
    prompts: TrainingPrompts,
    machine: Machine,
    scratch: Path,
    held_out: Sequence[Batch] = (),
) -> tuple[Denoiser, History]:
    """A trained network, ready for inference, and the trace of its training.

    Args:
        windows: examples {"latent": float32 of c t h w, whitened; "stride": int64; and what `prompts` says of a video},
            example i a function of i alone.
        scratch: the folder that a killed run goes on from.
        held_out: examples of the same kind, to validate on.
    """
    network = initialised(lambda: Denoiser(params.network, latent_channels, prompts.vocabulary), params.training.seed)
    if machine.compile:
        compile_denoiser(network, machine)
    task = DenoiserTraining(network, params, prompts, held_out)
    history = fit(task, windows, machine, scratch)
    return network.eval().requires_grad_(False), history
