"""What a plan says, in lines.

Not here: how it comes about (plan.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from lvdm.data.manifest import read_manifest
from lvdm.params import Params
from lvdm.planning import plan
from lvdm.planning.enough import shortcomings
from lvdm.planning.needs import GIB, Setting, usable
from lvdm.workspace import Workspace

LARGEST = 141  # GB: what counts as a GPU where there is none


def of_machine(params: Params, workspace: Workspace, gigabytes: Sequence[int] | None) -> Iterator[str]:
    """The lines that `lvdm plan` prints, each as soon as it is known.

    Raises:
        LvdmError: a network that a loss or a prompt needs is not there.
    """
    machine = workspace.machine
    measured = machine.device.type == "cuda"
    if measured:
        properties = torch.cuda.get_device_properties(machine.device)
        memory = float(properties.total_memory)
        yield f"{properties.name}, {memory / GIB:.3g} GiB, {machine.arithmetic}, compile: {machine.compile}; measured"
    else:
        memory = LARGEST * 1e9
        yield "no GPU here: memory is counted, for one of bfloat16 without compiling; no times"
    if machine.strategy == "fsdp":
        yield "strategy fsdp: the lines of training are of one GPU that holds all; several hold a share each"
    if workspace.validated.is_file():
        yield from shortcomings(params, read_manifest(workspace.validated), params.experiments)
    found = []
    for one in plan.trainings(params, workspace):
        as_set = Setting(one.training.batch_size, one.training.accumulate, machine.recompute)
        found.append(one)
        if not gigabytes:
            yield _line(one.row(as_set, memory), memory)
    if gigabytes:
        yield from plan.memories(found, gigabytes)
    elif measured:
        for made in plan.made(params, workspace):
            says = f"{made.stage} {made.name}: {_needed(made.bytes, made.seconds, made.what)}"
            yield f"{says}{'fits' if made.bytes <= usable(memory) else f'does not fit: {made.smaller}'}"


def _line(row: plan.Row, memory: float) -> str:
    says = f"{row.stage} {row.name}: {row.setting}: {_needed(row.bytes, row.seconds, 'all steps')}"
    if row.better is None:
        remedy = "more GPUs with strategy: fsdp, or smaller networks or clips"
        return f"{says}does not fit, and no setting on one GPU does: {remedy}"
    if row.better == row.setting:
        return f"{says}fits"
    return f"{says}{'fits; faster' if row.bytes <= usable(memory) else 'does not fit; set'}: {row.better}"


def _needed(needed: float, seconds: float | None, what: str) -> str:
    if math.isinf(needed):
        return ""
    time = "" if seconds is None else f", {duration(seconds)} for {what}"
    return f"{needed / GIB:.3g} GiB{time}; "


def duration(seconds: float) -> str:
    """Days, hours and minutes, the two largest of them, or seconds."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
