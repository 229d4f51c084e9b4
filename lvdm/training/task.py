"""What is fitted: a network with its loss, the order of its examples, what is drawn for them, and its optimiser.

Step s sees the examples s*B .. s*B + B-1 of the data set, B over all devices and accumulated batches.
Not here: what the loss is (autoencoder.py, denoiser.py), and the fitting (fit.py).
"""

from __future__ import annotations

import copy
import itertools
import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler, default_collate

from lvdm.diffusion.noise import generator_of
from lvdm.errors import ArtefactError
from lvdm.params import Training
from lvdm.training.sharding import shard

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

    @property
    def examples_a_step(self) -> int:
        """Over all devices and accumulated batches."""
        return self.training_params.examples_a_step(self.trainer.world_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["examples_a_step"] = self.examples_a_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to go on with another number of examples a step.

        Raises:
            ArtefactError: it is of a run whose steps saw another number of examples.
        """
        seen, now = checkpoint["examples_a_step"], self.examples_a_step
        if seen != now:
            folder = self.trainer.default_root_dir
            raise ArtefactError(
                f"{folder}: a killed run of {seen} examples a step; batch_size x accumulate x devices are {now} now",
                remedy="train on as many devices as it did, or remove that folder to begin anew",
            )

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
