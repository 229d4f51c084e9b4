"""What a plan says, in lines.

Not here: how it comes about (plan.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from lvdm.data.manifest import read_manifest
from lvdm.params import Params
from lvdm.planning import plan
from lvdm.planning.enough import shortcomings
from lvdm.planning.needs import GIB, Setting
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
    if workspace.validated.is_file():
        yield from shortcomings(params, read_manifest(workspace.validated), params.experiments)
    found = []
    for one in plan.trainings(params, workspace):
        as_set = Setting(one.training.batch_size, one.training.accumulate, machine.recompute)
        found.append(one)
        if not gigabytes:
            yield _line(one.row(as_set, memory))
    if gigabytes:
        yield from plan.memories(found, gigabytes)
    elif measured:
        for made in plan.made(params, workspace):
            yield f"{made.stage} {made.name}: {made.bytes / GIB:.3g} GiB, {duration(made.seconds)} for {made.what}"


def _line(row: plan.Row) -> str:
    time = "" if row.seconds is None else f", {duration(row.seconds)} for all steps"
    says = f"{row.stage} {row.name}: {row.setting}: {row.bytes / GIB:.3g} GiB{time}"
    if row.better is None:
        return f"{says}; does not fit, and no setting does: make the network or the clips smaller"
    if row.better == row.setting:
        return f"{says}; fits"
    return f"{says}; better: {row.better}"


def duration(seconds: float) -> str:
    """Days, hours and minutes, the two largest of them, or seconds."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
