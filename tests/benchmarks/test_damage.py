"""The benchmark counts every copy, and many flipped bits of an H.264 file are never taken for a good video."""

from __future__ import annotations

from benchmarks import damage
from benchmarks.damage import Flips, main, outcome
from lvdm.data.bounded import Lost
from tests.data.footage import video

SMALL = ["--videos", "1", "--frames", "12", "--video-size", "96", "64", "--copies", "6", "--workers", "1"]


def test_every_copy_is_counted_and_what_passes_with_other_pixels_is_named(capsys):
    counts = main([*SMALL, "--bits", "1", "30"])
    assert {bits: sum(kinds.values()) for bits, kinds in counts.items()} == {1: 6, 30: 6}
    assert counts[30]["noticed"] == 6
    lines = capsys.readouterr().out.splitlines()
    assert sum("frames are off" in line for line in lines) == counts[1]["missed"]


def test_a_copy_without_flips_differs_in_no_frame(tmp_path):
    path = video(tmp_path / "a.mp4")
    assert outcome(Flips(path, ())).kind == "harmless"
    middle = 4 * path.stat().st_size
    assert outcome(Flips(path, tuple(range(middle, middle + 2000)))).kind == "noticed"


def test_a_copy_that_ends_its_process_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "bounded_map", lambda *_: [(0, Lost("crashed", "exit code -11"))])
    (tmp_path / "a.mp4").write_bytes(b"a video")
    counts = main(["--source", str(tmp_path), "--copies", "1", "--bits", "1"])
    assert counts == {1: {"noticed": 1, "harmless": 0, "missed": 0}}
