"""Fitting a network: the trainer, the order of the data, the optimiser, and how a killed run goes on.

A run is a function of its configuration: step s sees the examples s*B .. s*B + B-1 of its data set (B over all
devices) and noise seeded by their indices, so a run that was killed and resumed ends as one that was not.
Not here: what the loss is; that is in autoencoder.py and denoiser.py.
"""

from __future__ import annotations

import logging
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from lvdm.diffusion.noise import generator_of
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.params import Training
from lvdm.training.callbacks import AtomicFiles, Average, Checkpoints, History, Progress, Trace

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # below: tips, and what we did not ask for

Batch = dict[str, Tensor]
Examples = Dataset[Batch]  # without end: example i is a function of i alone, for every i from 0


class Task(pl.LightningModule):
    """What Lightning must know of a network to fit it; children say what a step is."""

    def __init__(self, network: nn.Module, training: Training):
        super().__init__()
        self.network, self.training_params = network, training

    @abstractmethod
    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """The `loss` to minimise and what else to trace, all without waiting for the device."""

    @property
    def first_index(self) -> int:
        """The index in the data set of the first example that this process sees at this step."""
        return (self.trainer.global_step * self.trainer.world_size + self.trainer.global_rank) * self.batch_size

    @property
    def batch_size(self) -> int:
        return self.training_params.batch_size

    def generators(self) -> list[torch.Generator]:
        """A generator for each example of this step, seeded by its index."""
        first, seed = self.first_index, self.training_params.seed
        return [generator_of("training", seed, index) for index in range(first, first + self.batch_size)]

    def configure_optimizers(self) -> Any:
        fused = self.trainer.precision != "16-mixed"  # it would unscale the gradients after they were clipped
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=self.training_params.learning_rate, betas=(0.9, 0.99), fused=fused
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate_factor(self.training_params))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clips each network by the norm of its gradients; Lightning's own way refuses the fused optimiser."""
        for network in self.children():
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.training_params.gradient_clip)


class BatchesFromStep(Sampler[list[int]]):
    """The indices of every batch of this process, without end, from the step that the run is at."""

    def __init__(self, task: Task):
        self.task = task

    def __iter__(self) -> Iterator[list[int]]:
        first, size = self.task.first_index, self.task.batch_size
        stride = size * self.task.trainer.world_size
        while True:
            yield list(range(first, first + size))
            first += stride


def learning_rate_factor(training: Training) -> Callable[[int], float]:
    """The factor on the learning rate by step: a linear warm-up, then constant or half a cosine down to zero."""

    def factor(step: int) -> float:
        if step < training.warmup_steps:
            return (step + 1) / (training.warmup_steps + 1)
        if training.decay == "constant":
            return 1.0
        progress = (step - training.warmup_steps) / max(training.steps - training.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return factor


N = TypeVar("N", bound=nn.Module)


def initialised(build: Callable[[], N], seed: int) -> N:
    """The network that `build` makes, its initial weights a function of `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def fit(task: Task, dataset: Examples, training: Training, machine: Machine, scratch: Path) -> History:
    """Trains the network of `task` in place and leaves it with the averaged weights, on the device of the run.

    The state of the run lies in `scratch`, and a run that finds one there goes on from it.

    Raises:
        LvdmError: the loss is not finite.
        ParamsError: the machine has not what machine.yaml asks for.
    """
    path, trace, average = scratch / "run.ckpt", Trace(training.steps), Average(training.ema_decay)
    callbacks = [
        average,
        trace,
        Progress(trace, training.steps),
        Checkpoints(path, training.checkpoint_every, training.steps),
    ]
    trainer = _trainer(machine, max_steps=training.steps, callbacks=callbacks, default_root_dir=scratch)
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=BatchesFromStep(task),
        num_workers=machine.data_workers,
        persistent_workers=machine.data_workers > 0,
        pin_memory=machine.device.type == "cuda",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")  # machine.yaml decides
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # Lightning 2.6 on torch 2.13
        trainer.fit(task, loader, ckpt_path=path if path.exists() else None, weights_only=True)
    if torch.distributed.is_initialized():  # what follows concerns one process: metrics would wait for the others
        torch.distributed.destroy_process_group()
    average.copy_to(task.network)
    task.to(trainer.strategy.root_device)
    return trace.rows


def _trainer(machine: Machine, **arguments: Any) -> pl.Trainer:
    device = machine.device.type
    automatic: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if device == "cuda" else "32-true"
    try:
        return pl.Trainer(
            accelerator=device,
            devices=machine.devices,
            strategy=machine.strategy,
            precision=automatic if machine.precision == "auto" else machine.precision,
            plugins=[AtomicFiles()],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            **arguments,
        )
    except MisconfigurationException as error:
        raise ParamsError(f"machine.yaml: {error}") from None
