"""What the runs know of the machine: moving from a laptop to eight GPUs changes machine.yaml and nothing else.

Not here: what is computed; that is lvdm/params. This module loads no torch until asked for a device.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, model_validator

from lvdm.errors import ParamsError
from lvdm.section import Count, Positive, Section, Whole, parse, read_yaml

if TYPE_CHECKING:
    import torch

MOST_LOADERS = 16


def _on_s3(place: str) -> str:
    if not place.startswith("s3://"):
        raise ValueError("s3://bucket/prefix")
    return place


class Machine(Section):
    """Accelerator, devices and workers; the defaults suit a machine with or without a GPU."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Count = "auto"
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"  # over several devices; fsdp shards parameters and optimiser
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"  # auto: bf16-mixed on a GPU
    compile: bool = False  # torch.compile of the networks that train and sample; on a GPU
    recompute: bool = False  # activations, in the backward pass: less memory for about a third more time
    data_workers: Literal["auto"] | Whole = "auto"  # processes that load examples, a device
    probe_workers: Count = 2  # processes that probe videos at ingest
    probe_gigabytes: Positive = 4.0  # of memory that each of them may hold for a video
    cache_gigabytes: Positive | None = None  # of videos on S3, kept here; null: all of them
    artifacts: Annotated[str, AfterValidator(_on_s3)] | None = None  # s3://bucket/prefix, which machines share

    @model_validator(mode="after")
    def _possible(self) -> Machine:
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            raise ValueError("precision bf16-mixed or 32-true with strategy fsdp, which scales no gradients")
        if self.strategy == "fsdp" and self.compile:
            raise ValueError("compile false with strategy fsdp")
        return self

    @property
    def device(self) -> torch.device:
        """Where a stage that does not train computes: the first GPU, if there is one and it is wanted.

        Raises:
            ParamsError: a GPU is wanted and there is none.
        """
        import torch

        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ParamsError("machine.yaml: accelerator", expected="cpu or auto: there is no GPU here", got="gpu")
        return torch.device("cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu")

    @property
    def shared_devices(self) -> list[torch.device]:
        """Those among which a stage that does not train divides its work, a process each.

        Raises:
            ParamsError: more GPUs are wanted than there are.
        """
        import torch

        if self.device.type == "cpu":
            return [self.device] * (1 if self.devices == "auto" else self.devices)
        present = torch.cuda.device_count()
        wanted = present if self.devices == "auto" else self.devices
        if wanted > present:
            raise ParamsError("machine.yaml: devices", expected=f"at most {present}, the GPUs there are", got=wanted)
        return [torch.device("cuda", index) for index in range(wanted)]

    @property
    def by_ddp(self) -> bool:
        """Whether training is by DDP: every device has all weights, and gradients are exchanged.

        Raises:
            ParamsError: more GPUs are wanted than there are.
        """
        return self.strategy == "ddp" or (self.strategy == "auto" and len(self.shared_devices) > 1)

    @property
    def loaders(self) -> int:
        """Processes that feed a device: with `auto` none if that is a CPU, else its cores but for one, 16 at most."""
        if self.data_workers != "auto":
            return self.data_workers
        if self.device.type == "cpu":
            return 0
        return max(1, min(MOST_LOADERS, cores() // len(self.shared_devices) - 1))

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16", "float16"]:
        """That of inference, as of training: bfloat16 on a GPU unless `precision` says otherwise."""
        if self.precision == "32-true" or (self.precision == "auto" and self.device.type != "cuda"):
            return "float32"
        return "float16" if self.precision == "16-mixed" else "bfloat16"

    def autocast(self) -> torch.autocast:
        """The context of inference in that arithmetic."""
        import torch

        dtype = torch.float16 if self.arithmetic == "float16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.arithmetic != "float32")


def cores() -> int:
    """Those that this process may use: of a large machine a job has a share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_machine(path: Path) -> Machine:
    """Reads machine.yaml; no file means the defaults.

    Raises:
        ParamsError: an unknown key or a wrong value; one line names the field.
    """
    return parse(Machine, read_yaml(path) or {}, file=path.name) if path.exists() else Machine()
