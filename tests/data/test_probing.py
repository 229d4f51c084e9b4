"""What is probed, and what is remembered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from lvdm.data import inspection, probing
from lvdm.data.probing import probed
from lvdm.errors import RefusedBySystem
from lvdm.workspace import Workspace

from .footage import encoded, files_of_at_most, moving, video


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


@pytest.fixture
def looked_at(monkeypatch) -> list[str]:
    """The names of the videos that were probed, in order."""
    names: list[str] = []
    original = probing.bounded_map

    def spy(function, requests, *limits):
        names.extend(request.path.name for request in requests)
        return original(function, requests, *limits)

    monkeypatch.setattr(probing, "bounded_map", spy)
    return names


def videos(workspace, *names: str) -> list[str]:
    for seed, name in enumerate(names):
        video(workspace.root / name, seed=seed, frames=3)
    return list(names)


def test_adding_videos_probes_these_alone_and_the_findings_are_those_of_a_first_time(workspace, looked_at):
    videos(workspace, "a.mp4", "b.mp4")
    first = probed(["a.mp4", "b.mp4"], workspace)
    videos(workspace, "c.mp4")
    assert probed(["a.mp4", "b.mp4", "c.mp4"], workspace)[:2] == first
    assert looked_at == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_file_that_changed_is_probed_again(workspace, looked_at):
    videos(workspace, "a.mp4", "b.mp4")
    before = probed(["a.mp4", "b.mp4"], workspace)
    state = (workspace.root / "a.mp4").stat()
    shutil.copyfile(workspace.root / "b.mp4", workspace.root / "a.mp4")
    os.utime(workspace.root / "a.mp4", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    after = probed(["a.mp4", "b.mp4"], workspace)
    assert after[0]["checksum"] == after[1]["checksum"] == before[1]["checksum"]
    assert looked_at == ["a.mp4", "b.mp4", "a.mp4"]


def test_a_frame_that_changed_in_a_folder_is_noticed(workspace, looked_at):
    folder = workspace.root / "clip"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", (32, 32), "red").save(folder / name)
    before = probed(["clip"], workspace)
    Image.new("RGB", (32, 32), "blue").save(folder / "2.png")
    assert probed(["clip"], workspace)[0]["checksum"] != before[0]["checksum"]
    assert looked_at == ["clip", "clip"]


def test_videos_that_are_gone_are_forgotten(workspace):
    videos(workspace, "a.mp4", "b.mp4")
    probed(["a.mp4", "b.mp4"], workspace)
    probed(["b.mp4"], workspace)
    lines = (workspace.root / ".lvdm" / "probes.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["b.mp4"]


def test_a_kill_loses_at_most_what_was_in_work_and_a_half_written_line_is_no_line(workspace, looked_at):
    names = videos(workspace, *(f"{i}.mp4" for i in range(30)))
    script = (
        "import sys\nfrom pathlib import Path\nfrom lvdm.data.probing import probed\n"
        "from lvdm.workspace import Workspace\n"
        "if __name__ == '__main__':\n    probed(sys.argv[2:], Workspace.at(Path(sys.argv[1])))\n"
    )
    (workspace.root / "probe.py").write_text(script)
    memory = workspace.root / ".lvdm" / "probes.jsonl"
    process = subprocess.Popen(
        [sys.executable, str(workspace.root / "probe.py"), str(workspace.root), *names],
        env=os.environ | {"PYTHONPATH": str(probing.Path(probing.__file__).parents[2])},
    )
    while not memory.exists() or len(memory.read_text().splitlines()) < 3:
        assert process.poll() is None
    process.kill()
    process.wait()
    kept = len(memory.read_text().splitlines())
    with memory.open("a") as file:
        file.write('{"path": "29.mp4", "key"')
    found = probed(names, workspace)
    assert len(looked_at) <= 30 - kept + 1
    assert [f["frames"] for f in found] == [3] * 30


def test_one_that_is_lost_is_tried_again(workspace, looked_at, monkeypatch):
    videos(workspace, "a.mp4")
    monkeypatch.setattr(probing, "_seconds", lambda path: 0.0)
    assert probed(["a.mp4"], workspace)[0]["error"] == "timeout"
    monkeypatch.undo()
    assert probed(["a.mp4"], workspace)[0]["frames"] == 3


def test_a_full_disk_is_one_line_and_condemns_no_video(workspace):
    encoded(workspace.root / "a.mp4", "libsvtav1", frames=moving(height=480, width=640))
    with files_of_at_most(10_000), pytest.raises(RefusedBySystem, match=r"\.mp4: File too large; raise the limit"):
        probed(["a.mp4"], workspace)
    assert probed(["a.mp4"], workspace)[0]["straightened"]


def test_a_frame_that_may_not_be_read_is_one_lost_video_and_stops_no_other(workspace):
    videos(workspace, "a.mp4")
    folder = workspace.root / "clip"
    folder.mkdir()
    Image.new("RGB", (32, 32), "red").save(folder / "1.png")
    (folder / "2.png").mkdir()  # EISDIR, as root may read whatever is there
    one, other = probed(["clip", "a.mp4"], workspace)
    assert (one["error"], other.get("error")) == ("crashed", None)


def test_a_folder_of_frames_is_listed_once_however_many_it_has(tmp_path, monkeypatch):
    folder, listed = tmp_path / "clip", []
    folder.mkdir()
    Image.new("RGB", (16, 16)).save(folder / "0.png")
    for i in range(1, 1500):
        (folder / f"{i}.png").hardlink_to(folder / "0.png")
    original = inspection.frame_files
    monkeypatch.setattr(inspection, "frame_files", lambda path: (listed.append(path), original(path))[1])
    assert inspection.probe(folder).frames == 1500
    assert listed == [folder]


def test_a_video_is_probed_in_the_same_memory_on_however_many_cores(tmp_path, monkeypatch):
    """As on a machine of 64 cores, where algebra libraries, some loaded late, take 40 MB for each."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")
    (tmp_path / "machine.yaml").write_text("probe_gigabytes: 0.3\n")
    video(tmp_path / "a.mp4")
    (found,) = probed(["a.mp4"], Workspace.at(tmp_path))
    assert (found.get("error"), found.get("detail")) == (None, None)
