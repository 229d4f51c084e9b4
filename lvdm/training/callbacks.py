"""What happens between the steps of a run: averaging, tracing and validating, saving the state, telling how far.

Nothing here waits for the device at every step. Not here: the steps themselves.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import signal
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from tqdm import tqdm

from lvdm.errors import ArtefactError, LvdmError
from lvdm.training.sharding import assign, laid_out_as, shards, shares, whole
from lvdm.workspace import atomic_file

logger = logging.getLogger(__name__)

History = list[dict[str, int | float]]

MAX_ROWS = 200
LINES_OF_PROGRESS = 20


class AfterStep(pl.Callback):
    """Children act when a step of the optimiser has ended, which is `accumulate` batches."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        _, _, batch_idx = args
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.after_step(trainer, pl_module)

    @abstractmethod
    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None: ...


class Average(AfterStep):
    """The exponential moving average of the network's weights, the thing that a run exports.

    After step n it is d_n * average + (1 - d_n) * weights with d_n = min(decay, (1 + n) / (10 + n)), so that a short
    run forgets its first weights too. Of several processes each averages a share of the weights.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.weights: list[Tensor] = []  # sharded over all processes, but whole before and after training

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.parameters = shares(pl_module.get_submodule("network").parameters())
        start = self.weights or [p.detach() for p in self.parameters]
        self.weights = [laid_out_as(p, w) for p, w in zip(self.parameters, start, strict=True)]

    @torch.no_grad()
    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        n = trainer.global_step
        decay = min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(shards(self.weights), shards(self.parameters), 1 - decay)

    def on_train_end(self, *_: Any) -> None:
        for number, share in enumerate(self.weights):  # one at a time: there may be room for no second copy
            self.weights[number] = whole(share)

    @contextlib.contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """Within the block `network` has the averaged weights, after it its own again, to the bit."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for parameter, share, weight in zip(network.parameters(), self.parameters, self.weights, strict=True):
            own = share.clone()
            assign(parameter, weight)
            weight.copy_(own)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Gives `network` the averaged weights, after training."""
        for parameter, weight in zip(network.parameters(), self.weights, strict=True):
            parameter.copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": [whole(w).cpu() for w in self.weights]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = state_dict["weights"]


class Terminable(pl.Callback):
    """SIGTERM does what it did before the training: it ends a process at once, as SIGKILL does, and nothing is lost.

    Lightning would end it after a step, and before each tell all processes whether the first has had one; each would
    wait for its device for the answer, and never launch ahead of it.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        if threading.current_thread() is threading.main_thread():  # Lightning, too, has handlers there alone
            signal.signal(signal.SIGTERM, self.handler)
            if trainer.received_sigterm:
                signal.raise_signal(signal.SIGTERM)


class Layout(pl.Callback):
    """Lays the moments of the optimiser out as the parameters are, which the fused optimiser takes for granted.

    Those of a saved state need not be: sharded parameters are contiguous, others may be channels last.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimiser in trainer.optimizers:
            for parameter, state in optimiser.state.items():
                moments = {key: value for key, value in state.items() if value.shape == parameter.shape}
                state.update({key: laid_out_as(parameter, value) for key, value in moments.items()})


class Trace(AfterStep):
    """A row every so many steps, about MAX_ROWS a run, and one a validation: the means since the row before.

    Kept in the saved state, so a run that went on after a kill has the whole trace. Of the first process's batches.

    Raises:
        LvdmError: at a row, when the loss is not finite.
    """

    def __init__(self, steps: int, validate_every: int):
        self.steps, self.every, self.validate_every = steps, math.ceil(steps / MAX_ROWS), validate_every
        self.rows: History = []
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def validates(self, step: int) -> bool:
        """Whether the weights after `step` are validated: every so many steps, and at the end."""
        return self.validate_every > 0 and (step % self.validate_every == 0 or step == self.steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        outputs, *_ = args
        loss = outputs["loss"] * trainer.accumulate_grad_batches  # by which Lightning has divided it
        self._sums = {k: v.detach() + self._sums.get(k, 0) for k, v in {**outputs, "loss": loss}.items()}
        self._count += 1
        super().on_train_batch_end(trainer, pl_module, *args)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        if step % self.every and step < self.steps and not self.validates(step):
            return
        row = {name: total.item() / self._count for name, total in self._sums.items()}
        if not math.isfinite(row["loss"]):
            raise LvdmError(
                f"training diverged before step {step}",
                expected="a finite loss",
                got=row["loss"],
                remedy="lower training.learning_rate or training.gradient_clip",
            )
        self.rows.append({"step": step, **row})
        self._sums, self._count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "sums": self._sums, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._sums, self._count = state_dict["rows"], state_dict["sums"], state_dict["count"]


class Validation(AfterStep):
    """Measures the averaged weights on held-out examples, into the trace: in every process, with equal results.

    Nothing is compiled for it: it is seldom, and torch would compile all of it again, for passes without gradients.
    """

    def __init__(self, average: Average, trace: Trace, measure: Callable[[], dict[str, float]]):
        self.average, self.trace, self.measure = average, trace, measure

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.trace.validates(trainer.global_step):
            network = pl_module.get_submodule("network")
            arithmetic, eager = trainer.precision_plugin.forward_context(), torch.compiler.set_stance("force_eager")
            with self.average.applied_to(network), arithmetic, eager, torch.no_grad():
                network.eval()
                self.trace.rows[-1] |= {f"validation_{key}": value for key, value in self.measure().items()}
                network.train()


class Checkpoints(AfterStep):
    """Saves the whole state of the run to one file, every so many steps and at the end."""

    def __init__(self, path: Path, every: int, steps: int):
        self.path, self.every, self.steps = path, every, steps

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == self.steps:
            trainer.save_checkpoint(self.path)


class AtomicFiles(TorchCheckpointIO):
    """Writes a state beside and renames it: a kill while saving leaves the previous state.

    Lightning's own writing goes through the system's temporary folder, and a move between file systems is a copy.
    Tensors are saved contiguous, as sharding reads them: a state goes on under any strategy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_file(Path(path)) as beside, beside.open("wb") as file:  # of a full disk torch alone says little
            torch.save(apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.cpu().contiguous()), file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The state of a run.

        Raises:
            ArtefactError: the disk does not give back what was written.
        """
        try:
            return super().load_checkpoint(path, map_location, weights_only)
        except (EOFError, OSError, RuntimeError, UnpicklingError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # what torch says of a cut file
                raise
            kind, remedy = type(error).__name__, "remove it, and training begins anew"
            raise ArtefactError(f"{path}: damaged", got=kind, remedy=remedy) from error


class Progress(AfterStep):
    """How far the run is: a bar on a terminal, elsewhere a line every 5 %, with the rate since the line before."""

    def __init__(self, trace: Trace, steps: int):
        self.trace, self.steps, self.every = trace, steps, math.ceil(steps / LINES_OF_PROGRESS)
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.last = trainer.global_step, time.monotonic()
        if trainer.is_global_zero and sys.stderr.isatty():
            self.bar = tqdm(total=self.steps, initial=trainer.global_step, unit="step", dynamic_ncols=True)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        if self.bar is not None:
            self.bar.update()
        if (step % self.every and step < self.steps) or not self.trace.rows or not trainer.is_global_zero:
            return
        loss = self.trace.rows[-1]["loss"]
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{loss:.3g}")
        else:
            before, self.last = self.last, (step, time.monotonic())
            rate = (self.last[0] - before[0]) / (self.last[1] - before[1])
            minutes, seconds = divmod(round((self.steps - step) / rate), 60)
            logger.info("step %d/%d loss %.3g %.1f it/s eta %02d:%02d", step, self.steps, loss, rate, minutes, seconds)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
