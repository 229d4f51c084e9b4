from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import sys
import time

from lvdm.data.bounded import Lost, beat, bounded_map


def test_every_item_gets_its_result():
    assert dict(bounded_map(math.sqrt, [0.0, 1.0, 4.0, 9.0], 2, lambda _: 60)) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}


def test_no_items_need_no_processes():
    assert list(bounded_map(math.sqrt, [], 2, lambda _: 60)) == []


def test_what_an_item_raises_is_told_and_the_rest_goes_on():
    results = dict(bounded_map(float, ["1.5", "none", "2.5"], 1, lambda _: 60))
    told = Lost("crashed", "ValueError: could not convert string to float: 'none'")
    assert results == {0: 1.5, 1: told, 2: 2.5}


def test_an_item_that_hangs_is_killed_and_the_rest_goes_on():
    results = dict(bounded_map(time.sleep, [600.0, 0.0, 0.0], 1, lambda item: 3 if item else 60))
    assert results[0] == Lost("timeout", "no sign of life within its limit")
    assert results[1] is results[2] is None


def test_an_item_that_kills_its_process_is_lost_and_the_rest_goes_on():
    results = dict(bounded_map(os._exit, [7, 7], 1, lambda _: 60))
    assert results == {0: Lost("crashed", "exit code 7"), 1: Lost("crashed", "exit code 7")}


class Deadly:
    """Kills the process that it is brought to."""

    def __call__(self, item: bytes) -> None:
        raise AssertionError("it is never called")

    def __reduce__(self) -> tuple:
        return os._exit, (3,)


def test_a_process_that_dies_before_it_takes_its_item_loses_that_one():
    lost = Lost("crashed", "exit code 3")
    assert dict(bounded_map(Deadly(), [bytes(1_000_000)] * 2, 1, lambda _: 60)) == {0: lost, 1: lost}


def test_an_item_may_take_as_long_as_it_takes():
    assert dict(bounded_map(math.sqrt, [4.0], 1, lambda _: math.inf)) == {0: 2.0}


def nap(num: int) -> int:
    for _ in range(num):
        time.sleep(0.5)
        beat()
    return num


def test_an_item_that_shows_that_it_lives_has_more_time():
    assert dict(bounded_map(nap, [8], 1, lambda _: 3)) == {0: 8}


def hears_no_interrupt(_: int) -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_interrupt_at_the_terminal_is_left_to_whoever_maps():
    assert dict(bounded_map(hears_no_interrupt, [0], 1, lambda _: 60)) == {0: True}


def hold(num_bytes: int) -> str:
    try:
        return "held" if bytearray(num_bytes) else ""
    except MemoryError:
        return "refused"


def test_an_item_holds_no_more_memory_than_its_limit():
    results = dict(bounded_map(hold, [10_000_000, 3_000_000_000, 20_000_000], 1, lambda _: 60, max_bytes=1_000_000_000))
    assert results == {0: "held", 1: "refused", 2: "held"}


MAP_FOR_A_MINUTE = """
import multiprocessing, threading, time
from lvdm.data.bounded import bounded_map
if __name__ == "__main__":
    def say():
        while not multiprocessing.active_children(): time.sleep(0.01)
        print(multiprocessing.active_children()[0].pid, flush=True)
    threading.Thread(target=say).start()
    list(bounded_map(time.sleep, [60.0], 1, lambda _: 60))
"""


def test_killing_whoever_maps_ends_the_items_in_work():
    with subprocess.Popen([sys.executable, "-c", MAP_FOR_A_MINUTE], stdout=subprocess.PIPE, text=True) as mapper:
        worker = os.pidfd_open(int(mapper.stdout.readline()))
        mapper.kill()
        assert select.select([worker], [], [], 30)[0], "the process of the item lives on"
        os.close(worker)
