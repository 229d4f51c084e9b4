"""The latent cache: the latents of whole videos on disk, and windows of them to train on.

Shards of safetensors, read memory-mapped, and index.json, which names every video and the sha256 of every shard.
Not here: how latents are made or whitened; `made_by` is the fingerprint of the autoencoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from lvdm.errors import ArtefactError
from lvdm.workspace import atomic_folder, need, sha256, write_json

INDEX = "index.json"


@dataclass(frozen=True)
class CachedVideo:
    id: str
    label: str | None
    caption: str | None
    split: str
    latent: Float[Tensor, "t c h w"]


@dataclass(frozen=True)
class Entry:
    """One video in the index."""

    id: str
    label: str | None
    caption: str | None
    split: str
    shard: str
    length: int  # latents


def write_latents(folder: Path, items: Iterable[CachedVideo], shard_megabytes: int, made_by: str) -> None:
    """Streams latents into shards of about `shard_megabytes`; the folder appears when all of it is written.

    Raises:
        ArtefactError: no videos, or latents of different shapes.
    """
    entries: list[Entry] = []
    shards: dict[str, str] = {}
    shapes: set[tuple[int, ...]] = set()
    pending: dict[str, Tensor] = {}
    with atomic_folder(folder) as beside:

        def flush() -> None:
            name = f"{len(shards):05d}.safetensors"
            save_file(pending, beside / name)
            shards[name] = sha256(beside / name)
            pending.clear()

        for item in items:
            shapes.add(tuple(item.latent.shape[1:]))
            entries.append(_entry(item, f"{len(shards):05d}.safetensors"))
            pending[item.id] = item.latent.detach().cpu().contiguous()
            if sum(latent.nbytes for latent in pending.values()) >= shard_megabytes * 1_000_000:
                flush()
        if pending:
            flush()
        if len(shapes) != 1:
            raise ArtefactError(f"{folder}: latents", expected="one shape of all videos", got=sorted(shapes))
        videos = [asdict(entry) for entry in entries]
        write_json(beside / INDEX, {"made_by": made_by, "shape": shapes.pop(), "shards": shards, "videos": videos})


def _entry(item: CachedVideo, shard: str) -> Entry:
    return Entry(item.id, item.label, item.caption, item.split, shard, len(item.latent))


class LatentCache:
    """A folder of latents; can be pickled and opened in many processes."""

    def __init__(self, folder: Path):
        """Reads the index.

        Raises:
            ArtefactError: it is not there, or of a version that kept less of a video.
        """
        index = json.loads(need(folder / INDEX, "encode_latents").read_text())
        self.folder = folder
        self.made_by: str = index["made_by"]
        self.shape: tuple[int, int, int] = tuple(index["shape"])  # c h w
        self.shards: dict[str, str] = index["shards"]
        if index["videos"][0].keys() != {field.name for field in fields(Entry)}:
            raise ArtefactError(f"{folder}: of another version", remedy="run `lvdm encode_latents` again")
        self.videos = tuple(Entry(**video) for video in index["videos"])
        self.labels = tuple(sorted({v.label for v in self.videos if v.split == "train" and v.label is not None}))
        self._open: dict[str, Any] = {}

    def split(self, name: str) -> tuple[Entry, ...]:
        """The videos of a split."""
        return tuple(video for video in self.videos if video.split == name)

    def read(self, video: Entry, start: int = 0, stop: int | None = None) -> Float[Tensor, "t c h w"]:
        """Latents start..stop of a video; only these are read from the disk."""
        if video.shard not in self._open:
            self._open[video.shard] = safe_open(need(self.folder / video.shard, "encode_latents"), "pt")
        return self._open[video.shard].get_slice(video.id)[start : video.length if stop is None else stop]

    def verify(self) -> None:
        """Compares every shard with its sha256.

        Raises:
            ArtefactError: one is not what was written.
        """
        for name, digest in self.shards.items():
            if (got := sha256(need(self.folder / name, "encode_latents"))) != digest:
                remedy = "run `lvdm encode_latents` again"
                raise ArtefactError(f"{self.folder / name}: damaged", expected=digest, got=got, remedy=remedy)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}


class LatentWindows(Dataset[dict[str, Tensor]]):
    """Windows of the videos of a split: any index >= 0 is a window, a pure function of (seed, index)."""

    def __init__(
        self,
        cache: LatentCache,
        window: int,
        strides: Sequence[int],
        seed: int,
        asked: Callable[[Entry], dict[str, Tensor]],
        split: str = "train",
    ):
        """`asked` gives what an example says of what its video shows.

        Raises:
            ArtefactError: no video is long enough for a window at the largest stride.
        """
        self.cache, self.window, self.strides, self.seed, self.asked = cache, window, tuple(strides), seed, asked
        of_split = cache.split(split)
        longest = max((video.length for video in of_split), default=0)
        if longest < self._span(max(strides)):
            raise ArtefactError(
                f"{cache.folder}: no {split} video is long enough for {window} latents at stride {max(strides)}",
                expected=f"at least {self._span(max(strides))} latents",
                got=longest,
                remedy="add longer videos, or lower window or the largest of strides",
            )
        self.videos = tuple(video for video in of_split if video.length >= self._span(min(strides)))

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """latent "c t h w"; stride, drawn from those that fit into the video; and what it is asked for."""
        random = np.random.default_rng([self.seed, index])
        video = self.videos[random.integers(len(self.videos))]
        stride = int(random.choice([s for s in self.strides if self._span(s) <= video.length]))
        start = int(random.integers(video.length - self._span(stride) + 1))
        latent = self.cache.read(video, start, start + self._span(stride))[::stride]
        return {
            "latent": latent.transpose(0, 1).contiguous(),
            "stride": torch.tensor(stride),
            **self.asked(video),
        }

    def _span(self, stride: int) -> int:
        """From the first latent of a window to its last, both counted."""
        return (self.window - 1) * stride + 1


def held_out_windows(
    cache: LatentCache,
    window: int,
    strides: Sequence[int],
    count: int,
    asked: Callable[[Entry], dict[str, Tensor]],
) -> list[dict[str, Tensor]]:
    """The first `count` windows of split test, at the strides that fit; none if none does: always the same."""
    longest = max((video.length for video in cache.split("test")), default=0)
    fitting = [stride for stride in strides if (window - 1) * stride < longest]
    if not fitting:
        return []
    windows = LatentWindows(cache, window, fitting, 0, asked, split="test")
    return [windows[i] for i in range(count)]
