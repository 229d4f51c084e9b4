"""No orphans: a stage ends when the process that ordered it is killed, so that no two ever write the same artefact.

Whoever orders a stage says so in the environment, or is the DVC that runs it; a stage started by hand is on its own.
Linux alone has the means.
The processes that a stage starts end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

DIES_WITH = "LVDM_DIES_WITH"  # the environment variable that holds the ordering process's id
OF_DVC = "DVC_STAGE"  # one that DVC gives to what it runs as a stage, and does not have itself


def watch_over_orderer() -> None:
    """Kills this process as soon as the one that ordered it is gone, through however many shells.

    That is the process named by `LVDM_DIES_WITH`, or else the DVC that runs this as a stage.
    """
    if sys.platform != "linux":
        return
    named = os.environ.get(DIES_WITH)
    orderer = int(named) if named else _above_the_stage() if OF_DVC in os.environ else None
    if orderer is None:
        return
    try:
        descriptor = os.pidfd_open(orderer)
    except ProcessLookupError:
        _die()
    threading.Thread(target=_wait_and_die, args=(descriptor,), name="orphan watch", daemon=True).start()


def _above_the_stage() -> int | None:
    """The nearest process above that is not of the stage itself, as its shell is; None if that has gone already."""
    pid, process = os.getppid(), Path("/proc")
    try:
        while pid > 1 and f"{OF_DVC}=".encode() in (process / str(pid) / "environ").read_bytes():
            stat = (process / str(pid) / "stat").read_text()
            pid = int(stat.rpartition(")")[2].split()[1])  # the parent's, after the name in brackets and the state
    except OSError:  # of another user, or gone
        return None
    return pid if pid > 1 else None


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
