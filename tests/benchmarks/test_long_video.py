"""The benchmark runs, prints its ratio, and long videos take no more memory than short ones."""

from __future__ import annotations

import yaml

from benchmarks.long_video import main
from tests.test_making import tiny


def test_sixteen_times_the_frames_take_the_same_memory(tmp_path, capsys):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny()))
    ratio = main(["--params", str(tmp_path / "params.yaml"), "--frames", "64", "1024", "--steps", "1"])
    assert ratio < 1.05
    assert "1024 frames take" in capsys.readouterr().out
