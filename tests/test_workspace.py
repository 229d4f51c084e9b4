"""Files appear whole or not at all, work on one artefact is done by one process, and reports come back as written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lvdm.errors import ArtefactError
from lvdm.workspace import Workspace, atomic_file, atomic_folder, need


def test_a_file_whose_writing_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="midway"), atomic_file(path) as beside:
        beside.write_text("half")
        raise RuntimeError("midway")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_whose_writing_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a"
    with atomic_folder(path) as beside:
        (beside / "x").write_text("old")
    with pytest.raises(RuntimeError, match="midway"), atomic_folder(path) as beside:
        (beside / "x").write_text("half")
        raise RuntimeError("midway")
    assert (path / "x").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, written):
    with atomic_file(tmp_path / "a.txt") as beside:
        beside.write_text("whole")
    assert written == [("flushed", beside.name), ("renamed", beside.name)]


def test_what_a_living_process_writes_beside_a_file_stays_and_what_a_dead_one_left_goes(tmp_path):
    living, dead = (tmp_path / f".a.txt.{pid}.tmp.txt" for pid in (os.getppid(), 4194304))
    living.touch()
    dead.touch()
    with atomic_file(tmp_path / "a.txt") as beside:
        beside.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [living, tmp_path / "a.txt"]


def test_a_process_killed_while_it_writes_leaves_no_artefact(tmp_path):
    program = f"""
from pathlib import Path
from lvdm.workspace import atomic_folder
with atomic_folder(Path({str(tmp_path / "a")!r})) as beside:
    (beside / "x").write_text("half")
    print("writing", flush=True)
    import time; time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "a").exists()


def test_a_second_process_is_told_who_holds_the_work(tmp_path):
    workspace = Workspace(tmp_path)
    program = f"""
from pathlib import Path
from lvdm.workspace import Workspace
with Workspace(Path({str(tmp_path)!r})).lock("sample", "a"):
    print("held", flush=True)
    import time; time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ArtefactError, match=f"already running as process {process.pid}"), workspace.lock("sample", "a"):
        pass
    with workspace.lock("sample", "b"):
        pass
    process.kill()
    process.communicate()
    with workspace.lock("sample", "a"):
        pass


def test_what_is_missing_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(ArtefactError, match=r"manifest.parquet: not there; run `lvdm ingest` first"):
        need(Workspace(tmp_path).manifest, "ingest")


def test_scratch_of_other_work_is_removed(tmp_path):
    workspace = Workspace(tmp_path)
    for work in ("1", "2"):
        workspace.scratch("sample", "a", work).mkdir(parents=True)
    workspace.clear_scratch("sample", "a", keep=workspace.scratch("sample", "a", "2"))
    assert workspace.scratches("sample", "a") == [workspace.scratch("sample", "a", "2")]
    workspace.clear_scratch("sample", "a")
    assert workspace.scratches("sample", "a") == []
