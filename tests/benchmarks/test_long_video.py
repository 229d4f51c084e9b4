"""The benchmark runs, prints its ratio, and long videos take no more memory than short ones."""

from __future__ import annotations

import yaml

from benchmarks.long_video import main
from tests.test_making import tiny

SIZE = 128  # pixels: kept, the frames of the long video would add more than a tenth to the peak


def test_twelve_times_the_frames_take_the_same_memory(tmp_path, capsys):
    document = tiny()
    document["clips"]["size"] = SIZE
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    ratio = main(["--params", str(tmp_path / "params.yaml"), "--frames", "64", "768", "--steps", "1"])
    assert ratio < 1.05
    assert "768 frames take" in capsys.readouterr().out
