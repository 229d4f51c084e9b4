"""The sample set of an experiment on disk: short clips to measure, exact, and videos to look at.

clips.safetensors holds the short clips as they are (compression would be measured too); clips/*.mp4 shows the first of
them; long/*.mp4 are the long videos, written as they are decoded; index.json says what is what, made_with.json how it
was made.
While they are made, each sample has files of its own, so that several processes can write and a killed one goes on.
Not here: making the latents (lvdm/diffusion) and measuring the clips (lvdm/evaluation).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvdm.data.frames import as_frames
from lvdm.data.video import write_video
from lvdm.errors import ArtefactError
from lvdm.fingerprints import sha256
from lvdm.transfers import Fetched
from lvdm.workspace import atomic_file, need, write_json

CLIPS, INDEX, MADE_WITH = "clips.safetensors", "index.json", "made_with.json"
SHOWN = 16  # short clips that are written as mp4 too


@dataclass(frozen=True)
class VideoSample:
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

    @property
    def is_shown(self) -> bool:
        """Whether it has an mp4."""
        return self.kind == "long" or self.number < SHOWN

    def exact(self, made: Path) -> Path:
        """Where the frames of a short clip lie until all samples are made."""
        return made / f"clips/{self.number:04d}.safetensors"

    def is_made(self, made: Path) -> bool:
        """Whether it lies whole in `made`."""
        return (self.exact(made) if self.kind == "clip" else made / self.file).exists()


def write_sample(made: Path, sample: VideoSample, frames: Iterable[UInt8[np.ndarray, "_t h w 3"]], fps: float) -> None:
    """Writes a sample as its frames come; it appears when it is whole."""
    if sample.kind == "long":
        write_video(made / sample.file, frames, fps)
        return
    clip = np.ascontiguousarray(np.concatenate(list(frames)))
    if sample.is_shown:
        write_video(made / sample.file, [clip], fps)
    with atomic_file(sample.exact(made)) as beside:
        save_file({"clip": torch.from_numpy(clip)}, beside)


def gather_samples(
    folder: Path, made: Path, samples: Sequence[VideoSample], made_with: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Makes a sample set in `folder` of samples that lie in `made`; all short clips have one length."""
    for sample in samples:
        if sample.is_shown:
            (folder / sample.file).parent.mkdir(exist_ok=True)
            shutil.copyfile(made / sample.file, folder / sample.file)
    exact = [sample.exact(made) for sample in samples if sample.kind == "clip"]
    _stack(folder / CLIPS, exact)
    write_json(folder / INDEX, [asdict(sample) for sample in samples])
    write_json(folder / MADE_WITH, dict(made_with))


@dataclass(frozen=True)
class SampleSet:
    """The finished sample set of an experiment.

    Raises:
        ArtefactError: a file of it is missing, or not as it was written.
    """

    folder: Path

    def clips(self) -> UInt8[Tensor, "n t h w 3"]:
        """The short clips, exact; mapped from the file, so those that are not looked at take no memory."""
        with self._whole(CLIPS) as path:
            return load_file(path)["clips"]

    @property
    def digest(self) -> str:
        """The sha256 of the short clips."""
        return sha256(need(self.folder / CLIPS, f"sample {self.folder.name}"))

    @property
    def made_with(self) -> dict[str, Any]:
        """What made it (see making.made_with); empty where nothing says so."""
        if not (self.folder / MADE_WITH).is_file():
            return {}
        with self._whole(MADE_WITH) as path:
            return dict(json.loads(path.read_text()))

    def samples(self, kind: Literal["clip", "long"]) -> list[VideoSample]:
        """What was made, in order."""
        with self._whole(INDEX) as path:
            return [sample for entry in json.loads(path.read_text()) if (sample := VideoSample(**entry)).kind == kind]

    @contextlib.contextmanager
    def _whole(self, file: str) -> Iterator[Path]:
        """Where a file of the set is, to be read in the body."""
        stage = f"sample {self.folder.name}"
        path = need(self.folder / file, stage)
        try:
            yield path
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            remedy = f"run `lvdm {stage}` again"
            raise ArtefactError(f"{path}: not as it was written: {error}", remedy=remedy) from None


def fetched_frames(sample: VideoSample, chunks: Iterable[Float[Tensor, "1 3 t h w"]]) -> Iterator[Fetched]:
    """The frames of a sample, as many as it asks for; no more chunks are taken than these need.

    They are uint8 of "t h w 3"; the device of the chunks is not waited for.
    """
    left = sample.frames
    for chunk in chunks:
        yield Fetched(as_frames(chunk[0, :, :left]).contiguous())  # laid out as it is written
        left -= chunk.shape[2]
        if left <= 0:
            return


def frames_of(
    sample: VideoSample, chunks: Iterable[Float[Tensor, "1 3 t h w"]]
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """`fetched_frames` as they arrive."""
    return (frames.arrived().numpy() for frames in fetched_frames(sample, chunks))


def _stack(path: Path, clips: Sequence[Path]) -> None:
    """The clips of many files as the one tensor `clips` of a safetensors file, one clip in memory at a time."""
    shape = [len(clips), *load_file(clips[0])["clip"].shape]
    entry = {"dtype": "U8", "shape": shape, "data_offsets": [0, int(np.prod(shape))]}
    header = json.dumps({"clips": entry}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for clip in clips:
            file.write(load_file(clip)["clip"].numpy().tobytes())
