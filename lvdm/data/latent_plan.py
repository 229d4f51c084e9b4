"""Which latents a cache holds and where each lies: a function of the manifest and of what the latents are made by.

It is known before anything is encoded, so that any number of processes can write at once, and equal work gives equal
bytes. A latent's key is a hash of the content of its video and of the recipe, and decides its shard: videos that are
added touch the shards they fall into and no other.
Not here: the making of shards (latent_store.py), and what a recipe is (lvdm/encoding.py).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from lvdm.data.latents import SCHEMA
from lvdm.errors import ArtefactError
from lvdm.fingerprints import fingerprint

ITEM = np.dtype([("key", "S32"), ("start", "<i8"), ("length", "<i8"), ("sha256", "S64")])  # of a shard, in order
WORK = np.dtype([("shard", "<i8"), ("item", "<i8"), ("row", "<i8"), ("mirrored", "?")])  # row: of the manifest


@dataclass(frozen=True)
class Plan:
    """Every latent of a cache."""

    shape: tuple[int, int, int]  # of a latent, c h w
    shards: dict[str, np.ndarray]  # name: its items, of dtype ITEM, their sha256 left empty
    work: np.ndarray  # of dtype WORK: what to encode for each item, shard by shard
    index: pa.Table  # of latents.SCHEMA


def plan(
    manifest: pd.DataFrame,
    recipe: dict[str, Any],
    lengths: Int[np.ndarray, " n"],
    shape: tuple[int, int, int],
    flip: bool,
    shard_bytes: int,
) -> Plan:
    """Lays out the latents of the videos of `manifest`, row i having lengths[i]; equal videos share theirs.

    With `flip` the videos of split train are there mirrored too, from left to right.

    Raises:
        ArtefactError: no video is as long as a latent.
    """
    rows = np.flatnonzero(lengths > 0)
    if len(rows) == 0:
        raise ArtefactError("no video has the frames of one latent", remedy="add longer videos, or lower clips.stride")
    of_train = (manifest["split"] == "train").fillna(False).to_numpy(bool)
    flipped = rows[of_train[rows]] if flip else rows[:0]
    made_by = fingerprint(recipe)
    keys = _keys(made_by, manifest["checksum"], rows, "plain")
    mirrored_keys = _keys(made_by, manifest["checksum"], flipped, "mirrored")
    unique, first = np.unique(np.concatenate([keys, mirrored_keys]), return_index=True)
    row_of_item = np.concatenate([rows, flipped])[first]
    items, work = np.zeros(len(unique), ITEM), np.zeros(len(unique), WORK)
    items["key"], items["length"] = unique, lengths[row_of_item]
    bucket = _buckets(unique, int(items["length"].sum()) * 4 * math.prod(shape), shard_bytes)
    # keys are sorted, and so are buckets
    buckets, begins, shard = np.unique(bucket, return_index=True, return_inverse=True)
    starts = np.cumsum(items["length"]) - items["length"]
    items["start"] = starts - starts[begins][shard]
    work["shard"], work["item"] = shard, np.arange(len(unique)) - begins[shard]
    work["row"], work["mirrored"] = row_of_item, first >= len(rows)
    parts = zip(buckets, np.split(items, begins[1:]), strict=True)
    shards = {f"{value:05d}-{hashlib.sha256(part.tobytes()).hexdigest()[:16]}": part for value, part in parts}

    columns = [*described(manifest).columns, pa.array(lengths)]
    unmirrored = ~np.isin(np.arange(len(manifest)), flipped)
    for of, of_keys, none in ((rows, keys, None), (flipped, mirrored_keys, unmirrored)):
        item = np.searchsorted(unique, of_keys)
        for place in (work["shard"], items["start"]):
            of_video = np.zeros(len(manifest), np.int64)
            of_video[of] = place[item]
            columns.append(pa.array(of_video, mask=none))
    return Plan(shape, shards, work, pa.table(columns, schema=SCHEMA))


def described(manifest: pd.DataFrame) -> pa.Table:
    """The columns of the index that are those of the manifest."""
    said = {column: manifest[column].to_numpy(dtype=object, na_value=None) for column in SCHEMA.names[:5]}
    return pa.table({column: pa.array(texts, pa.string()) for column, texts in said.items()})


def _keys(made_by: str, checksums: pd.Series, rows: np.ndarray, kind: str) -> np.ndarray:
    digests = (hashlib.sha256(f"{made_by} {checksum} {kind}".encode()) for checksum in checksums.iloc[rows])
    return np.array([digest.hexdigest()[:32] for digest in digests], "S32")


def _buckets(keys: np.ndarray, num_bytes: int, shard_bytes: int) -> np.ndarray:
    """The first bits of each key, as many as make shards of about `shard_bytes`."""
    bits = max(0, math.ceil(math.log2(num_bytes / shard_bytes)))
    return np.array([int(key[:8], 16) >> (32 - bits) for key in keys])
