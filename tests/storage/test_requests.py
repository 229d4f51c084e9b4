"""What a server says of who asks, of an etag and of what it was sent is understood: tried again, or said at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from lvdm.errors import StorageError
from lvdm.storage import bucket, fetching, publishing
from lvdm.storage.bucket import Prefix
from lvdm.storage.fetching import fetch, fetch_all
from lvdm.storage.publishing import publish, publish_all


def test_who_may_not_is_told_so_at_once(tmp_path, s3, proxy):
    s3.put_object(Bucket="raw", Key="forbidden/a", Body=b"x")
    (tmp_path / "b").write_bytes(b"x")
    prefix = Prefix("s3://raw/forbidden", "")
    entry = prefix.list()["a"]
    proxy.seen.clear()
    proxy.fault = lambda method, path: "403"
    for ask in (
        prefix.list,
        lambda: prefix.find(entry.key),
        lambda: fetch(prefix, entry, tmp_path / "a"),
        lambda: publish(prefix, "b", tmp_path / "b"),
    ):
        with pytest.raises(StorageError, match=r"s3://raw/forbidden.*: no access.*set AWS_ACCESS_KEY_ID"):
            ask()
    assert len(proxy.seen) == 4, "none was tried again"


def test_who_has_no_credentials_is_told_so_at_once(tmp_path, s3, proxy, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no access.*set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Prefix("s3://raw/forbidden", "").list()
    assert not proxy.seen


def test_when_one_object_cannot_be_had_the_others_are_not_tried_to_the_end(tmp_path, s3, proxy, monkeypatch):
    monkeypatch.setattr(bucket, "PAUSE", 0.2)
    for name in ("refused", "failing"):
        s3.put_object(Bucket="raw", Key=f"ended/{name}", Body=b"x")
    prefix = Prefix("s3://raw/ended", "")
    wanted = [(entry, tmp_path / name) for name, entry in prefix.list().items()]
    proxy.fault = lambda method, path: "500" if path.endswith("failing") else "412"
    with pytest.raises(StorageError, match="changed meanwhile"):
        list(fetch_all(prefix, wanted))
    assert proxy.gets.count("failing") < bucket.ATTEMPTS


@pytest.mark.parametrize("fault", ["500", "slow"])
def test_when_one_object_cannot_be_made_those_of_many_parts_and_the_others_are_not_tried_to_the_end(
    fault, tmp_path, s3, proxy, monkeypatch
):
    monkeypatch.setattr(publishing, "PART", 1000)
    files = {"refused": 1, "failing": 1, "parts": 60_000}
    for name, size in files.items():
        (tmp_path / name).write_bytes(b"x" * size)
    sent, refused = dict.fromkeys(files, 0), threading.Event()

    def refuse_one_while_the_others_are_on_their_way(method: str, path: str) -> str:
        if method != "PUT":
            return ""
        name = path.partition("?")[0].rpartition("/")[2]
        sent[name] += 1
        if name == "refused":
            while not (sent["failing"] and sent["parts"]):
                time.sleep(0.01)
            refused.set()
            return "403"
        refused.wait()
        time.sleep(0.5 if name == "failing" else 0.1)
        return fault if name == "parts" else "500"

    proxy.fault = refuse_one_while_the_others_are_on_their_way
    with pytest.raises(StorageError, match="no access"):
        publish_all(Prefix(f"s3://raw/left-{fault}", ""), {name: tmp_path / name for name in files})
    assert sent["failing"] < bucket.ATTEMPTS
    assert sent["parts"] < 60


def test_an_object_that_cannot_be_had_ends_none_that_another_wants_at_the_same_time(tmp_path, s3, proxy, monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK", 100)
    for name in ("theirs", "refused", "slow"):
        s3.put_object(Bucket="raw", Key=f"beside/{name}", Body=b"x" * 3000)
    prefix = Prefix("s3://raw/beside", "")
    wanted = {name: (entry, tmp_path / name) for name, entry in prefix.list().items()}

    def refuse_one_while_the_others_are_on_their_way(method: str, path: str) -> str:
        while path.endswith("refused") and not {"theirs", "slow"} <= {*proxy.gets}:
            time.sleep(0.01)
        time.sleep(0.5 if path.endswith("slow") else 0.0)
        return "403" if path.endswith("refused") else "slow"

    proxy.fault = refuse_one_while_the_others_are_on_their_way
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(lambda: list(fetch_all(prefix, [wanted["theirs"]])))
        with pytest.raises(StorageError, match="no access"):
            list(fetch_all(prefix, [wanted["refused"], wanted["slow"]]))
        assert [path.read_bytes() for path in theirs.result()] == [b"x" * 3000]


NO_MD5 = "0" * 32  # of the content


@pytest.mark.parametrize(
    ("etag", "encryption", "taken"),
    [
        (NO_MD5, None, False),
        (NO_MD5, "AES256", False),
        (NO_MD5, "aws:kms", True),
        (f"{NO_MD5}-1", None, False),
        (f"{NO_MD5}-1", "AES256", False),
        (f"{NO_MD5}-1", "aws:kms", True),
        ("a-name-of-the-server", None, True),
    ],
    ids=["md5", "md5 by AES256", "own key", "parts", "parts by AES256", "parts, own key", "no md5"],
)
def test_an_etag_is_held_against_the_bytes_where_it_is_their_md5_and_nowhere_else(
    etag, encryption, taken, tmp_path, s3, proxy
):
    s3.put_object(Bucket="raw", Key="etags/a", Body=b"content")
    there = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["raw"].keys["etags/a"]
    there._etag, there.encryption = etag, encryption
    prefix = Prefix("s3://raw/etags", "")
    entry = prefix.list()["a"]
    if taken:
        assert fetch(prefix, entry, tmp_path / "a").read_bytes() == b"content"
    else:
        with pytest.raises(StorageError, match="came damaged 8 times"):
            fetch(prefix, entry, tmp_path / "a")
