"""The latent cache: the latents of whole videos on disk, read memory-mapped.

    00000-5f0c....npy   a shard: the latents of many videos one after the other, float32 "n c h w"
    index.arrow         a row a video: what it is, and where its latents lie
    manifest.json       written last: what the latents were made by, size and sha256 of index and shards, and its own

Not here: which latents belong into it (latent_plan.py), their making (latent_store.py), examples (latent_windows.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.errors import ArtefactError
from lvdm.fingerprints import digests, fingerprint, sha256
from lvdm.workspace import need, write_json

INDEX, MANIFEST = "index.arrow", "manifest.json"
FORMAT = 2
AGAIN = "run `lvdm encode_latents` again"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("checksum", pa.string()),  # of the video, as in the manifest
        ("label", pa.string()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("length", pa.int64()),  # latents; 0: the video is shorter than one
        ("shard", pa.int64()),  # number of the shard, in the order of their names
        ("start", pa.int64()),  # of its first latent in the shard
        ("mirrored_shard", pa.int64()),  # the same for the video mirrored left to right; null: not in the cache
        ("mirrored_start", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One video in the index; a place is the number of a shard and that of a latent in it."""

    id: str
    label: str | None
    caption: str | None
    split: str
    length: int  # latents
    place: tuple[int, int]
    mirrored_place: tuple[int, int] | None


def write_index(folder: Path, table: pa.Table, shards: Mapping[str, str], shape: Sequence[int], recipe: Any) -> None:
    """Writes index and manifest beside the shards of `folder`; `shards` is the sha256 of each by its name.

    `table` is of SCHEMA; `shape` is that of a latent, c h w; `recipe` says what the latents were made by.
    """
    with pa.OSFile(str(folder / INDEX), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(1, len(table)))
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": digest} for name, digest in shards.items()}
    index = {"bytes": (folder / INDEX).stat().st_size, "sha256": sha256(folder / INDEX)}
    document = {"format": FORMAT, "recipe": recipe, "shape": list(shape), "index": index, "shards": files}
    write_json(folder / MANIFEST, document | {"fingerprint": fingerprint(document)})


class LatentCache:
    """A folder of latents; can be pickled and opened in many processes, which share its pages."""

    def __init__(self, folder: Path):
        """Reads manifest and index, and compares the index with its sha256 and the shards with their sizes.

        Raises:
            ArtefactError: it is not there, damaged, or of another version.
        """
        self.folder = folder
        document = _manifest(need(folder / MANIFEST, "encode_latents"))
        self.recipe: dict[str, Any] = document["recipe"]
        self.shape: tuple[int, int, int] = tuple(document["shape"])  # c h w
        self.shards: dict[str, dict[str, Any]] = dict(sorted(document["shards"].items()))
        for name, said in (self.shards | {INDEX: document["index"]}).items():
            if (got := need(folder / name, "encode_latents").stat().st_size) != said["bytes"]:
                raise ArtefactError(
                    f"{folder / name}: damaged", expected=f"{said['bytes']} bytes", got=got, remedy=AGAIN
                )
        _check(folder / INDEX, document["index"]["sha256"], sha256(folder / INDEX))
        self._open()
        of_train = self.table.filter(pc.equal(self.table["split"], "train"))
        self.labels: tuple[str, ...] = tuple(sorted(pc.unique(of_train["label"].drop_null()).to_pylist()))

    def _open(self) -> None:
        self.table: pa.Table = pa.ipc.open_file(pa.memory_map(str(self.folder / INDEX))).read_all()
        self.columns = {
            name: self.table[name].combine_chunks() for name in SCHEMA.names
        }  # a value of these is found fast
        self._names, self._mapped = list(self.shards), dict[int, np.ndarray]()

    @property
    def made_by(self) -> str:
        """The fingerprint of the autoencoder."""
        return self.recipe["autoencoder"]

    @property
    def videos(self) -> Videos:
        """All videos, in the order of the manifest."""
        return Videos(self, np.arange(len(self.table)))

    def split(self, name: str) -> Videos:
        """The videos of a split."""
        return Videos(self, np.flatnonzero(pc.equal(self.table["split"], name).to_numpy(zero_copy_only=False)))

    def read(
        self, video: Entry, start: int = 0, stop: int | None = None, stride: int = 1, *, mirrored: bool = False
    ) -> Float[Tensor, "t c h w"]:
        """Latents start, start + stride ... below `stop` of a video, or of the video mirrored; no others are read."""
        place = video.mirrored_place if mirrored else video.place
        assert place is not None, "not every video is in the cache mirrored"
        shard, first = place
        stop = video.length if stop is None else min(stop, video.length)
        if shard not in self._mapped:
            path = need(self.folder / self._names[shard], "encode_latents")
            self._mapped[shard] = np.load(path, mmap_mode="r").view(np.ndarray)
        return torch.from_numpy(self._mapped[shard][first + start : first + stop : stride].copy())

    def verify(self) -> None:
        """Compares every shard with its sha256.

        Raises:
            ArtefactError: one is not what was written.
        """
        paths = [self.folder / name for name in self.shards]
        for path, said, got in zip(paths, self.shards.values(), digests(paths), strict=True):
            _check(path, said["sha256"], got)

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value for key, value in self.__dict__.items() if key not in ("table", "columns", "_names", "_mapped")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


class Videos(Sequence[Entry]):
    """Videos of a cache, each read from the index when it is asked for."""

    def __init__(self, cache: LatentCache, rows: np.ndarray):
        self.cache, self.rows = cache, rows

    @property
    def lengths(self) -> np.ndarray:
        """The number of latents of each."""
        return self.cache.table["length"].to_numpy()[self.rows]

    @property
    def captions(self) -> tuple[str, ...]:
        """What they show, in words, each once."""
        return tuple(pc.unique(self.cache.table["caption"].take(self.rows).drop_null()).to_pylist())

    def at_least(self, length: int) -> Videos:
        """Those of at least `length` latents."""
        return Videos(self.cache, self.rows[self.lengths >= length])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Videos: ...
    def __getitem__(self, index: int | slice) -> Entry | Videos:
        if isinstance(index, slice):
            return Videos(self.cache, self.rows[index])
        row = int(self.rows[index])
        said = {name: column[row].as_py() for name, column in self.cache.columns.items()}
        mirrored = None if said["mirrored_shard"] is None else (said["mirrored_shard"], said["mirrored_start"])
        place = (said["shard"], said["start"])
        return Entry(said["id"], said["label"], said["caption"], said["split"], said["length"], place, mirrored)

    def __iter__(self) -> Iterator[Entry]:
        return (self[index] for index in range(len(self)))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ArtefactError(f"{path}: damaged", got=str(error), remedy=AGAIN) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtefactError(f"{path.parent}: of another version", remedy=AGAIN)
    if document.pop("fingerprint", None) != fingerprint(document):
        raise ArtefactError(f"{path}: damaged", remedy=AGAIN)
    return document


def _check(path: Path, digest: str, got: str) -> None:
    if got != digest:
        raise ArtefactError(f"{path}: damaged", expected=digest, got=got, remedy=AGAIN)
