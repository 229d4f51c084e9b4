"""Fitting a network: the trainer, and how a killed run goes on.

A run is a function of its configuration, which decides the examples of every step and seeds their noise by their
indices, so a run that was killed and resumed ends as one that was not.
Not here: what is fitted (task.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import DataLoader

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
from lvdm.training.task import Batch, BatchesFromStep, Drawn, Examples, Task

logger = logging.getLogger(__name__)
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # below: tips, and what we did not ask for
logging.getLogger("lightning_fabric.strategies.launchers").setLevel(logging.INFO)  # which one of several processes died

N = TypeVar("N", bound=nn.Module)
FIRST_HANDED_OUT = 32_768  # net.ipv4.ip_local_port_range


def initialised(build: Callable[[], N], seed: int) -> N:
    """The network that `build` makes, its initial weights a function of `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def fit(task: Task, dataset: Examples, machine: Machine, scratch: Path) -> History:
    """Trains the network that `task` was made with, in place: it ends with the averaged weights, on the run's device.

    The state of the run lies in `scratch`, and a run that finds one there goes on from it.

    Raises:
        ArtefactError: the state of the run is damaged, or of steps that saw another number of examples.
        LvdmError: the loss is not finite.
        ParamsError: the machine has not what machine.yaml asks for.
    """
    training = task.training_params
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
        os.environ["MASTER_PORT"] = str(next_port(int(os.environ["MASTER_PORT"])))
    average.copy_to(network.to(trainer.strategy.root_device))
    return trace.rows


def next_port(port: int) -> int:
    """Where the processes of the next run meet, as each of them knows by itself.

    Not among the ports that Linux hands out to whoever asks for any, as Lightning did for the first: by now another
    program may have the next one.
    """
    return port + 1 if port < FIRST_HANDED_OUT else 20_000 + port % 10_000


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
