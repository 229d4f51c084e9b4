"""How far long work is: a bar on a terminal, elsewhere at most ten lines; nothing unless `show` was called.

Not here: training, which knows its loss and its rate (training/callbacks.py).
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

LINES = 10
T = TypeVar("T")


def show() -> None:
    """Lets the library say what it does, on the standard error of this process."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("lvdm").setLevel(logging.INFO)  # what the libraries below us say stays at warnings


def progress(items: Iterable[T], total: int, doing: str, unit: str) -> Iterator[T]:
    """Yields `items`, `total` of them, and says how far it is when each is done: "sampling: batch 3 of 10"."""
    if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
        yield from tqdm(items, doing, total, unit=unit)
        return
    every = math.ceil(total / LINES)
    for count, item in enumerate(items, start=1):
        yield item
        if count % every == 0 or count == total:
            logger.info("%s: %s %d of %d", doing, unit, count, total)
