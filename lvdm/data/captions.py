"""What a person says of the videos: a table of path, label, caption, split and group, and texts beside the videos.

Not here: which split a video gets that no table names (ingest.py).
"""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

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
    said = {video.id: rows.get(_composed(video.id), dict.fromkeys(COLUMNS)).copy() for video in source.videos}
    names = {_composed(video.id) for video in source.videos}
    if stray := [path for path in rows if path not in names]:
        if said and len(stray) == len(rows):
            what = f"{table}: no row is about a video of the source"
            raise SourceError(what, expected=f"paths like {next(iter(said))}", got=stray[0])
        logger.warning("%s: %d rows are about no video, as %s", table, len(stray), stray[0])
    for video in source.videos:
        path = workspace.root / video.path
        beside = path.with_name(f"{path.name if path.is_dir() else path.stem}{SIDECAR}")  # a dot ends no folder's name
        if said[video.id]["caption"] is None and beside.is_file():
            said[video.id]["caption"] = beside.read_text(errors="replace").strip() or None
    return said


def _composed(name: str) -> str:
    """Of letters with accents as one character each: file systems of Apple keep them as two, tables seldom do."""
    return unicodedata.normalize("NFC", name)


def _find(folder: Path) -> Path | None:
    found = [folder / name for name in sorted(CAPTIONS) if (folder / name).is_file()]
    if len(found) > 1:
        what = f"{folder}: {' and '.join(path.name for path in found)}"
        raise SourceError(what, expected="one table of captions", remedy="keep one")
    return found[0] if found else None


def _read(path: Path) -> dict[str, dict[str, str | None]]:
    """{path: {label, caption, split, group}} of the table, empty cells as None."""
    columns, rows = _columns_and_rows(path)
    got = ", ".join(columns)
    if "path" not in columns:
        raise SourceError(f"{path}: no column path", expected=f"path and any of {', '.join(COLUMNS)}", got=got)
    if not set(COLUMNS) & set(columns):
        raise SourceError(f"{path}: says nothing", expected=f"any of the columns {', '.join(COLUMNS)}", got=got)
    if unused := sorted(set(columns) - {"path", *COLUMNS}):
        logger.info("%s: columns not used: %s", path, ", ".join(unused))
    said: dict[str, dict[str, str | None]] = {}
    for number, row in enumerate(rows, 1):
        texts = {c: _text(row.get(c), f"{path}: row {number}, column {c}") for c in ("path", *COLUMNS)}
        name = _composed((texts.pop("path") or "").removeprefix("./"))
        if name in said:
            raise SourceError(f"{path}: rows with one path", got=name, remedy="keep one of them")
        said[name] = texts
    return said


def _columns_and_rows(path: Path) -> tuple[list[str], list[dict[str, object]]]:
    """What the file says, each cell of its own type: that of a whole column would change with a gap elsewhere."""
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
            table = table.fillna("")  # a gap: of a row that is too short
            return list(table.columns), table.to_dict("records")
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in file if line.strip()]
            if strange := [row for row in rows if not isinstance(row, dict)]:
                raise SourceError(f"{path}: a line is no row", expected='{"path": ...}', got=strange[0])
            return list(dict.fromkeys(key for row in rows for key in row)), rows
        columns = pq.read_schema(path).names
        known = [c for c in columns if c in ("path", *COLUMNS)]
        return columns, pq.read_table(path, columns=known, partitioning=None).to_pylist()
    except (ValueError, OSError) as error:  # pandas' and Arrow's errors of content are ValueErrors
        raise SourceError(f"{path}: cannot be read as a table", got=str(error)) from None


def _text(cell: object, where: str) -> str | None:
    if cell is None or cell == "":
        return None
    if type(cell) not in (str, int):
        raise SourceError(where, expected="text or a whole number", got=cell, remedy="write it as text")
    return str(cell)
