"""The sample set of an experiment on disk: short clips to measure, exact, and videos to look at.

clips.safetensors holds the short clips as they are (compression would be measured too); clips/*.mp4 shows the first of
them; long/*.mp4 are the long videos, written as they are decoded; index.json says what is what.
Not here: making the latents (lvdm/diffusion) and measuring the clips (lvdm/evaluation).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvdm.data.clips import to_frames
from lvdm.data.video import write_video
from lvdm.workspace import need, write_json

SHOWN = 16  # short clips that are written as mp4 too


@dataclass(frozen=True)
class Sample:
    """A video to make, or made: a short clip, or a long video."""

    kind: Literal["clip", "long"]
    number: int
    frames: int
    seed: int
    label: str | None  # None without condition, and with captions of unlabelled videos
    caption: str | None = None  # None without text condition

    @property
    def prompt(self) -> str | None:
        """What the denoiser was asked for."""
        return self.label if self.caption is None else self.caption

    @property
    def file(self) -> str:
        """Where its mp4 lies in the sample set."""
        return f"{'clips' if self.kind == 'clip' else 'long'}/{self.number:04d}.mp4"


def write_samples(
    folder: Path, decoded: Iterable[tuple[Sample, Iterable[Float[Tensor, "1 3 t h w"]]]], fps: float
) -> None:
    """Writes each sample as its chunks come, exactly as many frames as it asks for; all short clips have one length."""
    exact, samples = [], []
    for sample, chunks in decoded:
        frames: Iterable[np.ndarray] = first_frames((to_frames(chunk[0]) for chunk in chunks), sample.frames)
        if sample.kind == "clip":
            clip = np.concatenate(list(frames))
            exact.append(torch.from_numpy(clip))
            frames = [clip]
        if sample.kind == "long" or sample.number < SHOWN:
            write_video(folder / sample.file, frames, fps)
        samples.append(sample)
    save_file({"clips": torch.stack(exact)}, folder / "clips.safetensors")
    write_json(folder / "index.json", [asdict(sample) for sample in samples])


@dataclass(frozen=True)
class SampleSet:
    """The finished sample set of an experiment."""

    folder: Path

    def clips(self) -> UInt8[Tensor, "n t h w 3"]:
        """The short clips, exact."""
        return load_file(need(self.folder / "clips.safetensors", f"sample {self.folder.name}"))["clips"]

    def samples(self, kind: Literal["clip", "long"]) -> list[Sample]:
        """What was made, in order."""
        index = json.loads(need(self.folder / "index.json", f"sample {self.folder.name}").read_text())
        return [sample for sample in (Sample(**entry) for entry in index) if sample.kind == kind]


def first_frames(chunks: Iterable[UInt8[np.ndarray, "t h w 3"]], frames: int) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The first `frames` of the frames that come in chunks; no more chunks are taken than these need."""
    for chunk in chunks:
        if frames <= 0:
            return
        yield chunk[:frames]
        frames -= len(chunk)
