"""Every video of a manifest to its latents, chunk by chunk.

Not here: the cache that they go to (lvdm/data/latents.py), and the way back (making.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch

from lvdm.data.clips import whole_video
from lvdm.data.latents import CachedVideo
from lvdm.models.autoencoder import Autoencoder
from lvdm.params import Clips
from lvdm.progress import progress
from lvdm.workspace import Workspace


@torch.inference_mode()
def encoded(
    autoencoder: Autoencoder, manifest: pd.DataFrame, clips: Clips, workspace: Workspace, chunk_frames: int
) -> Iterator[CachedVideo]:
    """Every video of the manifest as latents; the last frames that fill no latent are left out."""
    device = workspace.machine.device
    for _, row in progress(manifest.iterrows(), len(manifest), "encoding", "video"):
        chunks = whole_video(row, clips, workspace.root, chunk_frames)
        with workspace.machine.autocast():
            latents = list(autoencoder.encode_stream(chunk[None].to(device) for chunk in chunks))
        label, caption = (None if pd.isna(row[said]) else row[said] for said in ("label", "caption"))
        latent = torch.cat(latents, dim=2)[0].float().transpose(0, 1)
        yield CachedVideo(row["id"], label, caption, row["split"], latent)
