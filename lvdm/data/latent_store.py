"""Shards of latents in the making, below `.lvdm/`: where a killed run goes on, and the next finds what did not change.

A shard is a folder: latents.npy, as in the cache, and items.npy, whose row of an item gets the sha256 of its latents
once these are written. So no latent is believed that its sha256 does not confirm, and as many processes as there are
may write, each its own items. A shard is `<name>.partial` until all of it is there; then sha256, of latents.npy, is
beside them. The cache has hard links to these files, so the two together take the space of one.
Not here: what belongs into a shard (latent_plan.py), and the cache (latents.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float32

from lvdm.errors import ArtefactError
from lvdm.fingerprints import digests, sha256
from lvdm.workspace import atomic_folder, link_or_copy

LATENTS, ITEMS, DIGEST = "latents.npy", "items.npy", "sha256"
PARTIAL, REMOVED = ".partial", ".removed"  # ends of folders' names; a name that begins with a dot is of no shard
ABSENT = b""  # the sha256 of an item that is not there


@dataclass(frozen=True)
class _Shard:
    """The files of a shard that are open; latents are not written through their map, where a full disk kills."""

    items: np.ndarray
    latents: Any  # the map, "n c h w"
    file: BinaryIO

    def read(self, item: int) -> Any:
        start, length = self.items[item]["start"], self.items[item]["length"]
        return self.latents[start : start + length]

    def holds(self, item: int) -> bool:
        """Whether the latents of an item are there, by their sha256."""
        said = self.items[item]["sha256"]
        return said != ABSENT and said == hashlib.sha256(self.read(item)).hexdigest().encode()

    def write(self, item: int, chunks: Iterable[np.ndarray]) -> None:
        """As `LatentStore.put`."""
        start, length = int(self.items[item]["start"]), int(self.items[item]["length"])
        digest, written = hashlib.sha256(), 0
        self.file.seek(self.latents.offset + start * self.latents[0].nbytes)
        for chunk in chunks:
            written += len(chunk)
            if written > length:
                break
            content = np.ascontiguousarray(chunk, "<f4").tobytes()
            digest.update(content)
            self.file.write(content)
        if written != length:
            raise ArtefactError(
                "latents of a video", expected=str(length), got=written, remedy="run `lvdm ingest` again"
            )
        self.file.flush()
        self.items[item]["sha256"] = digest.hexdigest().encode()


class LatentStore:
    """The shards of one autoencoder's latents, of one shape."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]):
        self.folder, self.shape = folder, shape

    def prepare(self, shards: Mapping[str, np.ndarray]) -> None:
        """Makes the store hold these shards and no other, each whole or begun.

        One process does this, before any writes. Latents that are there stay: of a shard that is not wanted any more,
        those that are wanted elsewhere are copied before it is removed, one shard after the other.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept, begun, whole = set(), [], self._whole(shards)
        for name, items in shards.items():
            if name in whole:
                kept.add(self.folder / name)
                continue
            begun.append(name)
            kept.add(self._partial(name))
            if self._partial(name).is_dir():
                self._forget_damaged(name)
            else:
                self._begin(name, items)
        for other in sorted(set(self.folder.iterdir()) - kept):
            if not other.name.startswith("."):  # else a killed run was making or removing it, and files may lack
                for name in begun:
                    self._take_over(other, name)
                other = other.rename(self.folder / f".{other.name}{REMOVED}")
            shutil.rmtree(other)

    def missing(self, name: str) -> np.ndarray:
        """The numbers of the items of a shard that are not there yet."""
        if not self._partial(name).is_dir():
            return np.empty(0, np.int64)
        return np.flatnonzero(np.load(self._partial(name) / ITEMS, mmap_mode="r")["sha256"] == ABSENT)

    def put(self, name: str, item: int, chunks: Iterable[Float32[np.ndarray, "_t c h w"]]) -> None:
        """Writes the latents of an item, which come in chunks; only when all are written is it there.

        Raises:
            ArtefactError: there are more or fewer latents than planned.
        """
        with _opened(self._partial(name), writing=True) as shard:
            shard.write(item, chunks)

    def finish(self, name: str) -> None:
        """Makes a shard of which nothing is missing whole."""
        partial = self._partial(name)
        if partial.is_dir():
            assert len(self.missing(name)) == 0
            with (partial / LATENTS).open("rb") as file:
                os.fsync(file.fileno())
            (partial / DIGEST).write_text(sha256(partial / LATENTS))
            partial.rename(self.folder / name)

    def link(self, name: str, path: Path) -> str:
        """Makes `path` the latents of a whole shard; returns their sha256."""
        link_or_copy(self.folder / name / LATENTS, path)
        return (self.folder / name / DIGEST).read_text()

    def _partial(self, name: str) -> Path:
        return self.folder / f"{name}{PARTIAL}"

    def _whole(self, names: Iterable[str]) -> set[str]:
        """Those of the shards that are there and not damaged."""
        there = [name for name in names if (self.folder / name).is_dir()]
        found = digests(self.folder / name / LATENTS for name in there)
        return {n for n, digest in zip(there, found, strict=True) if digest == (self.folder / n / DIGEST).read_text()}

    def _begin(self, name: str, items: np.ndarray) -> None:
        with atomic_folder(self._partial(name)) as folder:
            np.save(folder / ITEMS, items)
            shape = (int(items["length"].sum()), *self.shape)
            np.lib.format.open_memmap(folder / LATENTS, mode="w+", dtype="<f4", shape=shape)  # takes no space yet

    def _forget_damaged(self, name: str) -> None:
        with _opened(self._partial(name), writing=True) as shard:
            for item in range(len(shard.items)):
                if not shard.holds(item):
                    shard.items[item]["sha256"] = ABSENT

    def _take_over(self, other: Path, name: str) -> None:
        """Copies what another shard holds of the items that are missing in a partial one."""
        with _opened(other) as source, _opened(self._partial(name), writing=True) as target:
            missing = self.missing(name)
            wanted = target.items["key"][missing]
            _, theirs, ours = np.intersect1d(source.items["key"], wanted, assume_unique=True, return_indices=True)
            for item, place in zip(theirs.tolist(), missing[ours].tolist(), strict=True):
                if source.holds(item):
                    target.write(place, [source.read(item)])


@contextmanager
def _opened(folder: Path, *, writing: bool = False) -> Iterator[_Shard]:
    mode: Literal["r", "r+"] = "r+" if writing else "r"
    with (folder / LATENTS).open("r+b" if writing else "rb") as file:
        yield _Shard(np.load(folder / ITEMS, mode), np.load(folder / LATENTS, "r"), file)
