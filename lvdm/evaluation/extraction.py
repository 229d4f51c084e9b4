"""Features of many clips: one network over each clip, those of real clips kept for the next experiment.

A clip is always seen alone, so no batch size can change a number. Not here: the networks (features.py), what is done
with the features (protocol.py, drift.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvdm.evaluation.features import Extractor
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file, fingerprint


@runtime_checkable
class Clips(Protocol):
    """Clips by index, decoded when asked for: uint8 tensors "t h w 3"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


def extract(
    extractor: Extractor, clips: Clips, count: int, captions: Sequence[str] | None = None
) -> Float64[Tensor, "n rows d"]:
    """The features of the first `count` clips."""
    return torch.stack(
        [
            extractor(clips[i], captions[i] if captions is not None and extractor.needs_captions else None)
            for i in progress(range(count), count, f"{extractor.name} features", "clip")
        ]
    )


def extract_once(
    extractor: Extractor, clips: Clips, count: int, captions: Sequence[str] | None, content: str, workspace: Workspace
) -> Float64[Tensor, "n rows d"]:
    """The same, from the cache if clips of this content (see `content_hash`) went through this network before."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    key = fingerprint(content, extractor.sha256, captions if extractor.needs_captions else None, files=code)
    path = workspace.cache / "features" / f"{extractor.name}-{key}.safetensors"
    if not path.is_file():
        with atomic_file(path) as beside:
            save_file({"features": extract(extractor, clips, count, captions)}, beside)
    return load_file(path)["features"]


def content_hash(clips: Clips, count: int) -> str:
    """The sha256 of the pixels of the first `count` clips."""
    digest = hashlib.sha256()
    for index in range(count):
        digest.update(clips[index].cpu().numpy().tobytes())
    return digest.hexdigest()
