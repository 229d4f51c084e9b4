"""A run on two processes, the second of which writes its process id and then waits: python waiting_run.py SCRATCH."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
from small_run import Noise, small_params

from lvdm.machine import Machine
from lvdm.orphan import watch_over_orderer
from lvdm.ranks import is_first_process
from lvdm.training.autoencoder import train_autoencoder
from lvdm.workspace import atomic_file


class Waiting(Noise):
    """Clip 8 takes the second process five minutes."""

    def __init__(self, scratch: Path):
        self.scratch = scratch

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index >= 8 and not is_first_process():
            with atomic_file(self.scratch / "pid") as beside:
                beside.write_text(str(os.getpid()))
            time.sleep(300)
        return super().__getitem__(index)


if __name__ == "__main__":
    watch_over_orderer()
    scratch, machine = Path(sys.argv[1]), Machine(accelerator="cpu", devices=2, strategy="ddp")
    train_autoencoder(Waiting(scratch), small_params(), machine, scratch / "state")
