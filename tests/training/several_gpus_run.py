"""A small run of a denoiser on two devices: python several_gpus_run.py FOLDER MACHINE, a machine as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sharded_run import run, save

from lvdm.machine import Machine
from lvdm.ranks import is_first_process

STEPS = 8

if __name__ == "__main__":
    torch.backends.cudnn.allow_tf32 = False
    folder = Path(sys.argv[1])
    denoiser, _ = run(folder, STEPS, 2, Machine.model_validate_json(sys.argv[2]))
    if is_first_process():
        save(folder / "weights", denoiser)
