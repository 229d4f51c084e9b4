"""Features of many clips: one network over each clip, on every device, kept in files and read a part at a time.

A clip is always seen alone, so no batch size, number of processes or order can change a number; it is read once for all
networks, ahead of them, and memory does not grow with the number of clips. Killed, what was extracted stays; equal
clips are not extracted again while somebody asks for them every DAYS, and of processes that want the same features at
once one extracts them while the others wait.
Not here: the networks (features.py), what is done with the features (distances.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.evaluation.features import Extractor
from lvdm.fingerprints import fingerprint
from lvdm.graph import READING
from lvdm.machine import cores
from lvdm.parallel import Share, share_out
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file

log = logging.getLogger(__name__)

SHARD = 16  # clips a file while they are extracted
READERS = min(8, cores())  # threads: a network on a GPU looks at clips faster than one decodes them
AHEAD = 2 * READERS  # clips read before a network wants them
DAYS = 30  # for which features that nobody asks for are kept
PACKAGE = Path(__file__).parents[1]
CODE = (  # that decides what the features of a clip are; tests/test_architecture.py compares it with what is imported
    *READING,
    "evaluation/efficientnet.py",
    "evaluation/extraction.py",
    "evaluation/features.py",
    "evaluation/sets.py",
    "evaluation/transnet.py",
)


@runtime_checkable
class Clips(Protocol):
    """Clips by index, decoded when asked for: uint8 tensors "t h w 3"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class ClipSet:
    """Clips, a caption for each where there are captions, and a hash of what they are (default: of their pixels)."""

    clips: Clips
    captions: Sequence[str] | None = None
    content: str = ""

    def __len__(self) -> int:
        return len(self.clips)

    @functools.cached_property
    def hash(self) -> str:
        """`content`, or the sha256 of the pixels."""
        if self.content:
            return self.content
        digest = hashlib.sha256()
        for index in range(len(self.clips)):
            digest.update(self.clips[index].cpu().numpy().tobytes())
        return digest.hexdigest()


def extract(extractor: Extractor, given: ClipSet, workspace: Workspace) -> Float[Tensor, "n rows d"]:
    """The features of all clips, float32 as the network gives them, mapped from a file.

    Raises:
        ArtefactError: a process of several died.
        WeightsError: the network answers in another shape than the one it is known for.
    """
    extract_all([(extractor, given)], workspace)
    features = _Job.of(extractor, given, workspace).extracted()
    assert features is not None  # just made
    return torch.from_numpy(features)


def extract_all(wanted: Iterable[tuple[Extractor, ClipSet]], workspace: Workspace) -> None:
    """Extracts what is not there yet, all in one go: what is then asked of `extract` is only read.

    Raises:
        ArtefactError: a process of several died.
        WeightsError: a network answers in another shape than the one it is known for.
    """
    every = (_Job.of(extractor, given, workspace) for extractor, given in wanted)
    jobs = list({job.features: job for job in every}.values())
    while jobs := [job for job in jobs if job.extracted() is None]:
        with contextlib.ExitStack() as held:
            mine = [job for job in jobs if held.enter_context(job.held(wait=False))]
            if not mine:  # holding none, so that no two processes wait for each other
                log.info("features: another process extracts %s; waiting for it", jobs[0].features.name)
                mine = [job for job in jobs[:1] if held.enter_context(job.held(wait=True))]
            _extract([job for job in mine if job.extracted() is None], workspace)
    _forget(workspace.cache / "features")


def _forget(folder: Path) -> None:
    """Removes what nobody has asked for for DAYS: features of samples that are gone, and by code that has changed."""
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process forgets too
            if time.time() - path.stat().st_mtime > DAYS * 24 * 3600:
                remove = shutil.rmtree if path.is_dir() else Path.unlink
                remove(path)


def _extract(jobs: Sequence[_Job], workspace: Workspace) -> None:
    """What nobody else extracts, since this process holds the jobs."""
    cpu = torch.device("cpu")  # from where networks are sent to other processes
    if left := _left([replace(job, extractor=job.extractor.on(cpu)) for job in jobs]):
        devices = workspace.machine.shared_devices[: len(left)]
        share_out(functools.partial(_extract_share, left), devices, "features")
    for job in jobs:
        _join(job.features, [job.shard(start) for start in job.starts])
        shutil.rmtree(job.shards)


def _left(jobs: Sequence[_Job]) -> list[_Piece]:
    """What is missing, each piece for all networks that want it."""
    wanting: dict[tuple[str, int], list[_Job]] = {}
    for job in jobs:
        for start in job.starts:
            if _array(job.shard(start)) is None:
                wanting.setdefault((job.content, start), []).append(job)
    return [_Piece(tuple(those), start) for (_, start), those in wanting.items()]


@dataclass(frozen=True)
class _Job:
    """The features of one set of clips by one network."""

    extractor: Extractor
    clips: Clips
    captions: Sequence[str] | None
    content: str  # what the clips are
    features: Path  # the file for all of them

    @classmethod
    def of(cls, extractor: Extractor, given: ClipSet, workspace: Workspace) -> _Job:
        captions = given.captions if extractor.needs_captions else None
        content = fingerprint(given.hash, len(given))
        key = fingerprint(content, extractor.sha256, captions, files=[PACKAGE / file for file in CODE])
        features = workspace.cache / "features" / f"{extractor.name}-{key}.npy"
        return cls(extractor, given.clips, captions, content, features)

    @property
    def starts(self) -> range:
        """The first clip of each shard."""
        return range(0, len(self.clips), SHARD)

    @property
    def shards(self) -> Path:
        return self.features.with_suffix("")

    def extracted(self) -> np.ndarray | None:
        """The features, mapped from their file; None if there is none yet. What is there of them is kept anew."""
        for path in (self.features, self.lock, self.shards):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
        return _array(self.features)

    @property
    def lock(self) -> Path:
        return self.features.with_suffix(".lock")

    def shard(self, start: int) -> Path:
        return self.shards / f"{start:06d}.npy"

    @contextlib.contextmanager
    def held(self, wait: bool) -> Iterator[bool]:
        """Whether the features are now this process's to write; the kernel releases them when it dies."""
        self.features.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


@dataclass(frozen=True)
class _Piece:
    """Clips from `start` on, a file of them, for each of these jobs: networks that look at the same clips."""

    jobs: tuple[_Job, ...]
    start: int

    @property
    def indices(self) -> range:
        return range(self.start, min(self.start + SHARD, len(self.jobs[0].clips)))


def _extract_share(left: Sequence[_Piece], share: Share) -> None:
    mine = left[share.pieces]
    read = _ahead((piece.jobs[0].clips, index) for piece in mine for index in piece.indices)
    for piece in progress(mine, len(mine), "features", f"{SHARD} clips"):
        extractors = [job.extractor.on(share.device) for job in piece.jobs]
        found: list[list[Tensor]] = [[] for _ in piece.jobs]
        for index in piece.indices:
            clip = next(read)
            for job, extractor, features in zip(piece.jobs, extractors, found, strict=True):
                features.append(extractor(clip, None if job.captions is None else job.captions[index]))
        for job, features in zip(piece.jobs, found, strict=True):
            with atomic_file(job.shard(piece.start)) as beside, beside.open("wb") as file:
                np.save(file, torch.stack(features).float().cpu().numpy())


def _ahead(asked: Iterable[tuple[Clips, int]]) -> Iterator[Tensor]:
    """The clips in order, read in threads of their own while the networks look at those before."""
    with ThreadPoolExecutor(READERS) as pool:
        coming: deque[Future[Tensor]] = deque()
        for clips, index in asked:
            coming.append(pool.submit(clips.__getitem__, index))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _array(path: Path) -> np.ndarray | None:
    """What a file holds, mapped; None if it is not there, or cut, as a disk or a copy may leave it."""
    try:
        return np.load(path, mmap_mode="c")
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _join(whole: Path, shards: Sequence[Path]) -> None:
    """One array of many, a shard in memory at a time."""
    shapes = [np.load(shard, mmap_mode="r").shape for shard in shards]
    with atomic_file(whole) as beside:
        joined = np.lib.format.open_memmap(
            beside, mode="w+", dtype=np.float32, shape=(sum(shape[0] for shape in shapes), *shapes[0][1:])
        )
        at = 0
        for shard, shape in zip(shards, shapes, strict=True):
            joined[at : at + shape[0]] = np.load(shard)
            at += shape[0]
        joined.flush()
