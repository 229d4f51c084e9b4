"""Work divided among the devices of the machine, a process each: what sampling, encoding and extraction do.

A share is known by its number alone, so that what comes out depends neither on how many there are nor on their pace.
Not here: the processes themselves (lvdm/data/bounded.py), and training, which Lightning divides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lvdm import cost, progress
from lvdm.cost import GpuUse
from lvdm.data.bounded import Lost, bounded_map
from lvdm.errors import ArtefactError, LvdmError, mendable


@dataclass(frozen=True)
class Share:
    """Every `of`-th piece of the work, from `number` on, for `device`."""

    number: int
    of: int
    device: torch.device

    @property
    def pieces(self) -> slice:
        """Its pieces of a sequence of all."""
        return slice(self.number, None, self.of)


def share_out(work: Callable[[Share], None], devices: Sequence[torch.device], doing: str) -> None:
    """Calls `work`, which is pickled, for a share a device: one alone in this process, else each in its own.

    Raises:
        ArtefactError: one of several processes died; the others are ended.
        LvdmError: what `work` raised.
    """
    shares = [Share(number, len(devices), device) for number, device in enumerate(devices)]
    if len(shares) == 1:
        _on_its_device(work, shares[0])
        return
    for number, outcome in bounded_map(functools.partial(_in_process, work), shares, len(shares), lambda _: math.inf):
        if isinstance(outcome, Lost):
            at = f"{doing}: process {number + 1} of {len(shares)}, on {devices[number]}"
            raise ArtefactError(f"{at}: {outcome.detail}", remedy="run this again: it goes on where it was")
        if isinstance(outcome, LvdmError):
            raise outcome
        cost.add(outcome)


def _on_its_device(work: Callable[[Share], None], share: Share) -> None:
    if share.device.type == "cuda":
        torch.cuda.set_device(share.device)
    work(share)


def _in_process(work: Callable[[Share], None], share: Share) -> LvdmError | GpuUse | None:
    """Runs in a process of its own; back go what a person can mend, or what was held of the GPU."""
    if share.number == 0:
        progress.show()  # shares are alike: how far the first is says it for all
    try:
        _on_its_device(work, share)
    except Exception as error:
        if (said := mendable(error)) is None:
            raise
        return said
    return GpuUse.of_this_process()
