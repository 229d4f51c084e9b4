from __future__ import annotations

import math
import os
import time

from lvdm.data.bounded import Lost, bounded_map


def test_every_item_gets_its_result():
    assert dict(bounded_map(math.sqrt, [0.0, 1.0, 4.0, 9.0], 2, lambda _: 60)) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}


def test_no_items_need_no_processes():
    assert list(bounded_map(math.sqrt, [], 2, lambda _: 60)) == []


def test_an_item_that_hangs_is_killed_and_the_rest_goes_on():
    results = dict(bounded_map(time.sleep, [600.0, 0.0, 0.0], 1, lambda item: 3 if item else 60))
    assert results[0] == Lost("timeout", "the wall-clock limit passed")
    assert results[1] is results[2] is None


def test_an_item_that_kills_its_process_is_lost_and_the_rest_goes_on():
    results = dict(bounded_map(os._exit, [7, 7], 1, lambda _: 60))
    assert results == {0: Lost("crashed", "exit code 7"), 1: Lost("crashed", "exit code 7")}
