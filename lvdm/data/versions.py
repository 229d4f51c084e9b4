"""Versions of the data: the one that is here, one that was accepted, and those that Git and DVC remember.

The record of an accepted version is a small file for Git, a line a video, so that a review shows what comes and goes.
Not here: by what two versions differ (difference.py).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lvdm.data.difference import Version
from lvdm.data.distributions import read_distribution
from lvdm.data.manifest import read_manifest
from lvdm.errors import ArtefactError
from lvdm.provenance import Provenance, hashes
from lvdm.workspace import Workspace, atomic_file, sha256

ACCEPTED = "accepted"  # the name of a version
COLUMNS = ("content", "split", "said")  # of a video's line


def accept(workspace: Workspace) -> Version:
    """Records the version that is here as accepted: in `workspace.accepted`, which belongs into Git.

    Raises:
        ArtefactError: it has not passed `validate`.
    """
    manifest = read_manifest(workspace.manifest)
    passed = workspace.report("validate", "") / "provenance.json"
    judged = Provenance.read(passed).inputs if passed.is_file() and workspace.validated.is_file() else {}
    ((name, now),) = hashes((workspace.manifest,), workspace).items()
    if judged.get(name) != now:
        what = f"{workspace.manifest}: has not passed validate as it is"
        raise ArtefactError(what, remedy="run `lvdm validate`, mend what it finds, and accept then")
    version = Version.of_manifest(manifest)
    hashed: dict[str, Any] = {
        "sha256": sha256(workspace.manifest),
        "md5": hashlib.md5(workspace.manifest.read_bytes(), usedforsecurity=False).hexdigest(),  # as DVC names it
        "videos": len(manifest),
        "validated": len(read_manifest(workspace.validated)),
    }
    distributions = {quantity: d.document() for quantity, d in version.distributions.items()}
    lines = version.rows[list(COLUMNS)].fillna("-").agg(" ".join, axis=1)
    parts: dict[str, dict[str, Any]] = {
        "manifest": hashed,
        "distributions": distributions,
        "videos": dict(sorted(lines.items())),
    }
    with atomic_file(workspace.accepted) as beside:
        beside.write_text(_a_line_each(parts))
    return version


def _a_line_each(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON with a line for each value of each part."""

    def block(part: Mapping[str, Any]) -> str:
        return ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in part.items())

    return "{\n" + ",\n".join(f'"{name}": {{\n{block(part)}\n}}' for name, part in parts.items()) + "\n}\n"


def accepted_version(workspace: Workspace) -> Version | None:
    """The version that was accepted last; None if none has been.

    Raises:
        ArtefactError: its record cannot be read.
    """
    if not workspace.accepted.is_file():
        return None
    try:
        record = json.loads(workspace.accepted.read_text())
        lines = {video: line.split(" ") for video, line in record["videos"].items()}
        rows = pd.DataFrame.from_dict(lines, orient="index", columns=list(COLUMNS), dtype="string")
        rows.index = rows.index.astype(str)
        distributions = {quantity: read_distribution(d) for quantity, d in record["distributions"].items()}
        return Version(rows.replace("-", pd.NA), distributions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{workspace.accepted}: no record of an accepted version"
        raise ArtefactError(what, got=repr(error), remedy="restore it with Git, or delete it") from None


def version_of(name: str, workspace: Workspace) -> Version:
    """The version that a person calls `name`: a manifest file, `accepted`, or a Git revision.

    Raises:
        ArtefactError: there is no such version, or its manifest is neither in DVC's cache nor in a remote.
    """
    if (file := workspace.root / name).is_file() or file.suffix == ".parquet":
        return Version.of_manifest(read_manifest(file))
    if name == ACCEPTED:
        if (version := accepted_version(workspace)) is None:
            raise ArtefactError(f"{workspace.accepted}: not there", remedy="`lvdm data accept` accepts what is here")
        return version
    return Version.of_manifest(_manifest_at(name, workspace))


def _manifest_at(revision: str, workspace: Workspace) -> pd.DataFrame:
    """The manifest of a Git revision: dvc.lock has its md5, DVC's cache or `dvc get` its content."""
    what = f"{revision}: neither a manifest, nor {ACCEPTED}, nor a Git revision with a dvc.lock"
    found = _ran(["git", "show", "--end-of-options", f"{revision}:./dvc.lock"], workspace.root)
    if found.returncode:
        raise ArtefactError(what, got=_last_line(found.stderr), remedy="`git log dvc.lock` lists those there are")
    path = workspace.manifest.relative_to(workspace.root).as_posix()
    stages = (yaml.safe_load(found.stdout) or {}).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", []) if out["path"] == path]
    if not outs:
        raise ArtefactError(f"{revision}: its dvc.lock has no {path}", remedy="take a revision at which ingest had run")
    md5 = str(outs[0]["md5"])
    cached = workspace.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    if cached.is_file():
        return read_manifest(cached)
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder) / "manifest.parquet"
        command = ["dvc", "get", str(workspace.root), path, "--rev", revision, "--out", str(fetched)]
        got = _ran(command, workspace.root)
        if got.returncode:
            what = f"{revision}: its manifest ({md5}) is neither in .dvc/cache nor in a remote"
            raise ArtefactError(what, got=_last_line(got.stderr), remedy="`dvc push` it where it was made")
        return read_manifest(fetched)


def _ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ArtefactError(f"{command[0]}: not installed", remedy="name a manifest file instead") from None


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""
