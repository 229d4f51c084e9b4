"""Sources on S3, spoken to a real server through a proxy that injects faults."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvdm.data.mirror import COPIES, REMEDY
from lvdm.data.sources import collect
from lvdm.data.video import checksum
from lvdm.errors import LvdmError, SourceError, StorageError
from lvdm.params.layouts import Folder
from lvdm.storage import bucket, fetching
from lvdm.storage.bucket import Object, Prefix
from lvdm.storage.fetching import fetch, fetch_all

from ..data.faulty_proxy import FAULTS, fault_at_random
from ..data.footage import video

FOLDER = Folder(kind="folder")
SECRET = "mArKeD0123456789/secret+of0this1test2only"


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hashes(source, workspace) -> dict[str, str]:
    return {video.id: checksum(workspace.root / video.path) for video in source.videos}


def put(s3, key: str, content: bytes) -> None:
    s3.put_object(Bucket="raw", Key=key, Body=content)


def test_a_prefix_is_mirrored_and_fetched_once(workspace, tmp_path, s3, proxy):
    content = video(tmp_path / "v.mp4").read_bytes()
    put(s3, "set/b c/ü.mp4", content)
    put(s3, "set/a.mp4", b"short")
    put(s3, "set/empty.mp4", b"")
    put(s3, "set/captions.csv", b"path,label\na.mp4,one\n")
    put(s3, "set/page.html", b"x")
    put(s3, "set/../../escape.mp4", b"x")
    put(s3, f"set/{tmp_path}/absolute.txt", b"x")
    put(s3, "settled/other.mp4", b"x")
    source = collect("s3://raw/set/", FOLDER, workspace)
    assert not (tmp_path / "absolute.txt").exists()
    expected = {"a.mp4": hashed(b"short"), "b c/ü.mp4": hashed(content), "empty.mp4": hashed(b"")}
    assert hashes(source, workspace) == expected
    assert (source.folder / "captions.csv").is_file()

    proxy.seen.clear()
    shutil.rmtree(workspace.videos)
    put(s3, "set/a.mp4", b"other")
    s3.delete_object(Bucket="raw", Key="set/captions.csv")
    collect("s3://raw/set", FOLDER, workspace)
    assert proxy.gets == ["a.mp4"]
    assert checksum(workspace.videos / "a.mp4") == hashed(b"other")
    assert not (workspace.videos / "captions.csv").exists()
    assert len(list((workspace.local / COPIES).glob("??/*"))) == 3, "of what is gone no copy is left"


def test_a_listing_of_many_pages_is_read_to_its_end(s3, proxy, monkeypatch, tmp_path):
    names = [f"{i}.mp4" for i in range(5)]
    for name in names:
        put(s3, f"pages/{name}", b"x")
    prefix, asked = Prefix("s3://raw/pages", REMEDY), []
    call = prefix._s3.call_s3
    monkeypatch.setattr(prefix._s3, "call_s3", lambda m, **a: (asked.append(m), call(m, MaxKeys=2, **a))[1])
    proxy.fault = fault_at_random(1, ("500", "cut"), 0.3)
    assert list(prefix.list()) == names
    with pytest.raises(SourceError, match="not there"):
        list(fetch_all(prefix, [(Object("raw/pages/none.mp4", '"0"', 1), tmp_path / "none.mp4")]))
    assert list(prefix.list()) == names, "after an error, faults are tried again too"
    assert len(asked) > 3


def test_an_empty_prefix_a_missing_bucket_and_one_that_is_away_are_one_line(workspace, s3, proxy, monkeypatch):
    for source in ("s3://raw/nothing", "s3://no-such-bucket/x"):
        with pytest.raises(SourceError, match=r"ingest\.source"):
            collect(source, FOLDER, workspace)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"s3://raw/set at http://127.0.0.1:9: 8 attempts failed"):
        collect("s3://raw/set", FOLDER, workspace)


@pytest.fixture(scope="module")
def three(server):
    """Three objects of several blocks below raw/three, and their content."""
    contents = {f"{i}.mp4": random.Random(i).randbytes(2500) for i in range(3)}
    for name, content in contents.items():
        put(server[0], f"three/{name}", content)
    return contents


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_in_the_very_bytes_or_in_one_error(fault, workspace, three, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 1000)
    monkeypatch.setattr(bucket, "READ_SECONDS", 0.3)
    proxy.fault = lambda method, path: fault if "2.mp4" in path else ""
    if fault == "slow":
        collect("s3://raw/three", FOLDER, workspace)
    else:
        with pytest.raises(SourceError, match=r"s3://raw/three/2\.mp4 at http://127\.0\.0\.1:\d+: .+ run this again"):
            collect("s3://raw/three", FOLDER, workspace)
        assert not workspace.videos.exists()
    proxy.fault = fault_at_random(3, (fault,), 0.2)
    source = collect("s3://raw/three", FOLDER, workspace)
    assert hashes(source, workspace) == {name: hashed(content) for name, content in three.items()}
    assert not list((workspace.local / COPIES).glob("partial/*")), "nothing half fetched is left"


def test_what_came_before_an_error_is_not_fetched_again(workspace, three, s3, proxy, monkeypatch):
    monkeypatch.setattr(bucket, "PARALLEL", 1)
    proxy.fault = lambda method, path: "500" if "2.mp4" in path else ""
    with pytest.raises(SourceError):
        collect("s3://raw/three", FOLDER, workspace)
    proxy.fault = lambda method, path: ""
    proxy.seen.clear()
    collect("s3://raw/three", FOLDER, workspace)
    assert proxy.gets == ["2.mp4"]


def test_an_object_that_changes_while_it_is_fetched_is_never_put_together_of_both(tmp_path, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 1000)
    put(s3, "changing/a.mp4", b"a" * 1500)
    prefix = Prefix("s3://raw/changing", REMEDY)
    entry = prefix.list()["a.mp4"]

    def change_after_the_first_block(method: str, path: str) -> str:
        if len(proxy.gets) == 2:
            put(s3, "changing/a.mp4", b"b" * 1500)
        return ""

    proxy.seen.clear()
    proxy.fault = change_after_the_first_block
    with pytest.raises(SourceError, match="changed meanwhile"):
        fetch(prefix, entry, tmp_path / "a.mp4")


def put_in_parts(s3, key: str, parts: list[bytes]) -> None:
    upload = {"Bucket": "raw", "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etags = [s3.upload_part(**upload, PartNumber=n, Body=part)["ETag"] for n, part in enumerate(parts, 1)]
    listed = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})


@pytest.mark.parametrize("sizes", [(5, 5, 1), (6, 5, 1)], ids=["of one size", "of several sizes"])
def test_an_object_of_several_parts_is_checked_by_the_md5_of_each(sizes, tmp_path, s3, proxy):
    parts = [random.Random(n).randbytes(size * 2**20) for n, size in enumerate(sizes)]
    put_in_parts(s3, "parts/a.mp4", parts)
    prefix = Prefix("s3://raw/parts", REMEDY)
    entry = prefix.list()["a.mp4"]
    assert entry.etag.endswith('-3"')
    damaged = iter(["garbled"])
    proxy.fault = lambda method, path: next(damaged, "") if method == "GET" else ""
    assert fetch(prefix, entry, tmp_path / "a.mp4").read_bytes() == b"".join(parts)
    assert next(damaged, "none left") == "none left"
    proxy.fault = lambda method, path: "garbled" if method == "GET" else ""
    with pytest.raises(StorageError, match="came damaged 8 times"):
        fetch(prefix, entry, tmp_path / "b.mp4")


def test_of_a_server_that_knows_of_no_parts_an_object_of_several_is_taken(tmp_path, s3, proxy, monkeypatch):
    put_in_parts(s3, "partless/a.mp4", [b"a" * 5 * 2**20, b"b"])
    prefix = Prefix("s3://raw/partless", REMEDY)
    call = prefix._s3.call_s3
    monkeypatch.setattr(prefix._s3, "call_s3", lambda m, PartNumber=0, **a: call(m, **a))
    path = fetch(prefix, prefix.list()["a.mp4"], tmp_path / "a.mp4")
    assert path.read_bytes() == b"a" * 5 * 2**20 + b"b"


FETCH = """
import sys; from pathlib import Path
from lvdm.storage import fetching; from lvdm.storage.bucket import Prefix
fetching.BLOCK = 1000
prefix = Prefix(sys.argv[1], "")
fetching.fetch(prefix, prefix.list()["a.mp4"], Path(sys.argv[2]))
"""


def test_a_killed_fetch_of_a_large_object_goes_on_where_it_was(tmp_path, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 1000)
    content, path = random.Random(1).randbytes(9500), tmp_path / "a.mp4"
    put(s3, "large/a.mp4", content)
    process = subprocess.Popen([sys.executable, "-c", FETCH, "s3://raw/large", str(path)])

    def kill_at_the_sixth_block(method: str, url: str) -> str:
        if len(proxy.gets) == 6:
            process.kill()
            process.wait()
        return ""

    proxy.fault = kill_at_the_sixth_block
    assert process.wait(60) == -9
    assert content.startswith(path.read_bytes())
    arrived = path.stat().st_size // 1000
    assert arrived >= 4
    proxy.fault = lambda method, url: ""
    proxy.seen.clear()
    prefix = Prefix("s3://raw/large", REMEDY)
    assert fetch(prefix, prefix.list()["a.mp4"], path).read_bytes() == content
    assert len(proxy.gets) == 10 - arrived


def test_what_is_left_of_another_content_is_never_built_upon(tmp_path, s3, proxy):
    put(s3, "left/a.mp4", b"new" * 1000)
    prefix, path = Prefix("s3://raw/left", REMEDY), tmp_path / "a.mp4"
    for left in (b"old" * 500, b"old" * 1000, b"old" * 1500):
        path.write_bytes(left)
        assert fetch(prefix, prefix.list()["a.mp4"], path).read_bytes() == b"new" * 1000


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL_S3", f"http://me:{SECRET}@127.0.0.1:9"), ("url", f"s3://me:{SECRET}@raw/x")]
)
def test_an_address_with_a_password_is_refused_without_saying_it(name, value, monkeypatch):
    if name != "url":
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="a user or a password") as caught:
        Prefix(value if name == "url" else "s3://raw/x", REMEDY)
    assert SECRET not in str(caught.value)


def test_credentials_are_in_nothing_that_is_written_or_said(workspace, three, s3, proxy, monkeypatch, caplog):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"token-{SECRET}")
    caplog.set_level(logging.INFO)
    said = []
    for fault in ("", "500", "cut", "reset"):
        proxy.fault = lambda method, path, fault=fault: fault
        try:
            collect("s3://raw/three", FOLDER, workspace)
        except LvdmError as error:
            said.append(repr(error))
    written = b"".join(path.read_bytes() for path in Path(workspace.root).rglob("*") if path.is_file())
    assert len(said) == 3
    assert re.search("attempt 2 of 8", caplog.text)
    assert SECRET not in "".join(said) + caplog.text
    assert SECRET.encode() not in written
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
