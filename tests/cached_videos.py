"""Latent caches of few videos, for tests that train on them or read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from benchmarks.latent_cache import write_latents
from lvdm.data.latents import LatentCache


@dataclass(frozen=True)
class CachedVideo:
    id: str
    label: str | None
    caption: str | None
    split: str
    latent: Tensor  # t c h w


def cached(folder: Path, videos: Iterable[CachedVideo], **settings: Any) -> LatentCache:
    """A cache of these; the name of a video stands for its content."""
    rows = [video.__dict__ | {"checksum": video.id, "length": len(video.latent)} for video in videos]
    manifest = pd.DataFrame(rows).drop(columns="latent")
    latents = [row["latent"].numpy() for row in rows]
    return write_latents(folder, manifest, lambda row: latents[row], latents[0].shape[1:], **settings)
