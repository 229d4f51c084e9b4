"""What a person says of the videos: a table of path, label, caption, split and group, and texts beside the videos.

Not here: which split a video gets that no table names (ingest.py).
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from lvdm.data.sources import CAPTIONS, SIDECAR, Source
from lvdm.errors import SourceError
from lvdm.workspace import Workspace

logger = logging.getLogger(__name__)

COLUMNS = ("label", "caption", "split", "group")


def captions_of(source: Source, workspace: Workspace) -> dict[str, dict[str, str | None]]:
    """{id: {label, caption, split, group}} of every video of the source, None where nothing is said.

    The table is captions.csv, .jsonl or .parquet in the source itself: who watches the source sees it change.

    Raises:
        SourceError: there are two tables, it is none, or has bad columns; or no row of it is about a video.
    """
    table = _find(source.folder)
    rows = {} if table is None else _read(table)
    said = {video.id: rows.get(video.id, dict.fromkeys(COLUMNS)) for video in source.videos}
    if stray := [path for path in rows if path not in said]:
        if said and len(stray) == len(rows):
            what = f"{table}: no row is about a video of the source"
            raise SourceError(what, expected=f"paths like {next(iter(said))}", got=stray[0])
        logger.warning("%s: %d rows are about no video, as %s", table, len(stray), stray[0])
    for video in source.videos:
        beside = (workspace.root / video.path).with_suffix(SIDECAR)
        if said[video.id]["caption"] is None and beside.is_file():
            said[video.id]["caption"] = beside.read_text(errors="replace").strip() or None
    return said


def _find(folder: Path) -> Path | None:
    found = [folder / name for name in sorted(CAPTIONS) if (folder / name).is_file()]
    if len(found) > 1:
        what = f"{folder}: {' and '.join(path.name for path in found)}"
        raise SourceError(what, expected="one table of captions", remedy="keep one")
    return found[0] if found else None


def _read(path: Path) -> dict[str, dict[str, str | None]]:
    """{path: {label, caption, split, group}} of the table, empty cells as None."""
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        elif path.suffix == ".jsonl":
            table = pd.read_json(path, lines=True, dtype=False)
        else:
            table = pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and Arrow's errors of content are ValueErrors
        raise SourceError(f"{path}: cannot be read as a table", got=str(error)) from None
    columns = ", ".join(map(str, table.columns))
    if "path" not in table.columns:
        raise SourceError(f"{path}: no column path", expected=f"path and any of {', '.join(COLUMNS)}", got=columns)
    if not set(COLUMNS) & set(table.columns):
        raise SourceError(f"{path}: says nothing", expected=f"any of the columns {', '.join(COLUMNS)}", got=columns)
    if unused := sorted(set(map(str, table.columns)) - {"path", *COLUMNS}):
        logger.info("%s: columns not used: %s", path, ", ".join(unused))
    if (twice := table["path"].duplicated()).any():
        raise SourceError(f"{path}: rows with one path", got=table["path"][twice].iloc[0], remedy="keep one of them")
    cells = table.reindex(columns=["path", *COLUMNS]).astype(object)
    return {
        str(path).removeprefix("./"): {
            c: None if pd.isna(t) or t == "" else str(t) for c, t in zip(COLUMNS, texts, strict=True)
        }
        for path, *texts in cells.itertuples(index=False)
    }
