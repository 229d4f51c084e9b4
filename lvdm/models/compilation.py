"""Networks compiled by torch, and what a person is told of it.

It is kept where TORCHINDUCTOR_CACHE_DIR says, below `.lvdm` by the command line, so that the next process finds it.
Not here: which networks, and whether at all; machine.yaml decides.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable

import torch
from torch import nn

from lvdm.machine import Machine

logger = logging.getLogger(__name__)

GRAPHS = "reduce-overhead"  # a mode: a pass as one CUDA graph, one launch; what it returns lives until the next pass
KINDS_OF_INPUT = 4  # of a module: whole and last batches, with gradients and without


def compile_all(
    modules: Iterable[nn.Module], *, dynamic: bool | None = None, mode: str | None = None, backend: str = "inductor"
) -> None:
    """Compiles each module, in place, when it is first called with a new kind of input; the rest is as torch has it."""
    _tell()
    parts = list(modules)
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, KINDS_OF_INPUT * len(parts))  # modules of one class share it
    for part in parts:
        part.compile(dynamic=dynamic, mode=mode, backend=backend)


def mode_of_training(machine: Machine) -> str:
    """On a GPU a pass forward and one backward, of each module that is compiled, are a CUDA graph each.

    A step is thousands of kernels, and a host may take longer to launch them than the GPU to compute them.
    """
    return GRAPHS if machine.device.type == "cuda" else "default"


@functools.cache
def _tell() -> None:
    """From now on says that torch compiles, and how long it took."""
    from torch._dynamo.callback import callback_handler

    started: list[float] = []

    def begin(_: object) -> None:
        if not started:
            logger.info("compiling: minutes the first time on a machine, less when it finds what it kept")
        started.append(time.monotonic())

    def end(_: object) -> None:
        if (seconds := time.monotonic() - started[-1]) > 1:
            logger.info("compiled in %.0f s", seconds)

    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)
