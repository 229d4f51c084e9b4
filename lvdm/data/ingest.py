"""From a source to its manifest: one row a video with what is in it, whatever state it is in.

Not here: the manifest on disk (manifest.py), and which rows are good enough (expectations.py).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.captions import captions_of
from lvdm.data.manifest import SCHEMA, as_manifest, write_manifest
from lvdm.data.sources import SourceVideo, collect
from lvdm.data.video import examine
from lvdm.params import Ingest
from lvdm.progress import progress
from lvdm.workspace import Workspace

logger = logging.getLogger(__name__)


def build_manifest(ingest: Ingest, workspace: Workspace) -> pd.DataFrame:
    """Collects the source, probes every video of it and writes `workspace.manifest`. Equal input gives equal bytes.

    A video whose split neither table nor layout names gets it from a hash of the seed and its group, or else its
    checksum: groups are never divided, and new videos never move old ones.

    Raises:
        SourceError: the source or its captions table cannot be read.
    """
    source = collect(ingest.source, ingest.layout, workspace)
    said = captions_of(source, workspace)
    rows = []
    for video, found in zip(source.videos, _examine_all(source.videos, workspace), strict=True):
        written = {column: text for column, text in said[video.id].items() if text is not None}
        row = {"id": video.id, "path": video.path} | found | asdict(video.told) | written
        if found.get("codec") == "images":
            row["fps"], row["duration"] = source.fps, found["frames"] / source.fps
        if row["split"] is None and found.get("checksum"):
            row["split"] = _split(ingest, row["group"] or found["checksum"])
        rows.append(row)
    manifest = as_manifest(pa.Table.from_pylist(rows, schema=SCHEMA))
    logger.info("%d videos, %d of them cannot be read", len(manifest), manifest["error"].notna().sum())
    write_manifest(manifest, workspace.manifest)
    return manifest


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


def _split(ingest: Ingest, group: str) -> str:
    digest = hashlib.sha256(f"{ingest.seed}:{group}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < ingest.test_fraction * 2**64 else "train"
