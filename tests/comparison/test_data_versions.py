"""A version of the data is named by a file, a Git revision or as accepted; each is compared with any other."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lvdm.comparison.data_versions import data_differences, version_of
from lvdm.data.manifest import write_manifest
from lvdm.data.versions import accept, accepted_version
from lvdm.errors import ArtefactError
from lvdm.provenance import Provenance, hashes
from lvdm.workspace import Workspace
from tests.data.test_validation import manifest


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def commit(workspace: Workspace, table: pd.DataFrame, tag: str) -> Path:
    """A manifest as ingest, DVC and Git leave it; returns where it lies in DVC's cache."""
    write_manifest(table, workspace.manifest)
    content = workspace.manifest.read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    cached = workspace.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(content)
    outs = [{"path": "artifacts/manifest.parquet", "hash": "md5", "md5": md5, "size": len(content)}]
    lock = {"schema": "2.0", "stages": {"ingest": {"cmd": "python -m lvdm ingest", "outs": outs}}}
    (workspace.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(workspace.root, "add", "dvc.lock")
    git(workspace.root, "commit", "-m", tag)
    git(workspace.root, "tag", tag)
    return cached


def validated(workspace: Workspace, table: pd.DataFrame) -> None:
    """What a validation that passed leaves behind, as far as `accept` asks for it."""
    write_manifest(table, workspace.manifest)
    write_manifest(table, workspace.validated)
    inputs = hashes((workspace.manifest,), workspace)
    Provenance("validate", "", inputs, {}, {}, "", "").write(workspace)


@pytest.fixture
def workspace(tmp_path):
    git(tmp_path, "init", "--quiet")
    return Workspace.at(tmp_path)


OTHER = {"label": ["a", "b", "a", "b", "b", "b"], "split": ["train"] * 3 + ["test"] * 3}


def test_two_revisions_differ_by_what_changed_between_them(workspace):
    commit(workspace, manifest(), "v1")
    commit(workspace, manifest(**OTHER), "v2")
    line, changed, _ = data_differences("v1", "v2", 0.1, workspace)
    assert line.startswith("6 -> 6 videos: 2 changed")
    assert changed.splitlines() == ["changed:", "  3.mp4: split: train -> test", "  4.mp4: label: a -> b"]


def test_the_manifest_that_is_here_is_the_second_unless_another_is_named(workspace):
    commit(workspace, manifest(), "v1")
    write_manifest(manifest()[:4], workspace.manifest)
    _, removed, _ = data_differences("v1", None, 0.1, workspace)
    assert removed.splitlines() == ["removed:", "  4.mp4", "  5.mp4"]


def test_what_was_accepted_is_remembered_without_its_manifest(workspace):
    table = manifest(caption=["x y", None, "-", "", "z", None], split=["train"] * 4 + ["a split", None])
    validated(workspace, table)
    accept(workspace)
    workspace.manifest.unlink()
    write_manifest(table.assign(label="c"), workspace.root / "now.parquet")
    line, changed, _ = data_differences("accepted", str(workspace.root / "now.parquet"), 0.1, workspace)
    assert line == "6 -> 6 videos: 6 changed; no distribution drifted"  # six videos are too few to tell
    assert changed.splitlines()[1:] == [f"  {i}.mp4: another label, caption or group" for i in range(6)]
    write_manifest(table, workspace.root / "now.parquet")
    assert next(data_differences("accepted", str(workspace.root / "now.parquet"), 0.1, workspace)).startswith(
        "6 -> 6 videos: the same"
    )


def test_a_line_of_the_record_changes_for_each_video_that_does(workspace):
    validated(workspace, manifest())
    accept(workspace)
    before = workspace.accepted.read_text().splitlines()
    validated(workspace, manifest(split=["test", *["train"] * 3, "test", "test"]))
    accept(workspace)
    changed = [line for line in workspace.accepted.read_text().splitlines() if line not in before]
    assert [line for line in changed if ".mp4" in line] == [f'  "0.mp4": "{"0" * 12} test {said(before[-8])}",']


def said(line: str) -> str:
    return line.rsplit(" ", 1)[1].rstrip('",')


def test_only_what_has_passed_as_it_is_can_be_accepted(workspace):
    write_manifest(manifest(), workspace.manifest)
    with pytest.raises(ArtefactError, match="run `lvdm validate`"):
        accept(workspace)
    validated(workspace, manifest())
    write_manifest(manifest(**OTHER), workspace.manifest)
    with pytest.raises(ArtefactError, match="has not passed validate as it is"):
        accept(workspace)
    assert accepted_version(workspace) is None


@pytest.mark.parametrize("name", ["accepted", "nowhere", "-x", "no.parquet", "v0"])
def test_what_is_no_version_is_one_line(workspace, name):
    (workspace.root / "other").write_text("")
    git(workspace.root, "add", "other")
    git(workspace.root, "commit", "-m", "without data")
    git(workspace.root, "tag", "v0")
    with pytest.raises(ArtefactError) as error:
        version_of(name, workspace)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"videos": {"a": "b"}, "distributions": {}}', '{"videos": 1}'])
def test_a_record_that_is_none_is_one_line(workspace, content):
    workspace.accepted.parent.mkdir()
    workspace.accepted.write_text(content)
    with pytest.raises(ArtefactError, match="no record of an accepted version"):
        accepted_version(workspace)


def test_a_file_that_is_no_manifest_is_one_line(workspace):
    (workspace.root / "other.parquet").write_text("no table")
    with pytest.raises(ArtefactError, match="no manifest"):
        version_of(str(workspace.root / "other.parquet"), workspace)
