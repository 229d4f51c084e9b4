"""What happens between the steps of a run: averaging the weights, tracing the loss, saving the state, telling how far.

Nothing here waits for the device at every step. Not here: the steps themselves.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from tqdm import tqdm

from lvdm.errors import LvdmError
from lvdm.workspace import atomic_file

logger = logging.getLogger(__name__)

History = list[dict[str, int | float]]

MAX_ROWS = 200
LINES_OF_PROGRESS = 20


class Average(pl.Callback):
    """The exponential moving average of the network's weights, the thing that a run exports.

    After step n it is d_n * average + (1 - d_n) * weights with d_n = min(decay, (1 + n) / (10 + n)), so that a short
    run forgets its first weights too.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.weights: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start = self.weights or [p.detach().clone() for p in pl_module.get_submodule("network").parameters()]
        self.weights = [w.to(pl_module.device) for w in start]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        n = trainer.global_step
        decay = min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(self.weights, list(pl_module.get_submodule("network").parameters()), 1 - decay)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Gives `network` the averaged weights."""
        for parameter, weight in zip(network.parameters(), self.weights, strict=True):
            parameter.copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = state_dict["weights"]


class Trace(pl.Callback):
    """Rows of what the steps returned, each the mean since the row before, at most MAX_ROWS a run.

    Kept in the saved state, so a run that went on after a kill has the whole trace. Of the first process's batches.

    Raises:
        LvdmError: at a row, when the loss is not finite.
    """

    def __init__(self, steps: int):
        self.steps, self.every = steps, math.ceil(steps / MAX_ROWS)
        self.rows: History = []
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        step = trainer.global_step
        self._sums = {name: value.detach() + self._sums.get(name, 0) for name, value in outputs.items()}
        self._count += 1
        if step % self.every and step < self.steps:
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


class Checkpoints(pl.Callback):
    """Saves the whole state of the run to one file, every so many steps and at the end."""

    def __init__(self, path: Path, every: int, steps: int):
        self.path, self.every, self.steps = path, every, steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == self.steps:
            trainer.save_checkpoint(self.path)


class AtomicFiles(TorchCheckpointIO):
    """Writes a state beside and renames it: a kill while saving leaves the previous state.

    Lightning's own writing goes through the system's temporary folder, and a move between file systems is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_file(Path(path)) as beside:
            torch.save(checkpoint, beside)


class Progress(pl.Callback):
    """How far the run is: a bar on a terminal, elsewhere a line every 5 %."""

    def __init__(self, trace: Trace, steps: int):
        self.trace, self.steps, self.every = trace, steps, math.ceil(steps / LINES_OF_PROGRESS)
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.first_step, self.started = trainer.global_step, time.monotonic()
        if trainer.is_global_zero and sys.stderr.isatty():
            self.bar = tqdm(total=self.steps, initial=self.first_step, unit="step", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if self.bar is not None:
            self.bar.update()
        if (step % self.every and step < self.steps) or not self.trace.rows or not trainer.is_global_zero:
            return
        loss = self.trace.rows[-1]["loss"]
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{loss:.3g}")
        else:
            rate = (step - self.first_step) / (time.monotonic() - self.started)
            minutes, seconds = divmod(round((self.steps - step) / rate), 60)
            logger.info("step %d/%d loss %.3g %.1f it/s eta %02d:%02d", step, self.steps, loss, rate, minutes, seconds)

    def teardown(self, *_: Any, **__: Any) -> None:
        if self.bar is not None:
            self.bar.close()
