"""By what the data differs between two versions: manifests, the accepted one, or what Git and DVC remember.

Not here: the difference itself (lvdm/data/difference.py), and the accepted version (lvdm/data/versions.py).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lvdm.comparison.lock import LOCK, LockRecords
from lvdm.comparison.snapshot import Snapshot
from lvdm.data.difference import Difference, Version, difference
from lvdm.data.manifest import read_manifest
from lvdm.data.versions import accepted_version
from lvdm.errors import ArtefactError
from lvdm.workspace import Workspace

ACCEPTED = "accepted"
MAX_NAMES = 100  # of each kind on a terminal


def version_of(name: str, workspace: Workspace) -> Version:
    """The version that a person calls `name`: a manifest file, `accepted`, or a Git revision.

    Raises:
        ArtefactError: there is no such version, or its manifest is neither in DVC's cache nor in a remote.
    """
    if name == ACCEPTED:
        if (version := accepted_version(workspace)) is None:
            raise ArtefactError(f"{workspace.accepted}: not there", remedy="`lvdm data accept` accepts what is here")
        return version
    file = Path(name).expanduser()
    if file.is_file() or file.suffix == ".parquet":
        return Version.of_manifest(read_manifest(file))
    return Version.of_manifest(_manifest_at(name, workspace))


def _manifest_at(revision: str, workspace: Workspace) -> pd.DataFrame:
    """The manifest of a Git revision: dvc.lock has its md5, DVC's cache or `dvc get` its content."""
    path = workspace.manifest.relative_to(workspace.root).as_posix()
    text = Snapshot.at(workspace.root, revision).read(LOCK)
    maker = LockRecords(((revision, text),)).latest(path) if text else None
    if maker is None:
        what = f"{revision}: no {LOCK} that has {path}"
        raise ArtefactError(what, remedy=f"`git log {LOCK}` lists revisions; `dvc repro ingest` writes it")
    md5 = maker.outputs[path]
    cached = workspace.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    if cached.is_file():
        return read_manifest(cached)
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder) / workspace.manifest.name
        command = ["dvc", "get", str(workspace.root), path, "--rev", revision, "--out", str(fetched)]
        try:
            got = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ArtefactError(f"{revision}: {cached} is not there, nor is dvc", remedy="install dvc") from None
        if got.returncode:
            what = f"{revision}: its manifest ({md5}) is neither in DVC's cache nor in a remote"
            said = " ".join(got.stderr.split()) or None
            raise ArtefactError(what, got=said, remedy="`dvc push` it where it was made")
        return read_manifest(fetched)


def data_differences(first: str, second: str | None, max_drift: float, workspace: Workspace) -> Iterator[str]:
    """Paragraphs that name what changed from `first` to `second`, by default the manifest that is here.

    Raises:
        ArtefactError: one of them is no version.
    """
    now = version_of(second or str(workspace.manifest), workspace)
    found = difference(version_of(first, workspace), now, max_drift)
    yield found.line
    for what, videos in found.videos.items():
        more = [f"  and {len(videos) - MAX_NAMES:,} more"] if len(videos) > MAX_NAMES else []
        yield "\n".join([f"{what}:", *(f"  {video}" for video in videos[:MAX_NAMES]), *more])
    if found.drifts:
        yield "\n".join(_drift_table(found))


def _drift_table(found: Difference) -> list[str]:
    lines = [f"{'distribution':<12} {'distance':>8} {'threshold':>9}  before -> now"]
    for drift in found.drifts:
        mark = "DRIFTED: " if drift.drifted else ""
        change = f"{drift.before.text} -> {drift.now.text}"
        lines.append(f"{drift.quantity:<12} {drift.statistic:8.3f} {drift.threshold:9.3f}  {mark}{change}")
    return lines
