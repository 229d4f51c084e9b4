"""From a source to its manifest: one row a video with what is in it, whatever state it is in.

Not here: the manifest on disk (manifest.py), and which rows are good enough (contract.py).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict

import pandas as pd
import pyarrow as pa

from lvdm.data.captions import captions_of
from lvdm.data.manifest import SCHEMA, as_manifest, write_manifest
from lvdm.data.probing import probed
from lvdm.data.sources import collect
from lvdm.params import Ingest
from lvdm.workspace import Workspace

logger = logging.getLogger(__name__)


def build_manifest(ingest: Ingest, workspace: Workspace) -> pd.DataFrame:
    """Collects the source, probes every video of it and writes `workspace.manifest`. Equal input gives equal bytes.

    A video whose split neither table nor layout names gets that of an equal one, or else a hash of the seed and
    its group, or of its checksum, says it: groups are never divided, and new videos never move old ones.

    Raises:
        SourceError: the source or its captions table cannot be read.
    """
    source = collect(ingest.source, ingest.layout, workspace)
    said = captions_of(source, workspace)
    rows = []
    findings = probed([v.path for v in source.videos], workspace, ingest.transcode)
    for video, found in zip(source.videos, findings, strict=True):
        written = {column: text for column, text in said[video.id].items() if text is not None}
        row = {"id": video.id, "path": video.path} | found | asdict(video.told) | written
        if found.get("codec") == "images":
            row["fps"], row["duration"] = source.fps, found["frames"] / source.fps
        rows.append(row)
    named = {row["source_checksum"]: row["split"] for row in rows if row["split"] and row.get("source_checksum")}
    for row in rows:
        if row["split"] is None and (content := row.get("source_checksum")):
            row["split"] = named.get(content) or _split(ingest, row["group"] or content)
    manifest = as_manifest(pa.Table.from_pylist(rows, schema=SCHEMA))
    logger.info("%d videos, %d of them cannot be read", len(manifest), manifest["error"].notna().sum())
    write_manifest(manifest, workspace.manifest)
    return manifest


def _split(ingest: Ingest, group: str) -> str:
    digest = hashlib.sha256(f"{ingest.seed}:{group}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < ingest.test_fraction * 2**64 else "train"
