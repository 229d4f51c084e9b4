"""A folder of S3 becomes a folder of this machine: once, whole, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lvdm.errors import StorageError
from lvdm.storage import fetching
from lvdm.storage.fetching import fetch_here, fetched


def put(s3, prefix: str, contents: dict[str, bytes]) -> str:
    for name, content in contents.items():
        s3.put_object(Bucket="raw", Key=f"{prefix}/{name}", Body=content)
    return f"s3://raw/{prefix}"


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_half_of_a_file_is_not_taken_for_it_after_an_error_and_the_rest_is_fetched(workspace, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 1000)
    contents = {"config.json": b"{}", "deep/weights": bytes(range(250)) * 10}
    url = put(s3, "here/halves", contents)
    proxy.fault = lambda method, path: "500" if proxy.gets.count("weights") > 2 else ""
    with pytest.raises(StorageError, match="8 attempts failed"):
        fetch_here(url, workspace)
    proxy.fault = lambda method, path: ""
    proxy.seen.clear()
    assert files(fetch_here(url, workspace)) == contents
    assert proxy.gets == ["weights"], "of three blocks two were there"


def test_a_file_is_on_the_disk_before_it_gets_its_name(workspace, s3, written):
    fetch_here(put(s3, "here/flushed", {"a": b"x"}), workspace)
    assert written == [("flushed", ".a.part"), ("renamed", ".a.part")]


def test_a_folder_that_has_changed_is_fetched_anew_and_the_older_one_stays_as_it_was(workspace, s3):
    before, after = {"config.json": b"old"}, {"config.json": b"new"}
    older = fetch_here(put(s3, "here/changing", before), workspace)
    assert files(fetch_here(put(s3, "here/changing", after), workspace)) == after
    assert files(older) == before


def test_what_would_lie_outside_of_the_folder_is_left_out(workspace, s3):
    names = (f"/{workspace.root}/absolute", f"{workspace.root}/twice", "x/../../../up", "a", "folder/")
    url = put(s3, "here/strange", dict.fromkeys(names, b"x"))
    folder = fetch_here(url, workspace)
    assert files(workspace.root) == {str((folder / "a").relative_to(workspace.root)): b"x"}


def test_of_two_who_want_the_same_at_once_one_fetches_it_and_both_have_it(workspace, s3, proxy):
    contents = {"a": b"a" * 3000, "b": b"b" * 3000}
    url = put(s3, "here/twice", contents)
    proxy.fault = lambda method, path: "slow"
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(fetch_here, [url] * 2, [workspace] * 2))
    assert [files(folder) for folder in folders] == [contents, contents]
    assert sorted(proxy.gets) == ["a", "b"]


def test_of_those_who_want_the_same_for_a_while_none_has_it_taken_away(workspace, s3):
    contents = {"a": b"a" * 3000, "b": b"b" * 3000}
    url = put(s3, "here/passing", contents)

    def use(seconds: float) -> dict[str, bytes]:
        with fetched(url, workspace) as folder:
            time.sleep(seconds)
            return files(folder)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, [0.6, 0.4, 0.2, 0.0])) == [contents] * 4
    assert not files(workspace.root).pop(".lvdm/passing.lock"), "nothing is left but a name to wait at"


def test_what_stays_is_not_taken_away_by_one_who_wants_the_same_for_a_while(workspace, s3):
    url = put(s3, "here/staying", {"a": b"a"})
    folder = fetch_here(url, workspace)
    with fetched(url, workspace) as other:
        assert files(other) == {"a": b"a"}
    assert files(folder) == {"a": b"a"}


FETCH = """
import sys; from pathlib import Path
from lvdm.storage import fetching; from lvdm.workspace import Workspace
fetching.BLOCK = 10_000
with fetching.fetched(sys.argv[1], Workspace(Path(sys.argv[2]))):
    pass
"""


def test_what_a_kill_left_is_taken_up_if_it_is_the_same_still_and_else_goes(workspace, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 10_000)
    contents = {"weights": bytes(range(250)) * 100}
    for changed in (False, True):
        url = put(s3, f"here/killed-{changed}", contents)
        process = subprocess.Popen([sys.executable, "-c", FETCH, url, str(workspace.root)])

        def kill_at_the_third_block(method: str, path: str, process: subprocess.Popen = process) -> str:
            if proxy.gets.count("weights") == 3:
                process.kill()
                process.wait()
            return ""

        proxy.seen.clear()
        proxy.fault = kill_at_the_third_block
        assert process.wait(60) == -9
        proxy.fault = lambda method, path: ""
        proxy.seen.clear()
        now = {"weights": b"others"} if changed else contents
        with fetched(put(s3, f"here/killed-{changed}", now), workspace) as folder:
            assert files(folder) == now
        assert len(proxy.gets) == 1, "of three blocks two were there, or it is another"
        assert not [path for path in workspace.state.rglob("*") if path.is_file() and path.stat().st_size]


def test_a_prefix_of_nothing_is_one_line_and_no_folder(workspace, s3):
    url = put(s3, "here/only-a-folder", {"": b""})
    with pytest.raises(StorageError, match=r"s3://raw/here/only-a-folder at .*: not there"):
        fetch_here(url, workspace)
    assert not (workspace.state / "fetched").exists()
