"""Where every artefact lies, named once, and how files are written so that no half of one is ever read.

Artefacts appear by rename only, so a path that exists is whole. What a killed run resumes from lies under `.lvdm/`,
apart from the artefacts, because DVC removes a stage's outputs before it runs it.
Not here: what is inside an artefact; that belongs to the room that makes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvdm.errors import ArtefactError, BusyError
from lvdm.machine import Machine, load_machine


@dataclass(frozen=True)
class Workspace:
    """The folder that holds params.yaml, and every path below it."""

    root: Path
    machine: Machine = field(default_factory=Machine)

    @classmethod
    def at(cls, root: Path) -> Workspace:
        """The workspace of the folder `root`, with the machine that its machine.yaml describes."""
        return cls(root=root.resolve(), machine=load_machine(root / "machine.yaml"))

    @property
    def artefacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def videos(self) -> Path:
        """Videos that ingest rendered or fetched; videos of a local folder stay where they are."""
        return self.artefacts / "videos"

    @property
    def manifest(self) -> Path:
        return self.artefacts / "manifest.parquet"

    @property
    def validated(self) -> Path:
        return self.artefacts / "validated.parquet"

    @property
    def quarantine(self) -> Path:
        return self.artefacts / "quarantine.csv"

    @property
    def data_report(self) -> Path:
        """What a person looks at before trusting the data: index.html, which needs no network, and flagged.csv."""
        return self.artefacts / "data_report"

    @property
    def accepted(self) -> Path:
        """The record of the version of the data that was accepted last; in Git."""
        return self.root / "accepted" / "videos.json"

    def autoencoder(self, name: str) -> Path:
        return self.artefacts / "autoencoder" / name

    def latents(self, autoencoder: str) -> Path:
        return self.artefacts / "latents" / autoencoder

    def denoiser(self, experiment: str) -> Path:
        return self.artefacts / "denoiser" / experiment

    def samples(self, experiment: str) -> Path:
        return self.artefacts / "samples" / experiment

    def metrics(self, experiment: str) -> Path:
        return self.root / "metrics" / f"{experiment}.json"

    @property
    def leaderboard(self) -> Path:
        return self.artefacts / "leaderboard"

    @property
    def reports(self) -> Path:
        return self.artefacts / "reports"

    def report(self, stage: str, name: str) -> Path:
        """What a run of a stage says of itself: report.json, provenance.json and pictures."""
        return self.reports / stage / (name or "all")

    def curve(self, stage: str, name: str) -> Path:
        """A table to plot: the loss over the steps, the distance along a long video."""
        return self.artefacts / "curves" / stage / f"{name or 'all'}.csv"

    def curves(self, stage: str, name: str) -> tuple[Path, Path]:
        """Of a training: the table of its steps, and that of its held-out examples."""
        return self.curve(stage, name), self.curve(f"{stage}_held_out", name)

    @property
    def weights(self) -> Path:
        """Pretrained networks, put there by `lvdm weights`."""
        return self.root / "weights"

    @property
    def cache(self) -> Path:
        """What can be computed again and is worth keeping, each file named by the hash of what it came from."""
        return self.local / "cache"

    def latent_store(self, autoencoder: str) -> Path:
        """Shards of latents that are being made, and those that the latent cache links to."""
        return self.local / "latents" / autoencoder

    @property
    def local(self) -> Path:
        """What is of this machine alone and of no version: caches, copies, locks, and runs at work."""
        return self.root / ".lvdm"

    @property
    def state(self) -> Path:
        """What runs at work keep beside the artefacts."""
        return self.local

    def scratch(self, stage: str, name: str, fingerprint: str) -> Path:
        """The folder that a killed run of exactly this work resumes from."""
        return self._scratch(stage, name) / fingerprint

    def scratches(self, stage: str, name: str) -> list[Path]:
        """The folders of killed runs, of whatever work."""
        parent = self._scratch(stage, name)
        return sorted(parent.iterdir()) if parent.is_dir() else []

    def clear_scratch(self, stage: str, name: str, keep: Path | None = None) -> None:
        """Removes the folders of killed runs, of other work than `keep`, or all since the work is done."""
        for folder in self.scratches(stage, name):
            if folder != keep:
                shutil.rmtree(folder)

    def _scratch(self, stage: str, name: str) -> Path:
        return self.state / "scratch" / stage / (name or "all")

    def drafts(self, stage: str, name: str) -> Path:
        """Where a stage draws its pictures before its report takes them."""
        folder = self.state / "drafts" / stage / (name or "all")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self, stage: str, name: str) -> Iterator[None]:
        """Holds the work on one artefact; the kernel releases it when the process dies.

        Raises:
            BusyError: another process holds it.
        """
        path = self.local / "locks" / f"{stage}-{name or 'all'}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise BusyError(
                    f"{titled(stage, name)} is already running as process {file.read().strip() or 'unknown'}",
                    remedy="wait for it to end, or end it, and run this again",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def titled(stage: str, name: str) -> str:
    """The work on one artefact in words: the stage, and its entry if it works on entries."""
    return f"{stage} {name}".strip()


def need(path: Path, stage: str) -> Path:
    """`path`, if it exists.

    Raises:
        ArtefactError: it does not; the remedy names the stage that makes it.
    """
    if not path.exists():
        raise ArtefactError(f"{path}: not there", remedy=f"run `lvdm {stage}` first")
    return path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it becomes `path` only if the body ends well."""
    beside = _beside(path, path.suffix)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` to fill; it becomes `path` only if the body ends well."""
    beside, old = _beside(path, ".new"), _beside(path, ".old")
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            path.rename(old)  # so that what is at `path` is always a whole folder or nothing
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, suffix: str) -> Path:
    """A free name beside `path`; what dead processes left there is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{suffix}"):
        pid = int(left.name.removesuffix(f".tmp{suffix}").rsplit(".", 1)[1])
        if pid == os.getpid() or not lives(pid):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp{suffix}")


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def link_or_copy(content: Path, path: Path) -> None:
    """Makes the free `path` the file `content`: the same bytes on disk where links are possible, a copy elsewhere."""
    try:
        path.hardlink_to(content)
    except OSError:  # another file system, or one without links
        shutil.copyfile(content, path)


def write_json(path: Path, document: Any) -> None:
    """Writes `document` to `path` in one piece, with sorted keys."""
    with atomic_file(path) as beside:
        beside.write_text(json.dumps(document, indent=2, sort_keys=True, default=str) + "\n")
