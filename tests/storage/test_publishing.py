"""Files become new objects: create-only, whole, and safely tried again through faults and kills."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest

from lvdm.errors import StorageError
from lvdm.fingerprints import sha256
from lvdm.storage import publishing
from lvdm.storage.bucket import Prefix
from lvdm.storage.fetching import fetch
from lvdm.storage.publishing import TakenError, publish, publish_all

from ..data.faulty_proxy import DAMAGED, fault_at_random

MB = 2**20
FAULTS = ("500", "503", "reset", "cut", "lost")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file and one of four parts, by the name of their content."""
    folder, found = tmp_path_factory.mktemp("files"), {}
    for size in (3000, 31 * MB):
        path = folder / str(size)
        path.write_bytes(random.Random(size).randbytes(size))
        found[sha256(path)] = path
    return found


def test_a_file_becomes_an_object_through_any_faults(files, tmp_path, s3, proxy):
    prefix = Prefix("s3://raw/published", "")
    proxy.fault = fault_at_random(2, FAULTS, 0.3)
    publish_all(prefix, files)
    found = prefix.list()
    assert found.keys() == files.keys()
    for name, path in files.items():
        assert sha256(fetch(prefix, found[name], tmp_path / name)) == sha256(path)
    proxy.seen.clear()
    publish_all(prefix, files)
    assert not [path for method, path in proxy.seen if method in ("PUT", "POST")], "what is there is not sent again"


@pytest.mark.parametrize("fault", ["500", "reset"])
def test_an_upload_that_cannot_be_ends_in_one_line_and_no_object(fault, files, s3, proxy):
    prefix = Prefix(f"s3://raw/never-{fault}", "")
    proxy.fault = lambda method, path: fault if method == "PUT" else ""
    for name, path in files.items():
        with pytest.raises(StorageError, match=rf"s3://raw/never-{fault}/{name} at .*: [1-8] attempts failed"):
            publish(prefix, name, path)
    assert not prefix.list()


def test_a_server_that_does_not_say_which_condition_failed_is_understood(tmp_path, s3, proxy):
    prefix, path = Prefix("s3://raw/unsaid", ""), tmp_path / "new"
    path.write_bytes(b"new")

    def take_first(method: str, url: str) -> str:
        if method == "PUT":
            s3.put_object(Bucket="raw", Key="unsaid/a", Body=b"theirs")
        return "412" if method == "PUT" else ""

    proxy.fault = take_first
    with pytest.raises(TakenError):
        publish(prefix, "a", path)


@pytest.mark.parametrize("size", [3, 9 * MB])
def test_an_object_is_never_overwritten_even_by_one_who_saw_none(size, tmp_path, s3, proxy):
    prefix, path = Prefix("s3://raw/created", ""), tmp_path / "new"
    path.write_bytes(b"n" * size)
    for before in (True, False):
        key = f"{size}-{before}"

        def meanwhile(method: str, path: str, key: str = key) -> str:
            if method in ("PUT", "POST") and "Contents" not in s3.list_objects_v2(
                Bucket="raw", Prefix=f"created/{key}"
            ):
                s3.put_object(Bucket="raw", Key=f"created/{key}", Body=b"theirs")
            return ""

        if before:
            meanwhile("PUT", "")
        else:
            proxy.fault = meanwhile
        with pytest.raises(TakenError, match="is there already, with another content"):
            publish(prefix, key, path)
        assert s3.get_object(Bucket="raw", Key=f"created/{key}")["Body"].read() == b"theirs"


PUBLISH = """
import sys; from pathlib import Path
from lvdm.storage import publishing; from lvdm.storage.bucket import Prefix
publishing.FILES_AT_ONCE = 1
publishing.publish(Prefix(sys.argv[1], ""), sys.argv[2], Path(sys.argv[3]))
"""


def test_a_killed_upload_shows_nothing_and_sends_no_part_again_that_was_sent(files, s3, proxy, monkeypatch):
    name, path = list(files.items())[1]
    prefix = Prefix("s3://raw/killed", "")
    process = subprocess.Popen([sys.executable, "-c", PUBLISH, prefix.url, name, str(path)])

    def kill_at_the_third_part(method: str, url: str) -> str:
        if method == "PUT" and "partNumber=3" in url:
            process.kill()
            process.wait()
            return "reset"
        return ""

    proxy.fault = kill_at_the_third_part
    assert process.wait(60) == -9
    proxy.fault = lambda method, url: ""
    assert not prefix.list()
    proxy.seen.clear()
    call, pages = prefix._s3.call_s3, {"list_parts": {"MaxParts": 1}}
    monkeypatch.setattr(prefix._s3, "call_s3", lambda m, **a: call(m, **a, **pages.get(m, {})))
    publish(prefix, name, path)
    parts = Counter(method for method, url in proxy.seen if "partNumber" in url)
    assert parts == {"PUT": 2}
    assert prefix.list()[name].size == path.stat().st_size


def test_an_upload_that_another_part_size_left_is_mixed_with_nothing(files, tmp_path, s3, proxy):
    name, path = list(files.items())[1]
    upload = {"Bucket": "raw", "Key": f"resized/{name}"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, Metadata={"sha256": name})["UploadId"]
    for number in (1, 2):
        s3.upload_part(**upload, PartNumber=number, Body=path.read_bytes()[(number - 1) * 6 * MB : number * 6 * MB])
    prefix = Prefix("s3://raw/resized", "")
    publish(prefix, name, path)
    assert sha256(fetch(prefix, prefix.list()[name], tmp_path / name)) == name


def test_an_upload_that_was_begun_of_another_content_under_the_name_is_not_gone_on_with(tmp_path, s3, proxy):
    s3.create_multipart_upload(Bucket="raw", Key="begun/video.mp4", Metadata={"sha256": "0" * 64})
    prefix, path = Prefix("s3://raw/begun", ""), tmp_path / "video.mp4"
    path.write_bytes(b"v" * 9 * MB)
    for _ in range(2):
        assert publish(prefix, "video.mp4", path) == "s3://raw/begun/video.mp4"


def test_a_file_of_more_parts_than_a_server_puts_together_goes_in_larger_ones(files, s3, proxy, monkeypatch):
    monkeypatch.setattr(publishing, "MOST_PARTS", 3)
    name, path = list(files.items())[1]
    prefix = Prefix("s3://raw/many", "")
    publish(prefix, name, path)
    found = prefix.list()[name]
    assert found.etag.endswith('-3"') and found.size == path.stat().st_size


def test_what_is_damaged_on_its_way_there_is_refused_by_its_md5_and_sent_again(files, tmp_path, s3, proxy):
    prefix = Prefix("s3://raw/resent", "")
    for name, path in files.items():
        damaged = iter([DAMAGED])
        proxy.fault = lambda method, url, damaged=damaged: next(damaged, "") if method == "PUT" else ""
        publish(prefix, name, path)
        assert next(damaged, "none left") == "none left"
        assert sha256(fetch(prefix, prefix.list()[name], tmp_path / name)) == name


def test_a_bucket_that_is_not_there_is_one_line(files, s3, proxy):
    for name, path in files.items():
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/x/.*check the address"):
            publish(Prefix("s3://no-such-bucket/x", "check the address"), name, path)
    with pytest.raises(StorageError, match="no bucket"):
        Prefix("s3://", "")
