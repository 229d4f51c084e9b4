"""No orphans: a stage ends when the process that ordered it is killed, so that no two ever write the same artefact.

Whoever orders a stage says so in the environment; a stage started by hand is on its own. Linux alone has the means.
The processes that a stage starts end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import threading
from typing import NoReturn

DIES_WITH = "LVDM_DIES_WITH"  # the environment variable that holds the ordering process's id


def watch_over_orderer() -> None:
    """Kills this process as soon as the process named by `LVDM_DIES_WITH` is gone, through however many shells."""
    orderer = os.environ.get(DIES_WITH)
    if orderer is None or sys.platform != "linux":
        return
    try:
        descriptor = os.pidfd_open(int(orderer))
    except ProcessLookupError:
        _die()
    threading.Thread(target=_wait_and_die, args=(descriptor,), name="orphan watch", daemon=True).start()


def watch_over_parent() -> None:
    """Kills this process, which `multiprocessing` started, as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was started by multiprocessing"
    threading.Thread(target=_wait_and_die, args=(parent.sentinel,), name="orphan watch", daemon=True).start()


def _wait_and_die(descriptor: int) -> None:
    select.select([descriptor], [], [])  # readable when the process ends
    _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # never reached; SIGKILL does not return
