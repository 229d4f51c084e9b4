"""The latents of all videos, encoded once, on all devices of the machine, into the latent cache.

What is not encoded yet goes into the store below `.lvdm/`, from which the cache is linked together when nothing is
missing. Killed, it goes on where it was; and of a later run only what changed is encoded.
Not here: what decides a latent (encoding.py), where each lies (lvdm/data/latent_plan.py), whether a cache is of the
present (freshness.py).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lvdm import encoding
from lvdm.data.latent_plan import Plan, plan
from lvdm.data.latent_store import LatentStore
from lvdm.data.latents import LatentCache, write_index
from lvdm.data.manifest import read_manifest
from lvdm.models.checkpoint import load_autoencoder, read_autoencoder_record
from lvdm.parallel import Share, share_out
from lvdm.params import Params
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_folder

log = logging.getLogger(__name__)

WORTH_A_PROCESS = 250  # videos: 12 processes that shared 1,012 took most of their two minutes to start on a GPU


def cache_latents(params: Params, workspace: Workspace, name: str) -> LatentCache:
    """Encodes what the cache of the autoencoder `name` lacks of the validated videos, and returns the cache.

    A GPU is fed by `data_workers` processes, which decode and encode, or fewer if there are few videos.

    Raises:
        ArtefactError: the autoencoder or the videos are missing or changed since ingest, or a process died.
        VideoError: a video cannot be read.
    """
    recipe, settings = encoding.recipe(params, workspace, name), params.encode_latents
    planned = _planned(params, workspace, name, recipe)
    store = LatentStore(workspace.latent_store(name), planned.shape)
    store.prepare(planned.shards)
    missing = sum(len(store.missing(shard)) for shard in planned.shards)
    if missing:
        log.info("encode_latents %s: %d of %d videos to encode", name, missing, len(planned.work))
        on_gpu = workspace.machine.device.type == "cuda"
        processes = max(1, min(workspace.machine.loaders, missing // WORTH_A_PROCESS)) if on_gpu else 1
        devices = [device for device in workspace.machine.shared_devices for _ in range(processes)]
        encode = functools.partial(_encode_share, planned.work, tuple(planned.shards), params, workspace, name, store)
        share_out(encode, devices, "encoding")
    for shard in planned.shards:
        store.finish(shard)
    write_cache(workspace.latents(name), planned, store, recipe | {"flip": settings.flip})
    return LatentCache(workspace.latents(name))


def write_cache(folder: Path, planned: Plan, store: LatentStore, recipe: dict[str, Any]) -> None:
    """Makes `folder` the cache of whole shards of the store."""
    with atomic_folder(folder) as beside:
        digests = {f"{shard}.npy": store.link(shard, beside / f"{shard}.npy") for shard in planned.shards}
        write_index(beside, planned.index, digests, planned.shape, recipe)


def _planned(params: Params, workspace: Workspace, name: str, recipe: dict[str, Any]) -> Plan:
    manifest = read_manifest(workspace.validated)
    network = read_autoencoder_record(workspace.autoencoder(name)).params.network
    return plan(
        manifest,
        recipe,
        encoding.num_latents(manifest, params.clips, network.time_factor),
        network.latent_shape(params.clips.size),
        params.encode_latents.flip,
        params.encode_latents.shard_megabytes * 1_000_000,
    )


def _encode_share(
    work: np.ndarray,
    shards: Sequence[str],
    params: Params,
    workspace: Workspace,
    name: str,
    store: LatentStore,
    share: Share,
) -> None:
    """Encodes the part of a plan's `work` that is in this share and not in the store; `shards` are all their names."""
    manifest = read_manifest(workspace.validated)
    autoencoder = load_autoencoder(workspace.autoencoder(name)).to(share.device)
    missing = [set(store.missing(shard).tolist()) for shard in shards]
    own = [piece for piece in work[share.pieces].tolist() if piece[1] in missing[piece[0]]]
    for shard, item, row, mirrored in progress(own, len(own), "encoding", "video"):
        chunk_frames = params.encode_latents.chunk_frames
        chunks = encoding.encoded(autoencoder, manifest.iloc[row], params.clips, workspace, chunk_frames, mirrored)
        store.put(shards[shard], item, chunks)
