"""The sample set of an experiment on disk: short clips to measure, exact, and videos to look at.

clips.safetensors holds the short clips as they are (compression would be measured too); clips/*.mp4 shows the first of
them; long/*.mp4 are the long videos, written as they are decoded; index.json, last, says what is what.
Not here: making the latents (lvdm/diffusion) and measuring the clips (lvdm/evaluation).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lvdm.data.clips import to_frames
from lvdm.data.video import write_video
from lvdm.workspace import need, write_json

SHOWN = 16  # short clips that are written as mp4 too


@dataclass(frozen=True)
class Made:
    """What was asked for; `label` is None without label condition."""

    seed: int
    label: str | None


def write_clips(
    folder: Path, clips: Iterable[Float[Tensor, "3 t h w"]], made: Sequence[Made], frames: int, fps: float
) -> None:
    """Writes the first `frames` frames of each short clip into `folder`."""
    exact = torch.stack([torch.from_numpy(to_frames(clip[:, :frames])) for clip in clips])
    save_file({"clips": exact}, folder / "clips.safetensors")
    for number, clip in enumerate(exact[:SHOWN]):
        write_video(folder / "clips" / f"{number:04d}.mp4", [clip.numpy()], fps)
    write_json(folder / "clips.json", [asdict(m) for m in made])


def write_long(
    folder: Path, number: int, chunks: Iterable[Float[Tensor, "1 3 t h w"]], frames: int, fps: float
) -> Path:
    """Writes exactly `frames` frames of a long video as they come; returns the path."""
    path = folder / "long" / f"{number:04d}.mp4"
    write_video(path, _first((to_frames(chunk[0]) for chunk in chunks), frames), fps)
    return path


@dataclass(frozen=True)
class SampleSet:
    """The finished sample set of an experiment."""

    folder: Path

    @property
    def clips(self) -> UInt8[Tensor, "n t h w 3"]:
        """The short clips, exact."""
        with safe_open(need(self.folder / "clips.safetensors", "sample"), framework="pt") as file:
            return file.get_tensor("clips")

    @property
    def long_videos(self) -> list[Path]:
        return sorted((self.folder / "long").glob("*.mp4"))

    @property
    def made(self) -> list[Made]:
        return [Made(**entry) for entry in json.loads((self.folder / "clips.json").read_text())]


def _first(chunks: Iterable[UInt8[np.ndarray, "t h w 3"]], frames: int) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    for chunk in chunks:
        if frames <= 0:
            return
        yield chunk[:frames]
        frames -= len(chunk)
