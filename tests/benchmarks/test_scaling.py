"""A run on one device is timed, and several devices are told against the first."""

from __future__ import annotations

from benchmarks import scaling

TINY = ["--size", "tiny"]


def test_one_run_prints_its_seconds_a_step(capsys):
    scaling.main([*TINY, "--batch", "2", "--steps", "2", "--no-compile", scaling.ONE_RUN, "1"])
    said = capsys.readouterr().out.strip().splitlines()[-1]
    assert float(said.removeprefix("seconds a step: ")) > 0


def test_two_devices_at_the_pace_of_one_make_twice_the_examples():
    runs = [scaling.Run(1, 0.1), scaling.Run(2, 0.1), scaling.Run(4, 0.2)]
    rows = [scaling.line(run, runs[0], batch=32) for run in runs]
    assert [row.split(" | ")[2:4] for row in rows] == [["320", "1.00x"], ["640", "2.00x"], ["640", "2.00x"]]
