"""Videos on S3 that are read as if they lay here, with room for all of them or for a few."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lvdm.data import mirror
from lvdm.data.ingest import build_manifest
from lvdm.data.mirror import COPIES
from lvdm.data.sources import collect
from lvdm.data.video import checksum, read_frames
from lvdm.errors import SourceError
from lvdm.fingerprints import sha256
from lvdm.params import Ingest
from lvdm.params.layouts import Folder
from lvdm.storage import fetching
from lvdm.workspace import Workspace

from .faulty_proxy import fault_at_random
from .footage import video

SOURCE = "s3://raw/many"
FOLDER = Folder(kind="folder")
ROOM = 4.6  # videos of six


@pytest.fixture(scope="module")
def videos(server, tmp_path_factory):
    """Six videos below SOURCE, as local files by name."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(6):
        path = video(folder / f"{i}.mp4", seed=i, frames=4)
        server[0].put_object(Bucket="raw", Key=f"many/{path.name}", Body=path.read_bytes())
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def few(workspace, videos) -> Workspace:
    """A workspace with room for few of them."""
    most = max(path.stat().st_size for path in videos.values())
    (workspace.root / "machine.yaml").write_text(f"cache_gigabytes: {ROOM * most / 1e9:.9f}\nprobe_workers: 1\n")
    return Workspace.at(workspace.root)


def copied_bytes(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in (workspace.local / COPIES).rglob("*.*") if path.is_file())


def watch(proxy, workspace: Workspace) -> list[int]:
    """The bytes of copies whenever something is asked for."""
    seen: list[int] = []

    def look(method: str, path: str) -> str:
        seen.append(copied_bytes(workspace))
        return ""

    proxy.fault = look
    return seen


def test_a_machine_with_little_room_makes_the_same_artefact_and_goes_through_all_in_that_room(
    few, videos, s3, proxy, tmp_path_factory
):
    roomy = Workspace.at(tmp_path_factory.mktemp("roomy"))
    collect(SOURCE, FOLDER, roomy)
    assert len(list((roomy.local / COPIES).glob("??/*"))) == len(videos)
    proxy.seen.clear()
    used = watch(proxy, few)
    source = collect(SOURCE, FOLDER, few)
    artefacts = [{path.name: path.read_bytes() for path in w.videos.iterdir()} for w in (roomy, few)]
    assert artefacts[0].keys() == {mirror.INDEX}
    assert artefacts[0] == artefacts[1]
    batches = []
    for span, files in mirror.local_batches([few.root / v.path for v in source.videos]):
        batches.append(len(files))
        assert [file.read_bytes() for file in files] == [videos[v.id].read_bytes() for v in source.videos[span]]
    assert batches == [2, 2, 2]
    assert 0 < max(used) <= few.machine.cache_gigabytes * 1e9


def test_frames_are_read_from_what_is_fetched_meanwhile(few, videos, s3, proxy):
    collect(SOURCE, FOLDER, few)
    proxy.seen.clear()
    used = watch(proxy, few)
    for name in [*sorted(videos), "5.mp4", "0.mp4"]:
        np.testing.assert_array_equal(read_frames(few.videos / name, [3, 0]), read_frames(videos[name], [3, 0]))
    assert proxy.gets == [*sorted(videos), "0.mp4"], "what was read last is kept"
    assert 0 < max(used) <= few.machine.cache_gigabytes * 1e9


def test_what_is_being_read_is_not_taken_away(few, videos, s3):
    collect(SOURCE, FOLDER, few)
    one = mirror._mirror_of(few.videos / mirror.INDEX)
    with one.held(["0.mp4"]) as copies:
        for name in ("1.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4"):
            checksum(few.videos / name)
        assert copies["0.mp4"].read_bytes() == videos["0.mp4"].read_bytes()
    with one.held(["0.mp4", "1.mp4", "2.mp4", "3.mp4"]):
        waiting = threading.Thread(target=checksum, args=(few.videos / "4.mp4",))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive(), "there is no room as long as all are read"
    waiting.join(10)
    assert not waiting.is_alive()


def read_all(paths: list[Path], hashes: list[str], seed: int) -> None:
    for index in np.random.default_rng(seed).integers(len(paths), size=8):
        assert checksum(paths[index]) == hashes[index]


def test_processes_that_read_at_once_through_faults_get_the_very_bytes(few, videos, s3, proxy):
    collect(SOURCE, FOLDER, few)
    names, hashes = sorted(videos), [sha256(videos[name]) for name in sorted(videos)]
    proxy.fault = fault_at_random(5, ("500", "cut", "short", "garbled", "reset"), 0.15)
    context = multiprocessing.get_context("fork")  # as a DataLoader does
    arguments = [([few.videos / name for name in names], hashes, seed) for seed in range(2)]
    readers = [context.Process(target=read_all, args=each) for each in arguments]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0, 0]


COLLECT = """
import sys; from pathlib import Path
from lvdm.data.sources import collect; from lvdm.params.layouts import Folder; from lvdm.workspace import Workspace
collect(sys.argv[1], Folder(kind="folder"), Workspace.at(Path(sys.argv[2])))
"""


def test_a_killed_mirror_leaves_no_half_and_is_not_begun_anew(workspace, videos, s3, proxy):
    process = subprocess.Popen([sys.executable, "-c", COLLECT, SOURCE, str(workspace.root)])

    def kill_while_it_fetches(method: str, path: str) -> str:
        if path.endswith("5.mp4"):
            process.kill()
            process.wait()
        return ""

    proxy.fault = kill_while_it_fetches
    assert process.wait() == -9
    proxy.fault = lambda method, path: ""
    left = list((workspace.local / COPIES).glob("??/*"))
    partials = list((workspace.local / COPIES).glob("partial/*"))
    whole = [path for path in partials if path.stat().st_size == int(path.name.split(".")[1])]  # but for its name
    assert not workspace.videos.exists()
    proxy.seen.clear()
    collect(SOURCE, FOLDER, workspace)
    assert len(proxy.gets) == len(videos) - len(left) - len(whole)
    assert {name: checksum(workspace.videos / name) for name in videos} == {n: sha256(v) for n, v in videos.items()}
    assert not list((workspace.local / COPIES).glob("partial/*"))


def test_what_came_of_a_video_before_an_error_is_not_fetched_again(few, videos, s3, proxy, monkeypatch):
    collect(SOURCE, FOLDER, few)
    size = videos["0.mp4"].stat().st_size
    monkeypatch.setattr(fetching, "BLOCK", size // 6 + 1)
    proxy.seen.clear()
    proxy.fault = lambda method, path: "500" if len(proxy.gets) > 3 else ""
    with pytest.raises(SourceError, match="8 attempts failed"):
        checksum(few.videos / "0.mp4")
    (left,) = (few.local / COPIES).glob("partial/*")
    assert left.stat().st_size == 3 * fetching.BLOCK
    proxy.fault = lambda method, path: ""
    proxy.seen.clear()
    assert checksum(few.videos / "0.mp4") == sha256(videos["0.mp4"])
    assert len(proxy.gets) == 3
    assert not list((few.local / COPIES).glob("partial/*"))


def test_an_ingest_knows_what_it_probed_by_its_etag_and_copies_serve_without_a_server(workspace, videos, s3, proxy):
    ingest = Ingest(source=SOURCE, layout={"kind": "folder"}, test_fraction=0.5, seed=0)
    manifest = build_manifest(ingest, workspace)
    assert list(manifest["checksum"]) == [sha256(videos[name]) for name in sorted(videos)]
    proxy.seen.clear()
    assert build_manifest(ingest, workspace).equals(manifest)
    assert not proxy.gets
    proxy.fault = lambda method, path: "reset"
    assert checksum(workspace.videos / "5.mp4") == manifest["checksum"][5]


def test_a_video_that_is_another_since_ingest_is_one_line(few, videos, s3, proxy):
    collect(SOURCE, FOLDER, few)
    s3.put_object(Bucket="raw", Key="many/1.mp4", Body=b"another")
    try:
        with pytest.raises(SourceError, match=r"s3://raw/many/1.mp4 .* changed meanwhile: .* run `lvdm ingest` again"):
            read_frames(few.videos / "1.mp4", [0])
    finally:
        s3.put_object(Bucket="raw", Key="many/1.mp4", Body=videos["1.mp4"].read_bytes())


def test_a_video_larger_than_the_room_is_one_line(workspace, videos, s3):
    (workspace.root / "machine.yaml").write_text("cache_gigabytes: 0.0000001\n")
    with pytest.raises(SourceError, match=r"machine\.yaml: cache_gigabytes.*raw/many/0\.mp4"):
        collect(SOURCE, FOLDER, Workspace.at(workspace.root))
        checksum(workspace.videos / "0.mp4")
