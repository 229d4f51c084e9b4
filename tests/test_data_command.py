"""`lvdm data` at a shell: a version is accepted, videos come and go, and what changed is said; so are mistakes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lvdm.__main__ import main
from tests.data.footage import video

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A workspace with eight videos of one's own, not ingested yet."""
    root = tmp_path_factory.mktemp("versions")
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["ingest"] |= {"source": "mine", "test_fraction": 0.5}
    document["validate"] |= {"min_side": 16, "near_duplicate_bits": None}
    document["clips"] |= {"frames": 4, "size": 16}
    (root / "params.yaml").write_text(yaml.safe_dump(document))
    (root / "mine").mkdir()
    for seed in range(8):
        video(root / f"mine/{seed}.mp4", seed=seed)
    return root


def stage(root: Path, name: str) -> None:
    assert main(["--root", str(root), name]) == 0


def lvdm(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, what was printed, and the errors."""
    command = [sys.executable, "-m", "lvdm", "--root", str(root), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_accept_and_diff_say_what_came_and_went_and_mistakes_are_one_line(root):
    stage(root, "ingest")
    status, _, error = lvdm(root, "data", "accept")
    assert (status, error.count("\n")) == (1, 1)
    assert "manifest.parquet: has not passed validate as it is; run `lvdm validate`" in error
    status, _, error = lvdm(root, "data", "diff", "accepted")
    assert (status, error.count("\n")) == (1, 1)
    assert "`lvdm data accept`" in error

    stage(root, "validate")
    assert lvdm(root, "data", "accept")[0] == 0
    assert lvdm(root, "data", "diff", "accepted")[1].startswith("8 -> 8 videos: the same; no distribution drifted")

    (root / "mine/0.mp4").unlink()
    (root / "mine/1.mp4").rename(root / "mine/one.mp4")
    shutil.copy(root / "mine/2.mp4", root / "mine/3.mp4")
    (root / "mine/new.mp4").write_bytes(b"")
    stage(root, "ingest")
    status, said, _ = lvdm(root, "data", "diff", "accepted")
    assert status == 0
    assert said.startswith("8 -> 8 videos: 1 added, 1 removed, 1 moved, 1 changed; ")
    for part in ("added:\n  new.mp4\n", "removed:\n  0.mp4\n", "1.mp4 -> one.mp4\n", "3.mp4: other bytes"):
        assert part in said
    status, _, error = lvdm(root, "data", "diff", "accepted", "no-such-revision")
    assert (status, error.count("\n")) == (1, 1)
    assert "no-such-revision" in error
