"""Hashes follow contents and names, and a file is read once as long as it is left as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lvdm import fingerprints
from lvdm.fingerprints import digests, fingerprint, sha256


def test_fingerprints_follow_contents_and_names_not_places(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place / "data").mkdir(parents=True)
        (tmp_path / place / "data" / "x").write_text("1")
    assert fingerprint(files=[tmp_path / "a/data"]) == fingerprint(files=[tmp_path / "b/data"])
    (tmp_path / "b/data/x").write_text("2")
    assert fingerprint(files=[tmp_path / "a/data"]) != fingerprint(files=[tmp_path / "b/data"])
    (tmp_path / "a/data/x").rename(tmp_path / "a/data/y")
    (tmp_path / "b/data/x").write_text("1")
    assert fingerprint(files=[tmp_path / "a/data"]) != fingerprint(files=[tmp_path / "b/data"])


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that were read since."""
    read, read_before = list[Path](), hashlib.file_digest

    def file_digest(file, name):
        read.append(Path(file.name))
        return read_before(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    return read


@pytest.mark.parametrize("settled", [True, False])
def test_a_file_is_read_once_unless_it_changed_just_now(tmp_path, monkeypatch, reads, settled):
    monkeypatch.setattr(fingerprints, "SETTLED_NS", 0 if settled else 10**18)
    path = tmp_path / "data"
    path.write_bytes(b"some")
    assert sha256(path) == sha256(path) == hashlib.sha256(b"some").hexdigest()
    assert len(reads) == (1 if settled else 2)


def test_a_file_that_another_takes_the_place_of_or_that_is_written_to_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "SETTLED_NS", 0)
    path, other = tmp_path / "data", tmp_path / "other"
    path.write_bytes(b"some")
    other.write_bytes(b"else")
    before = sha256(path)
    other.replace(path)
    assert sha256(path) == hashlib.sha256(b"else").hexdigest() != before
    path.write_bytes(b"longer")
    assert sha256(path) == hashlib.sha256(b"longer").hexdigest()


def test_what_a_file_server_said_before_does_not_hide_that_a_file_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "SETTLED_NS", 0)
    path = tmp_path / "data"
    path.write_bytes(b"some")
    kept, before = path.stat(), sha256(path)
    path.write_bytes(b"longer")  # by another machine
    monkeypatch.setattr(Path, "stat", lambda *_, **__: kept)
    assert sha256(path) == hashlib.sha256(b"longer").hexdigest() != before


def test_the_digests_of_many_files_are_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "AT_ONCE", 7)
    paths = [tmp_path / f"{number}" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (40 - number) ** 3)
    assert list(digests(paths)) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
