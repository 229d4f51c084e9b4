"""A run whose gradients are kept, as they are before they are clipped: python exchange_run.py FOLDER DEVICES BATCH."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from small_run import Noise, small_params
from torch import Tensor, nn

from lvdm.data.frames import as_clip
from lvdm.machine import Machine
from lvdm.ranks import is_first_process
from lvdm.training.fit import fit
from lvdm.training.task import Batch, Draw, Task

STEPS, ACCUMULATE = 3, 2


class Parts(nn.Module):
    """Two children that are passed through, one that is not, and a weight that is in none of them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second, self.idle = nn.Linear(64, 8), nn.Linear(8, 1), nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh() * self.scale)


class Kept(Task):
    """A mean over examples, whose gradients at each step go to files."""

    folder: Path

    @property
    def draw(self) -> Draw:
        return nothing

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": self.network(as_clip(batch["frames"])[:, 0, 0].flatten(1)).square().mean()}

    def validation_means(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.training_step(batch, 0)["loss"]}

    def configure_gradient_clipping(self, *args: object, **kwargs: object) -> None:
        if is_first_process():
            gradients = {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}
            save_file(gradients, self.folder / f"{self.trainer.global_step}.gradients")
        super().configure_gradient_clipping(*args, **kwargs)


def nothing(batch: Batch, generators: object) -> Batch:
    return {}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, devices, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for accumulate in (1, ACCUMULATE):
        training = small_params(steps=STEPS, batch_size=batch, accumulate=accumulate).training
        task = Kept(Parts(), training)
        task.folder = folder / f"{accumulate}"
        task.folder.mkdir(parents=True, exist_ok=True)
        fit(task, Noise(), Machine(accelerator="cpu", devices=devices), task.folder / "state")
