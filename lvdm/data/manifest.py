"""The manifest on disk: its columns, and reading and writing them.

Not here: what is in a row; that is ingest.py, and which rows are good enough; that is contract.py.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lvdm.errors import ArtefactError
from lvdm.workspace import atomic_file, need

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # path within the source
        ("path", pa.string()),  # of what is read: relative to the workspace, or absolute
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("codec", pa.string()),  # of the source
        ("duration", pa.float64()),  # seconds
        ("brightness", pa.float64()),  # mean luma, 0 to 255, of sampled frames; see appearance.py
        ("motion", pa.float64()),  # mean |difference| from one of them to the next, 0 to 255
        ("looks", pa.string()),  # 64 bits in hexadecimal: near-duplicates differ in few
        ("label", pa.string()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),  # videos of one group belong into one split; null: alone
        ("checksum", pa.string()),  # sha256 of the bytes at path
        ("source_checksum", pa.string()),  # the same, unless the video was written once more
        ("straightened", pa.string()),  # null, or why it was
        ("error", pa.string()),  # null, or why it cannot be read: a code of reasons.py
        ("detail", pa.string()),  # the same in a sentence
    ]
)
DTYPES = {pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype(), pa.string(): pd.StringDtype()}


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Writes rows of a manifest in one piece."""
    with atomic_file(path) as beside:
        pq.write_table(pa.Table.from_pandas(manifest, SCHEMA, preserve_index=False).replace_schema_metadata(), beside)


def read_manifest(path: Path) -> pd.DataFrame:
    """The rows of a manifest: nullable columns, one row a video.

    Raises:
        ArtefactError: it is not there, or is no manifest.
    """
    need(path, "validate" if path.stem == "validated" else "ingest")
    try:
        return as_manifest(pq.read_table(path, schema=SCHEMA))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArtefactError(
            f"{path}: no manifest", expected="a Parquet file that ingest wrote", got=str(error)
        ) from None


def as_manifest(table: pa.Table) -> pd.DataFrame:
    """A table of SCHEMA with nullable columns."""
    return table.to_pandas(types_mapper=DTYPES.get)
