"""Freedoom-Walk-10: a benchmark set that anyone can rebuild, rendered by ViZDoom from its definition.

The definition says every number and scene; beside it lies the sha256 of each video's frames as rendered. These are the
same wherever the game draws the same pixels, while the bytes of an mp4 are those of one version of its encoder.
Not here: the walk (freedoom_walk.py), and anything that knows, after that, that the videos were rendered.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lvdm.data import freedoom_walk, video
from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.freedoom_walk import Camera, Motion, Place
from lvdm.data.video import write_video
from lvdm.errors import SourceError
from lvdm.fingerprints import fingerprint
from lvdm.progress import progress
from lvdm.section import Count, Section, Whole, parse, read_yaml
from lvdm.workspace import Workspace, link_or_copy

log = logging.getLogger(__name__)

DEFINITION, CHECKSUMS = "freedoom.yaml", "sha256.txt"
FPS = 35 / freedoom_walk.TICS
REEL = 16  # videos that are filmed in one game
SECONDS_A_REEL, SECONDS_A_FRAME = 600.0, 2.0  # at most, a hundred times what it takes


class Scene(Section):
    wad: Literal["freedoom1", "freedoom2"]
    map: str
    scenario: str | None = None  # of ViZDoom; brings a map of its own
    words: str


class Definition(Section):
    vizdoom: str
    seed: Whole
    frames: Count
    num_train: Whole
    num_test: Whole
    long_frames: Count
    num_long: Whole
    scenes: Annotated[dict[str, Scene], Field(min_length=1)]
    motions: Annotated[dict[Motion, str], Field(min_length=1)]


Part = Literal["train", "test", "long"]
PARTS: tuple[Part, ...] = ("train", "test", "long")


@dataclass(frozen=True)
class Shot:
    """One video before it is filmed."""

    part: Part
    number: int  # within its part
    scene: str
    motion: Motion
    frames: int

    @property
    def name(self) -> str:
        return f"{self.part}/{self.number:05d}.mp4"

    @property
    def label(self) -> str:
        return f"{self.scene}, {self.motion}"

    @property
    def split(self) -> str:
        return "train" if self.part == "train" else "test"


def load_definition(folder: Path) -> Definition:
    """Reads a definition.

    Raises:
        ParamsError: an unknown key or a wrong value; one line names the field.
    """
    return parse(Definition, read_yaml(folder / DEFINITION), file=DEFINITION)


def shots(definition: Definition) -> list[Shot]:
    """All videos: scenes, then motions, take turns; the long ones walk."""
    scenes, motions = list(definition.scenes), list(definition.motions)
    sizes: list[tuple[Part, int]] = [("train", definition.num_train), ("test", definition.num_test)]
    short = [
        Shot(part, n, scenes[n % len(scenes)], motions[n // len(scenes) % len(motions)], definition.frames)
        for part, count in sizes
        for n in range(count)
    ]
    return short + [
        Shot("long", n, scenes[n % len(scenes)], motions[0], definition.long_frames) for n in range(definition.num_long)
    ]


def read_checksums(folder: Path) -> dict[str, str]:
    """{name: sha256} of the videos of the definition in `folder`, as published; empty where nobody published any."""
    path = folder / CHECKSUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def render(source: Path, folder: Path, workspace: Workspace) -> None:
    """Renders what the definition in `source` names into `folder`, with captions.csv beside it.

    Videos are kept below `.lvdm/` when they are whole and as published, so that a killed rendering goes on;
    `folder` has links to them.

    Raises:
        ParamsError: the definition is wrong.
        SourceError: vizdoom is missing or of another version, a video is not as published, or a renderer died.
    """
    definition, published = load_definition(source), read_checksums(source)
    wanted = shots(definition)
    if not published:
        log.warning("%s: no %s there, so that what is rendered is compared with nothing", source, CHECKSUMS)
    elif unpublished := [shot.name for shot in wanted if shot.name not in published]:
        raise SourceError(
            f"{source / CHECKSUMS}: {len(unpublished)} videos of {DEFINITION} are not in it", got=unpublished[0]
        )
    kept = _kept(definition, workspace)
    missing = [shot for shot in wanted if not (kept / shot.name).exists()]
    rendered = filmed(definition, missing, workspace.machine.probe_workers, kept, published)
    for shot, digest in progress(rendered, len(missing), "rendering", "video"):
        if published and digest != published[shot.name]:
            raise SourceError(
                f"{shot.name}: what is rendered is not what was published",
                expected=published[shot.name],
                got=digest,
                remedy=f"render with vizdoom=={definition.vizdoom} and its own Freedoom, or remove {CHECKSUMS}",
            )
    for shot in wanted:
        (folder / shot.part).mkdir(exist_ok=True)
        link_or_copy(kept / shot.name, folder / shot.name)
    for other in kept.parent.iterdir():
        if other != kept:
            shutil.rmtree(other)
    _write_captions(definition, wanted, folder / "captions.csv")


def filmed(
    definition: Definition,
    wanted: Sequence[Shot],
    workers: int,
    folder: Path | None = None,
    published: Mapping[str, str] | None = None,
) -> Iterator[tuple[Shot, str]]:
    """Films in several processes; yields each shot with the sha256 of its frames.

    Those whose checksum is as `published`, or not there, are written into `folder`, if there is one.

    Raises:
        SourceError: vizdoom is missing or of another version, or a renderer died.
    """
    if wanted:
        _check_version(definition.vizdoom)
    work, reels = functools.partial(_film, definition, folder, published or {}), _reels(wanted)
    for index, outcome in bounded_map(work, reels, workers, _seconds):
        if isinstance(outcome, Lost):
            raise SourceError(
                f"rendering {reels[index][0].name} and others: {outcome.reason}: {outcome.detail}",
                remedy="run this again: it goes on where it was",
            )
        yield from zip(reels[index], outcome, strict=True)


def _seconds(reel: Sequence[Shot]) -> float:
    """The wall-clock limit of a reel."""
    return SECONDS_A_REEL + SECONDS_A_FRAME * sum(shot.frames for shot in reel)


def _reels(wanted: Sequence[Shot]) -> list[list[Shot]]:
    """Shots that are filmed in one game, the long ones first."""
    in_turn = sorted(wanted, key=lambda shot: (-shot.frames, shot.scene))
    alike = (list(group) for _, group in itertools.groupby(in_turn, lambda shot: (shot.frames, shot.scene)))
    return [group[first : first + REEL] for group in alike for first in range(0, len(group), REEL)]


def _film(definition: Definition, folder: Path | None, published: Mapping[str, str], reel: Sequence[Shot]) -> list[str]:
    scene, digests = definition.scenes[reel[0].scene], []
    with Camera(Place(scene.wad, scene.map, scene.scenario)) as camera:
        for shot in reel:
            seed = [definition.seed, PARTS.index(shot.part), shot.number]
            frames = camera.film(shot.motion, shot.frames, seed)
            digests.append(hashlib.sha256(frames.tobytes()).hexdigest())
            if folder is not None and published.get(shot.name, digests[-1]) == digests[-1]:
                write_video(folder / shot.name, [frames], FPS)
    return digests


def _check_version(wanted: str) -> None:
    remedy = f"pip install vizdoom=={wanted}, or lvdm with the extra `freedoom`"
    try:
        found = version("vizdoom")
    except PackageNotFoundError:
        raise SourceError("freedoom-walk is rendered with vizdoom, which is not installed", remedy=remedy) from None
    if found != wanted:
        raise SourceError(
            "freedoom-walk: another vizdoom renders other videos", expected=wanted, got=found, remedy=remedy
        )


def _kept(definition: Definition, workspace: Workspace) -> Path:
    """Where videos of this definition and code are kept; how many there are makes no other ones."""
    counts = {"num_train", "num_test", "num_long"}
    code = [Path(str(module.__file__)) for module in (freedoom_walk, video)] + [Path(__file__)]
    folder = workspace.local / "rendered" / fingerprint(definition.model_dump(exclude=counts), files=code)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_captions(definition: Definition, wanted: Sequence[Shot], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "caption", "split"])
        for shot in wanted:
            caption = f"{definition.motions[shot.motion]} {definition.scenes[shot.scene].words}"
            table.writerow([shot.name, shot.label, caption, shot.split])
