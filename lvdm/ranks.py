"""Processes that train together, one a device: the first is the one that a person started, and makes the artefacts.

Not here: work that is divided without training (parallel.py).
"""

from __future__ import annotations

import os


class TrainingLeft(Exception):
    """A process that only helped to train has no more to do in this stage; run.py ends the stage for it."""


def is_first_process() -> bool:
    """Whether this is the process that a person started, not one that trains beside it on a device of its own."""
    return all(int(os.environ.get(rank, 0)) == 0 for rank in ("RANK", "LOCAL_RANK"))


def leave_to_first_process() -> None:
    """Called after training, where what every process has done ends and artefacts begin.

    Raises:
        TrainingLeft: this is not the first process.
    """
    if not is_first_process():
        raise TrainingLeft
