"""Local copies of videos that lie on S3: fetched when they are wanted, and bounded if machine.yaml says so.

In place of such videos `artifacts/videos` holds an index of the objects that they are: the same on every machine,
whatever of them is at hand there. A copy appears by rename and is named by what it holds; while it is read it is
locked, and when room is needed the one that was not read for longest goes.
Not here: S3 (lvdm/storage), and which of its objects are wanted (sources.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import filterfalse
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from lvdm.errors import SourceError
from lvdm.fingerprints import fingerprint
from lvdm.progress import progress
from lvdm.storage.bucket import Object, Prefix
from lvdm.storage.fetching import fetch_all
from lvdm.workspace import Workspace, lives, write_json

INDEX = ".s3-index"  # in the folder whose videos lie on S3
COPIES = "mirror"
PARTIAL, ACCOUNT = "partial", "bytes"  # in it
NOBODY = "left"
MOST_HELD = 256  # copies at once where they are bounded: each is an open file
FILLED = 0.9  # of the room, after some was made
WAIT = 0.05  # seconds, for others to end reading
REMEDY = "check ingest.source, then run `lvdm ingest` again"
P = ParamSpec("P")
R = TypeVar("R")


def reads_locally(read: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
    """`read`, whose first argument is a video, of its copy if the video lies on S3.

    Raises:
        SourceError: it cannot be had.
    """

    @functools.wraps(read)
    def reading(path: Path, /, *rest: P.args, **named: P.kwargs) -> R:
        index = None if path.exists() else _index_above(path)
        if index is None:
            return read(path, *rest, **named)
        name = path.relative_to(index.parent).as_posix()
        with _mirror_of(index).held([name]) as copies:
            return read(copies.get(name, path), *rest, **named)

    return reading


def local_batches(paths: Sequence[Path]) -> Iterator[tuple[slice, list[Path]]]:
    """Spans of the videos of one source, each with where these lie on this machine until the next is asked for.

    Raises:
        SourceError: one lies on S3 and cannot be had.
    """
    index = _index_above(paths[0]) if paths else None
    if index is None:
        yield slice(0, len(paths)), list(paths)
        return
    mirror, names = _mirror_of(index), [path.relative_to(index.parent).as_posix() for path in paths]
    for span in mirror.batches(names):
        with mirror.held(names[span]) as copies:
            yield span, [copies.get(name, path) for name, path in zip(names[span], paths[span], strict=True)]


def state(path: Path) -> list[tuple[str, int, int | str]]:
    """What changes when a video does, a file or a folder of frames: names, bytes, and times or etags."""
    if not path.exists() and (index := _index_above(path)):
        entry = _mirror_of(index).objects.get(path.relative_to(index.parent).as_posix())
        return [(path.name, entry.size, entry.etag)] if entry else []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [(file.name, s.st_size, s.st_mtime_ns) for file in files if file.exists() for s in [file.stat()]]


def write_index(folder: Path, url: str, objects: Mapping[str, Object]) -> None:
    """Lets the files `objects` of `folder`, which lie below `url`, be read as if they lay there."""
    write_json(folder / INDEX, {"source": url, "objects": {name: astuple(entry) for name, entry in objects.items()}})


def indexed(folder: Path) -> list[Path]:
    """The files of `folder` that lie on S3."""
    return [folder / name for name in _mirror_of(folder / INDEX).objects] if (folder / INDEX).is_file() else []


class Mirror:
    """Copies of `objects`, each by its path within `prefix`, in a folder that other prefixes may share."""

    def __init__(self, prefix: Prefix, objects: Mapping[str, Object], workspace: Workspace):
        self.prefix, self.objects, self.folder = prefix, objects, workspace.local / COPIES
        gigabytes = workspace.machine.cache_gigabytes
        self.max_bytes = None if gigabytes is None else int(gigabytes * 1e9)

    @contextlib.contextmanager
    def held(self, names: Sequence[str]) -> Iterator[dict[str, Path]]:
        """The copy of each of `names` that is an object, which stays until the block ends.

        Raises:
            SourceError: one cannot be had, or there is no room for it.
        """
        copies = {name: self._copy(self.objects[name]) for name in names if name in self.objects}
        with contextlib.ExitStack() as locks:
            missing = [name for name, copy in copies.items() if not self._lock(copy, locks)]
            while missing:  # again only if another process took one away before it was locked
                missing = [name for name in self._fetched(missing) if not self._lock(copies[name], locks)]
            yield copies

    def batches(self, names: Sequence[str]) -> Iterator[slice]:
        """Spans of `names` that can be held at once and leave others half of the room, or are one object."""
        start, held = 0, 0
        for stop, name in enumerate(names):
            size = self.objects[name].size if name in self.objects else 0
            full = self.max_bytes is not None and (held + size > self.max_bytes / 2 or stop - start == MOST_HELD)
            if full and stop > start:
                yield slice(start, stop)
                start, held = stop, 0
            held += size
        yield slice(start, len(names))

    def remove_others(self) -> None:
        """Removes copies of other objects, and what killed processes left."""
        wanted = {self._copy(entry) for entry in self.objects.values()}
        for copy in {*self.folder.glob("??/*"), *filterfalse(_is_at_work, self._partials())} - wanted:
            copy.unlink(missing_ok=True)

    def _copy(self, entry: Object) -> Path:
        name = fingerprint(astuple(entry))
        return self.folder / name[:2] / f"{name}.{entry.size}.{entry.key.rsplit('/', 1)[-1][-50:]}"

    def _lock(self, copy: Path, locks: contextlib.ExitStack) -> bool:
        """Whether the copy is there; if it might go one day, it stays until `locks` end."""
        if self.max_bytes is None:
            return copy.exists()
        try:
            handle = os.open(copy, os.O_RDONLY)
        except FileNotFoundError:
            return False
        locks.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            os.utime(copy)
            return os.path.samestat(os.fstat(handle), copy.stat())
        return False

    def _fetched(self, names: Sequence[str]) -> Iterator[str]:
        """Fetches objects, and yields each name when its copy is there."""
        if self.max_bytes is None:
            (self.folder / ACCOUNT).unlink(missing_ok=True)  # whoever bounds the copies later counts them
        partials: dict[Path, str] = {}
        try:
            (self.folder / PARTIAL).mkdir(parents=True, exist_ok=True)
            left = {path.name.partition(".")[2]: path for path in self._partials() if not _is_at_work(path)}
            for name in names:
                partials[self._partial(self.objects[name], left)] = name
            wanted = [(self.objects[name], partial) for partial, name in partials.items()]
            with contextlib.closing(fetch_all(self.prefix, wanted)) as arriving:
                for partial in progress(arriving, len(wanted), "fetching", "file") if len(wanted) > 1 else arriving:
                    copy = self._copy(self.objects[partials[partial]])
                    copy.parent.mkdir(exist_ok=True)
                    partial.rename(copy)
                    yield partials[partial]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remedy = "free some, or bound the copies by cache_gigabytes in machine.yaml; what came is kept"
            raise SourceError(f"{self.folder}: no room on the disk", remedy=remedy) from None
        finally:
            for partial in partials:
                with contextlib.suppress(FileNotFoundError):
                    partial.rename(partial.with_name(f"{NOBODY}.{partial.name.partition('.')[2]}"))

    def _partial(self, entry: Object, left: Mapping[str, Path]) -> Path:
        """A path to fetch an object to, which has the room for it and may hold what came before a kill or an error.

        Its name is OWNER.BYTES.OBJECT, and its room is its own once this returns.
        """
        what = f"{entry.size}.{fingerprint(astuple(entry))}"
        partial = self.folder / PARTIAL / f"{os.getpid()}-{threading.get_ident()}.{what}"
        if self.max_bytes is None:
            self._adopt(what, left, partial)
            return partial
        if entry.size > self.max_bytes:
            expected, remedy = f"at least {entry.size / 1e9:.3g}, for {entry.key}", "raise it, or leave it out"
            raise SourceError("machine.yaml: cache_gigabytes", expected=expected, remedy=remedy)
        while True:
            with (self.folder / ACCOUNT).open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if self._adopt(what, left, partial):
                    return partial
                file.seek(0)
                used = int(file.read() or self.max_bytes)
                if used + entry.size > self.max_bytes:
                    used = self._make_room(entry.size, self.max_bytes)
                if fits := used + entry.size <= self.max_bytes:
                    partial.touch()
                file.truncate(0)
                file.write(str(used + entry.size * fits))
            if fits:
                return partial
            time.sleep(WAIT)

    @staticmethod
    def _adopt(what: str, left: Mapping[str, Path], partial: Path) -> bool:
        """Whether something was left of the object, and nobody else took it meanwhile; its room was counted then."""
        if what not in left:
            return False
        with contextlib.suppress(FileNotFoundError):
            left[what].rename(partial)
            return True
        return False

    def _make_room(self, size: int, max_bytes: int) -> int:
        """Removes what is half there and copies that nobody reads, those not read for longest first.

        Returns the bytes of what is left.
        """
        copies = sorted((copy.stat().st_mtime_ns, copy) for copy in self.folder.glob("??/*"))
        partials = self._partials()
        used = sum(map(_size, [*partials, *(copy for _, copy in copies)]))
        for copy in [*filterfalse(_is_at_work, partials), *(copy for _, copy in copies)]:
            if used + size <= max_bytes * FILLED:
                break
            with contextlib.suppress(BlockingIOError, FileNotFoundError), copy.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                copy.unlink()
                used -= _size(copy)
        return used

    def _partials(self) -> list[Path]:
        """What is half there: being fetched, or left by a kill or an error."""
        return list(self.folder.glob(f"{PARTIAL}/*"))


def _is_at_work(partial: Path) -> bool:
    """Whether somebody fetches to this path."""
    owner = partial.name.partition(".")[0]
    return owner != NOBODY and lives(int(owner.partition("-")[0]))


def _size(path: Path) -> int:
    """Of a copy or of what is being fetched, by its name."""
    return int(path.name.split(".")[1])


def _index_above(path: Path) -> Path | None:
    return next((folder / INDEX for folder in path.parents if (folder / INDEX).is_file()), None)


def _mirror_of(index: Path) -> Mirror:
    return _read(index, index.stat().st_mtime_ns, os.getpid())


@functools.lru_cache(2)
def _read(index: Path, changed: int, process: int) -> Mirror:
    """A connection is of one process; the index in `artifacts/videos` is of the workspace two folders up."""
    said = json.loads(index.read_text())
    objects = {name: Object(*entry) for name, entry in said["objects"].items()}
    return Mirror(Prefix(said["source"], REMEDY), objects, Workspace.at(index.parents[2]))
