"""Where videos come from: a folder, a folder with a recipe (builtin, freedoom-walk), or s3://bucket/prefix.

After `collect` every source is a list of local videos.
Not here: what is inside a file; a candidate is told by its name, or by its first bytes where it has no suffix or that
of an image. What a name says of a video is in layouts.py, how S3 is spoken to in lvdm/storage.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lvdm.data import freedoom, sprites
from lvdm.data.frame_folders import is_image, numeric_aware
from lvdm.data.layouts import NOTHING, Told, reads_frames, tell
from lvdm.data.mirror import INDEX, REMEDY, Mirror, indexed, write_index
from lvdm.errors import SourceError
from lvdm.params.layouts import Layout
from lvdm.storage.bucket import Object, Prefix, lies_within
from lvdm.workspace import Workspace, atomic_folder, link_or_copy

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "3gp apng avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv y4m".split()  # noqa: SIM905
)
MAGIC = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")  # Matroska, FLV, ASF, MPEG
CAPTIONS = frozenset({"captions.csv", "captions.jsonl", "captions.parquet"})
SIDECAR = ".txt"  # x.txt beside x.mp4 holds its caption
TEXT_SUFFIXES = (SIDECAR, ".json")  # of captions and of the lists of a dataset's splits


@dataclass(frozen=True)
class SourceVideo:
    """A file that its name makes a candidate."""

    id: str  # its path within the source
    path: str  # relative to the workspace if inside it, else absolute
    told: Told = NOTHING  # by its place


@dataclass(frozen=True)
class Source:
    """A source that lies on this machine."""

    folder: Path
    videos: tuple[SourceVideo, ...]  # numeric-aware order: clip 2 before clip 10
    fps: float = 0.0  # of videos that are folders of images


def collect(source: str, layout: Layout, workspace: Workspace) -> Source:
    """Lists a source, after rendering it (a recipe) or mirroring it (S3) into `workspace.videos`, which always exists.

    Raises:
        SourceError: the source cannot be read at all (single files that cannot are left to the probe), or it and
            `workspace.videos`, whose content goes, are in each other.
        ParamsError: the recipe is wrong.
    """
    if source.startswith("s3://"):
        _index(source, layout, workspace)
        return _listed(workspace.videos, layout, workspace)
    folder = workspace.root / Path(os.path.normpath(Path(source).expanduser()))
    if not folder.is_dir():
        raise SourceError(
            f"ingest.source: {folder} is not a folder",
            expected="builtin, freedoom-walk, a folder of videos, or s3://bucket/prefix",
            got=source,
            remedy="the built-in sets are folders of the repository: copy the one you want beside params.yaml"
            if Path(source).parts[0] in ("builtin", "freedoom-walk")
            else None,
        )
    ours, theirs = workspace.videos.resolve(), folder.resolve()
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
        raise SourceError(
            f"ingest.source: {folder} and {workspace.videos}, which ingest makes anew, are in each other",
            got=source,
            remedy="move your videos to a folder of their own",
        )
    with atomic_folder(workspace.videos) as beside:
        if (recipe := folder / sprites.RECIPE).is_file():
            sprites.render(sprites.load_recipe(recipe), beside, workspace.machine.probe_workers)
            shutil.copyfile(recipe, beside / sprites.RECIPE)  # says of the videos that they are sprites, and which
            folder = workspace.videos
        elif (folder / freedoom.DEFINITION).is_file():
            freedoom.render(folder, beside, workspace)
            folder = workspace.videos
    return _listed(folder, layout, workspace)


def _listed(folder: Path, layout: Layout, workspace: Workspace) -> Source:
    paths, texts, ignored, frames = {}, [], [], reads_frames(layout)
    for file in _files(folder):
        video = file.parent if frames and is_image(file) else file
        name = video.relative_to(folder).as_posix()
        if _is_text(name):
            texts.append(file)
        elif video is file and not (_is_candidate(name) or _begins_like_a_video(file)):
            if name not in (sprites.RECIPE, INDEX):
                ignored.append(name)
        elif not _is_utf8(name):
            logger.warning("ignored %r: its name is not UTF-8", name)
        elif name not in paths:
            inside = video.is_relative_to(workspace.root)
            paths[name] = (video.relative_to(workspace.root) if inside else video).as_posix()
    told = tell(layout, folder, sorted(paths, key=numeric_aware), texts)
    if paths and not told:
        raise SourceError(
            f"{folder}: none of its {len(paths)} videos is where ingest.layout {layout.kind} has them",
            got=next(iter(paths)),
            remedy="make ingest.source the folder of the dataset as it is distributed, or use another ingest.layout",
        )
    logger.info("%s: %d videos", folder, len(told))
    if ignored:
        logger.info("%d files ignored, as they look like no video, like %r", len(ignored), max(ignored))
    if left_out := [name for name in paths if name not in told]:
        logger.info("%d videos left out, as ingest.layout does not ask for them, like %s", len(left_out), left_out[0])
    videos = tuple(SourceVideo(name, paths[name], said) for name, said in told.items())
    return Source(folder, videos, getattr(layout, "fps", 0.0))


def _files(folder: Path) -> Iterator[Path]:
    """All files below, and empty folders with the name of a video. Links are followed; a folder reached twice is read
    once, one that cannot be read is logged."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=lambda e: logger.warning("skipped: %s", e)):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(parent, name) for name in names)
        if not (folders or names) and Path(parent).suffix.lower() in VIDEO_SUFFIXES:
            yield Path(parent)  # a folder by mistake, which the probe is to say
    yield from indexed(folder)


def _is_candidate(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _begins_like_a_video(file: Path) -> bool:
    """Whether a file without a suffix, or with that of an image, is of a container of videos."""
    if file.name.startswith(".") or (file.suffix and not is_image(file)) or not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            head = opened.read(189)
    except OSError:
        return False
    riff = head[:4] == b"RIFF" and (head[8:12] == b"AVI " or (head[8:16] == b"WEBPVP8X" and head[20] & 2))
    stream = head[:1] == head[188:189] == b"\x47"
    return head[4:8] == b"ftyp" or head.startswith(MAGIC) or bool(riff) or stream


def _is_text(name: str) -> bool:
    return name in CAPTIONS or PurePosixPath(name).suffix in TEXT_SUFFIXES


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _index(source: str, layout: Layout, workspace: Workspace) -> None:
    """Makes `workspace.videos` the texts and frames of the prefix, and the index of its videos, which are mirrored."""
    prefix = Prefix(source, REMEDY)
    found = prefix.list()
    if not found:
        raise SourceError(f"{prefix.where}: not there", got="no object has this prefix", remedy="check ingest.source")
    wanted = _wanted(found, reads_frames(layout))
    videos = {name: entry for name, entry in wanted.items() if _is_candidate(name)}
    mirror = Mirror(prefix, wanted, workspace)
    small = [name for name in wanted if name not in videos]
    with atomic_folder(workspace.videos) as beside:
        for span in mirror.batches(small):
            with mirror.held(small[span]) as copies:
                for name, copy in copies.items():
                    (beside / name).parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(copy, beside / name)
        write_index(beside, prefix.url, videos)
        if mirror.max_bytes is None:
            with mirror.held(list(videos)):
                mirror.remove_others()


def _wanted(found: dict[str, Object], images: bool) -> dict[str, Object]:
    """The videos, texts and, if asked for, images among what a prefix holds."""
    texts = [name for name in found if _is_text(name) or (images and is_image(PurePosixPath(name)))]
    names = [*filter(_is_candidate, found), *texts]
    safe = list(filter(lies_within, names))
    logger.info("%d objects, %d to mirror", len(found), len(safe))
    return {name: found[name] for name in safe}
