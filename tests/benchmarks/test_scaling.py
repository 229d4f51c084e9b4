"""A run on one device is timed, and several devices are told against the first."""

from __future__ import annotations

import json

from benchmarks import scaling
from benchmarks.measuring import Kernel

TINY = ["--size", "tiny"]


def test_one_run_prints_the_seconds_a_step_of_every_part(capsys):
    scaling.main([*TINY, "--batch", "2", "--steps", "2", "--no-compile", scaling.ONE_RUN, "1"])
    said = capsys.readouterr().out.strip().splitlines()[-1]
    parts = json.loads(said.removeprefix("seconds a step, part by part: "))
    assert len(parts) == scaling.PARTS and min(parts) > 0


def test_two_devices_at_the_pace_of_one_make_twice_the_examples():
    runs = [scaling.Run(1, [0.1]), scaling.Run(2, [0.1, 0.1, 0.7]), scaling.Run(4, [0.2])]
    rows = [scaling.line(run, runs[0], batch=32) for run in runs]
    assert [row.split(" | ")[3:5] for row in rows] == [["320", "1.00x"], ["640", "2.00x"], ["640", "2.00x"]]


def test_what_holds_up_one_part_is_told_apart():
    run = scaling.Run(2, [0.1, 0.1, 0.7])
    assert scaling.line(run, run, batch=32).split(" | ")[1:3] == ["100", "700"]


def test_what_a_step_waits_for_is_where_only_the_exchange_runs_and_where_nothing_does():
    found = [Kernel("gemm", 0.0, 0.2), Kernel("ncclAllReduce", 0.1, 0.5), Kernel("triton", 0.3, 0.4)]
    said = scaling.exposed(found, 2, seconds=0.3)
    assert said == "  nothing but the exchange: 100 ms, nothing at all: 50 ms"
