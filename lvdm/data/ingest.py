"""The manifest: one row a video with what is in it, whatever state it is in.

Not here: which rows are good enough; that is expectations.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.captions import captions_of
from lvdm.data.sources import SourceVideo, collect
from lvdm.data.video import examine
from lvdm.params import Ingest
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file, need

logger = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # path within the source
        ("path", pa.string()),  # relative to the workspace, or absolute
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("codec", pa.string()),
        ("duration", pa.float64()),  # seconds
        ("label", pa.string()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("checksum", pa.string()),  # sha256 of the bytes
        ("error", pa.string()),  # null, or the reason code of a file that cannot be read
        ("detail", pa.string()),
    ]
)
DTYPES = {pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype(), pa.string(): pd.StringDtype()}


def build_manifest(ingest: Ingest, workspace: Workspace) -> pd.DataFrame:
    """Collects the source, probes every video of it and writes `workspace.manifest`. Equal input gives equal bytes.

    A video whose split no table names gets it from a hash of (seed, checksum): new videos never move old ones.

    Raises:
        SourceError: the source or its captions table cannot be read.
    """
    source = collect(ingest.source, workspace)
    said = captions_of(source, ingest.captions, workspace)
    rows = []
    for video, found in zip(source.videos, _examine_all(source.videos, workspace), strict=True):
        row = {"id": video.id, "path": video.path} | found | said[video.id]
        if row["split"] is None and found.get("checksum"):
            row["split"] = _split(ingest, found["checksum"])
        rows.append(row)
    manifest = _table(pa.Table.from_pylist(rows, schema=SCHEMA))
    logger.info("%d videos, %d of them cannot be read", len(manifest), manifest["error"].notna().sum())
    write_manifest(manifest, workspace.manifest)
    return manifest


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Writes rows of a manifest in one piece."""
    with atomic_file(path) as beside:
        pq.write_table(pa.Table.from_pandas(manifest, SCHEMA, preserve_index=False).replace_schema_metadata(), beside)


def read_manifest(path: Path) -> pd.DataFrame:
    """The rows of a manifest: nullable columns, one row a video.

    Raises:
        ArtefactError: it is not there.
    """
    return _table(pq.read_table(need(path, "validate" if path.stem == "validated" else "ingest"), schema=SCHEMA))


def _table(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=DTYPES.get)


def _examine_all(videos: Sequence[SourceVideo], workspace: Workspace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in videos]
    files = [workspace.root / video.path for video in videos]
    outcomes = bounded_map(examine, files, workspace.machine.probe_workers, _seconds)
    for index, outcome in progress(outcomes, len(files), "probing", "video"):
        if isinstance(outcome, Lost):
            outcome = {"error": outcome.reason, "detail": outcome.detail}
        found[index] = outcome
    return found


def _seconds(file: Path) -> float:
    """The wall-clock limit of one file; a video decodes far faster than a megabyte a second."""
    return 60.0 + (file.stat().st_size / 1e6 if file.is_file() else 0)


def _split(ingest: Ingest, checksum: str) -> str:
    digest = hashlib.sha256(f"{ingest.seed}:{checksum}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < ingest.test_fraction * 2**64 else "train"
