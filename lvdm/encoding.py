"""Videos to latents, and all that decides what these are: the recipe, in which latents of other work differ.

Not here: which videos, and the cache that they go to (caching.py); and the way back (making.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int

from lvdm.data.clips import whole_video
from lvdm.data.frames import as_clip
from lvdm.data.video import check_unchanged
from lvdm.fingerprints import fingerprint
from lvdm.graph import READING
from lvdm.models.autoencoder import Autoencoder
from lvdm.params import Clips, Params
from lvdm.workspace import Workspace

PACKAGE = Path(__file__).parent
CODE = (  # that decides what the latents of a video are; tests/test_architecture.py compares it with what is imported
    "data/clips.py",
    *READING,
    "encoding.py",
    "models/autoencoder.py",
    "models/layers.py",
)


def recipe(params: Params, workspace: Workspace, name: str) -> dict[str, Any]:
    """What decides the latents of an autoencoder but for the content of the video: settings, weights, arithmetic, code.

    Chunks of another size change the last bits, so they count.
    """
    clips = params.clips
    return {
        "clips": {"size": clips.size, "stride": clips.stride},
        "chunk_frames": params.encode_latents.chunk_frames,
        "autoencoder": fingerprint(files=[workspace.autoencoder(name)]),
        "arithmetic": workspace.machine.arithmetic,
        "code": {file: fingerprint(files=[PACKAGE / file]) for file in CODE},
    }


def num_latents(manifest: pd.DataFrame, clips: Clips, time_factor: int) -> Int[np.ndarray, " n"]:
    """How many latents each video has; the last frames that fill none are left out."""
    frames = manifest["frames"].to_numpy(np.int64)
    return -(-frames // clips.stride) // time_factor


@torch.inference_mode()
def encoded(
    autoencoder: Autoencoder, row: pd.Series, clips: Clips, workspace: Workspace, chunk_frames: int, mirrored: bool
) -> Iterator[Float32[np.ndarray, "_t c h w"]]:
    """The latents of a video of the manifest in chunks; `mirrored`: of its frames mirrored from left to right.

    Raises:
        ArtefactError: the file is not the one of the manifest.
        VideoError: it cannot be read.
    """
    path, device = workspace.root / row["path"], autoencoder.latent_mean.device
    check_unchanged(path, row["checksum"])
    frames = whole_video(row, clips, workspace.root, chunk_frames)
    chunks = (as_clip((chunk.flip(-2) if mirrored else chunk)[None].to(device)) for chunk in frames)
    latents = autoencoder.encode_stream(chunks)
    while True:
        with workspace.machine.autocast():
            latent = next(latents, None)
        if latent is None:
            return
        yield latent[0].float().transpose(0, 1).contiguous().cpu().numpy()
