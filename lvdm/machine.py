"""What the runs know of the machine: moving from a laptop to eight GPUs changes machine.yaml and nothing else.

Not here: anything that changes what is computed; that is params.py. This module imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lvdm.section import Section, parse, read_yaml

Count = Annotated[int, Field(gt=0)]


class Machine(Section):
    """Accelerator, devices and workers; the defaults suit a machine with or without a GPU."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Count = "auto"
    strategy: str = "auto"  # of Lightning: auto, ddp, fsdp
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"  # auto: bf16-mixed on a GPU
    compile: bool = False  # torch.compile of the networks in training
    data_workers: Annotated[int, Field(ge=0)] = 0  # processes that read clips
    probe_workers: Count = 2  # processes that probe videos at ingest


def load_machine(path: Path) -> Machine:
    """Reads machine.yaml; no file means the defaults.

    Raises:
        ParamsError: an unknown key or a wrong value; one line names the field.
    """
    return parse(Machine, read_yaml(path) or {}, file=path.name) if path.is_file() else Machine()
