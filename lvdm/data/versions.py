"""The record of the accepted version of the data: a small file for Git, a line a video.

So a review shows what comes and goes. Not here: by what two versions differ (difference.py), and versions that only Git
and DVC remember (lvdm/comparison/data_versions.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lvdm.data.difference import Version
from lvdm.data.distributions import read_distribution
from lvdm.data.manifest import read_manifest
from lvdm.errors import ArtefactError
from lvdm.fingerprints import sha256
from lvdm.provenance import Provenance, hashes
from lvdm.workspace import Workspace, atomic_file

COLUMNS = ("content", "split", "said")  # of a video's line


def accept(workspace: Workspace) -> Version:
    """Records the version that is here as accepted: in `workspace.accepted`, which belongs into Git.

    Raises:
        ArtefactError: it has not passed `validate`.
    """
    manifest = read_manifest(workspace.manifest)
    passed = Provenance.of_last_run("validate", "", workspace)
    judged = passed.inputs if passed is not None and workspace.validated.is_file() else {}
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


def _parts(line: str) -> list[str]:
    """Content, split, which may hold spaces, and the hash of what is said."""
    content, rest = line.split(" ", 1)
    return [content, *rest.rsplit(" ", 1)]


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
        lines = {video: _parts(line) for video, line in record["videos"].items()}
        rows = pd.DataFrame.from_dict(lines, orient="index", columns=list(COLUMNS), dtype="string")
        rows.index = rows.index.astype(str)
        distributions = {quantity: read_distribution(d) for quantity, d in record["distributions"].items()}
        return Version(rows.replace("-", pd.NA), distributions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{workspace.accepted}: no record of an accepted version"
        raise ArtefactError(what, got=repr(error), remedy="restore it with Git, or delete it") from None
