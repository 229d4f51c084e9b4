"""Fitting a network: the trainer, the order of the data, the optimiser, and how a killed run goes on.

A run is a function of its configuration: step s sees the examples s*B .. s*B + B-1 of its data set (B over all
devices and accumulated batches) and noise seeded by their indices, so a run that was killed and resumed ends as one
that was not.
Not here: what the loss is; that is in autoencoder.py and denoiser.py.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import math
import os
import warnings
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from lvdm.diffusion.noise import generator_of
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.models.layers import recompute
from lvdm.orphan import DIES_WITH
from lvdm.params import Training
from lvdm.ranks import is_first_process
from lvdm.training.callbacks import (
    AtomicFiles,
    Average,
    Checkpoints,
    History,
    Layout,
    Progress,
    Terminable,
    Trace,
    Validation,
)
from lvdm.training.exchange import DataParallel
from lvdm.training.sharding import shard

logger = logging.getLogger(__name__)
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # below: tips, and what we did not ask for
logging.getLogger("lightning_fabric.strategies.launchers").setLevel(logging.INFO)  # which one of several processes died

Batch = dict[str, Tensor]
Examples = Dataset[Batch]  # without end: example i is a function of i alone, for every i from 0
Draw = Callable[[Batch, Sequence[torch.Generator]], Batch]  # a batch, a generator an example -> what is drawn for it


class Drawn(Dataset[Batch]):
    """Batches of examples with all that is drawn for them: in the processes that load them, while the device computes.

    What is drawn for example i is a function of `purpose` and i alone.
    """

    def __init__(self, examples: Examples | Sequence[Batch], draw: Draw, *purpose: int | str):
        self.examples, self.draw, self.purpose = examples, draw, purpose

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        batch = default_collate([self.examples[index] for index in indices])
        return batch | self.draw(batch, [generator_of(*self.purpose, index) for index in indices])


class Task(pl.LightningModule):
    """What Lightning must know of a network to fit it; children say what a step and a validation compute.

    Args:
        held_out: the examples to validate on, if any.
    """

    def __init__(self, network: nn.Module, training: Training, held_out: Sequence[Batch] = ()):
        super().__init__()
        self.network, self.training_params, self.held_out = network, training, held_out

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            self.network = copy.deepcopy(self.network)  # the caller's stays whole
            shard(self, ["training_step", "validation_means"])

    @property
    @abstractmethod
    def draw(self) -> Draw:
        """Draws what a step or a validation needs, on the CPU; it is pickled for the processes that load examples."""

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The `loss` to minimise and what else to trace, all without waiting for the device.

        The batch holds examples and what was drawn for them.

        `batch_idx` is Lightning's: on a sharded task it does not see that a method goes without.
        """

    @abstractmethod
    def validation_means(self, batch: Batch) -> dict[str, Tensor]:
        """Means over a batch of held-out examples and what was drawn for them."""

    def validate(self) -> dict[str, float]:
        """The means over all held-out examples: the same in batches of any size and on any number of devices."""
        totals: dict[str, float] = defaultdict(float)
        held_out, count = Drawn(self.held_out, self.draw, "validation"), len(self.held_out)
        for first in range(0, count, self.training_params.batch_size):
            indices = range(first, min(first + self.training_params.batch_size, count))
            batch = {key: tensor.to(self.device) for key, tensor in held_out[indices].items()}
            for key, mean in self.validation_means(batch).items():
                totals[key] += mean.item() * len(indices) / count
        return dict(totals)

    def indices(self, batch: int) -> range:
        """The indices in the data set of the examples in this process's batch number `batch` of the run."""
        size = self.training_params.batch_size
        first = (batch * self.trainer.world_size + self.trainer.global_rank) * size
        return range(first, first + size)

    def configure_optimizers(self) -> Any:
        fused = self.trainer.precision != "16-mixed"  # it would unscale the gradients after they were clipped
        groups = [{"params": list(network.parameters())} for network in self.children()]
        optimiser = torch.optim.AdamW(groups, self.training_params.learning_rate, betas=(0.9, 0.99), fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate_factor(self.training_params))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Gradients that are summed over batches have memory of their own: what a CUDA graph made, its next pass would
        overwrite.
        """
        if self.training_params.accumulate == 1:
            optimizer.zero_grad()
            return
        for parameter in self.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.zero_()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips each network by the norm of its gradients; Lightning's own way, with its own values, refuses the fused
        optimiser.
        """
        for network in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(network["params"], self.training_params.gradient_clip)


class BatchesFromStep(Sampler[list[int]]):
    """The indices of every batch of this process, without end, from the step that the run is at."""

    def __init__(self, task: Task):
        self.task = task

    def __iter__(self) -> Iterator[list[int]]:
        for batch in itertools.count(self.task.trainer.global_step * self.task.training_params.accumulate):
            yield list(self.task.indices(batch))


def learning_rate_factor(training: Training) -> Callable[[int], float]:
    """The factor on the learning rate by step: a linear warm-up, then constant or half a cosine down to zero."""

    def factor(step: int) -> float:
        if step < training.warmup_steps:
            return (step + 1) / (training.warmup_steps + 1)
        if training.decay == "constant":
            return 1.0
        progress = (step - training.warmup_steps) / max(training.steps - training.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor


N = TypeVar("N", bound=nn.Module)


def initialised(build: Callable[[], N], seed: int) -> N:
    """The network that `build` makes, its initial weights a function of `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def fit(task: Task, dataset: Examples, training: Training, machine: Machine, scratch: Path) -> History:
    """Trains the network that `task` was made with, in place: it ends with the averaged weights, on the run's device.

    The state of the run lies in `scratch`, and a run that finds one there goes on from it.

    Raises:
        LvdmError: the loss is not finite.
        ParamsError: the machine has not what machine.yaml asks for.
    """
    if training.validate_every and not task.held_out:
        logger.info("no held-out examples: training goes without validation")
    if machine.recompute:
        recompute(task.network)
    path, network, average = scratch / "run.ckpt", task.network, Average(training.ema_decay)
    trace = Trace(training.steps, training.validate_every if task.held_out else 0)
    callbacks = [
        Terminable(),
        Layout(),
        average,
        trace,
        Validation(average, trace, task.validate),
        Progress(trace, training.steps),
        Checkpoints(path, training.checkpoint_every, training.steps),
    ]
    trainer = _trainer(training, machine, callbacks, scratch)
    loader: DataLoader[Batch] = DataLoader(
        Drawn(dataset, task.draw, "training", training.seed),
        batch_size=None,  # the sampler gives whole batches
        sampler=BatchesFromStep(task),
        num_workers=machine.loaders,
        persistent_workers=machine.loaders > 0,
        pin_memory=machine.device.type == "cuda",
    )
    if is_first_process() and len(machine.shared_devices) > 1:
        os.environ[DIES_WITH] = str(os.getpid())  # those that train beside this one, waiting for it, end with it
    with warnings.catch_warnings(), _interruptible(trainer):
        warnings.filterwarnings("ignore", message=".*does not have many workers")  # machine.yaml decides
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # Lightning 2.6 on torch 2.13
        trainer.fit(task, loader, ckpt_path=path if path.exists() else None, weights_only=True)
    if torch.distributed.is_initialized():  # what follows concerns one process: metrics would wait for the others
        torch.distributed.destroy_process_group()
        # The next run of these processes must not meet in the store of this one, which sharding keeps alive.
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
    average.copy_to(network.to(trainer.strategy.root_device))
    return trace.rows


@contextlib.contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """A Ctrl-C within is a KeyboardInterrupt as anywhere else; Lightning makes an exit without a word of it."""
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


def _trainer(training: Training, machine: Machine, callbacks: list[pl.Callback], scratch: Path) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=machine.device.type,
            devices=machine.devices,
            strategy=_strategy(machine),
            plugins=[AtomicFiles(), _precision(machine)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            max_steps=training.steps,
            accumulate_grad_batches=training.accumulate,
            callbacks=callbacks,
            default_root_dir=scratch,
        )
    except MisconfigurationException as error:
        raise ParamsError(f"machine.yaml: {error}") from None


def _precision(machine: Machine) -> Precision:
    """The plugin itself: given the name 16-mixed on a CPU, Lightning trains in bfloat16 instead."""
    match machine.arithmetic:
        case "float32":
            return Precision()
        case "bfloat16":
            return MixedPrecision("bf16-mixed", machine.device.type)
        case "float16":
            return MixedPrecision("16-mixed", machine.device.type)


def _strategy(machine: Machine) -> Strategy | Literal["auto"]:
    if machine.strategy == "fsdp":
        return ModelParallelStrategy(save_distributed_checkpoint=False)
    if machine.by_ddp:
        return DataParallel()
    return "auto"
