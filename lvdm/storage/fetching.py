"""Objects of S3 to files: whole, the bytes that the server has, in flat memory, resumed where a kill left them.

Not here: the requests (bucket.py), and who keeps what came (lvdm/data/mirror.py, lvdm/shared/runs.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import math
import os
import re
import shutil
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import as_completed
from dataclasses import astuple
from pathlib import Path, PurePosixPath

from lvdm.errors import StorageError
from lvdm.fingerprints import fingerprint, sha256
from lvdm.progress import progress
from lvdm.storage import bucket
from lvdm.storage.bucket import Content, Object, Pool, Prefix, lies_within
from lvdm.workspace import Workspace

logger = logging.getLogger(__name__)

BLOCK = 8 * 2**20  # bytes of a request: what a cut connection can cost
CHUNK = 2**20  # bytes that are hashed at once
MD5 = re.compile(r'"?([0-9a-f]{32})(?:-(\d+))?"?')  # of the content, or of the md5 of so many parts of it


def fetch_all(prefix: Prefix, wanted: Iterable[tuple[Object, Path]]) -> Generator[Path, None, None]:
    """Fetches each object to its path, several at once, and yields the paths as they are there.

    Raises:
        StorageError: one cannot be had; the rest is left.
    """
    with Pool(bucket.PARALLEL) as pool:
        for done in as_completed([pool.submit(fetch, prefix, entry, path) for entry, path in wanted]):
            yield done.result()


def fetch(prefix: Prefix, entry: Object, path: Path) -> Path:
    """Fetches an object to `path`, which is not to be read before this returns; what it has of it already is kept.

    It is checked by its name, if it is named by its content, or else by its etag. Returns `path`.

    Raises:
        StorageError: it is not what was listed any more, or cannot be had.
    """
    what = prefix.where_is(entry.key)
    for _ in range(bucket.ATTEMPTS):
        with path.open("ab") as file:
            if file.tell() > entry.size:
                file.seek(file.truncate(0))
            while (start := file.tell()) < entry.size:
                file.write(prefix.read(entry, start, min(start + BLOCK, entry.size)))
            file.flush()
            os.fsync(file.fileno())
        if _is_as_listed(prefix, entry, path):
            return path
        path.write_bytes(b"")
        logger.warning("%s: came damaged, fetched again", what)
    remedy = "check the network and any proxy on the way, then run this again: what came whole is kept"
    raise StorageError(f"{what}: came damaged {bucket.ATTEMPTS} times", remedy=remedy)


def fetch_here(url: str, workspace: Workspace, room: str = "fetched") -> Path:
    """The object at a URL, or the folder of all objects below it, as a file or folder of this machine, which stays.

    It is fetched once, into `room` of .lvdm, as long as the objects are the same; what came before an error or a kill
    is not fetched again.

    Raises:
        StorageError: there is none, or it cannot be had.
    """
    prefix = Prefix(url, "check the address")
    name = PurePosixPath(prefix.url).name
    said = prefix.find(prefix.key()) if "/" in prefix.key() else None
    found = {name: Object(prefix.key(), said["ETag"], said["ContentLength"])} if said else prefix.list()
    safe = {n: entry for n, entry in found.items() if lies_within(n) and not n.endswith("/")}
    if not safe:
        raise StorageError(f"{prefix.where}: not there", got="no object has this prefix", remedy=prefix.remedy)
    here = workspace.state / room / fingerprint([astuple(entry) for entry in safe.values()]) / name
    folder = here.parent if said else here
    folder.mkdir(parents=True, exist_ok=True)
    with here.with_name(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others that want the same wait
        missing = {}
        for path, entry in ((folder / n, entry) for n, entry in safe.items()):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                missing[path.with_name(f".{path.name}.part")] = (entry, path)
        arriving = fetch_all(prefix, [(entry, part) for part, (entry, _) in missing.items()])
        for part in progress(arriving, len(missing), "fetching", "file"):
            part.rename(missing[part][1])
    return here


@contextlib.contextmanager
def fetched(url: str, workspace: Workspace) -> Iterator[Path]:
    """`fetch_here`, of what goes when the block ends, and with it what errors and kills left of other such blocks.

    A workspace has one such block at a time, and others wait for its end: so none is to be within another.
    """
    room = workspace.state / "passing"
    workspace.state.mkdir(exist_ok=True)
    with room.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = fetch_here(url, workspace, room.name)
        try:
            yield here
        finally:
            shutil.rmtree(room)


def _is_as_listed(prefix: Prefix, entry: Object, path: Path) -> bool:
    """Whether a file has the content that the name or the etag of an object says, if they say one."""
    if isinstance(entry, Content):
        return sha256(path) == entry.sha256
    said = MD5.fullmatch(entry.etag)
    if said is None:
        return True
    if said[2] is None:
        return said[1] == _md5(path, [entry.size])[0] or _is_encrypted(prefix, entry)
    count = int(said[2])
    size = _part_size(prefix, entry, 1)
    if math.ceil(entry.size / size) == count and said[1] == _md5_of_parts(path, [size] * count):
        return True
    sizes = [_part_size(prefix, entry, number) for number in range(1, count + 1)]
    known = sum(sizes) == entry.size  # a server that knows of no parts says the size of the whole of each
    return not known or said[1] == _md5_of_parts(path, sizes) or _is_encrypted(prefix, entry)


def _part_size(prefix: Prefix, entry: Object, number: int) -> int:
    said = prefix.ask("head_object", entry.key, PartNumber=number)
    return int(said["ContentLength"]) or 1


def _md5_of_parts(path: Path, sizes: list[int]) -> str:
    return hashlib.md5(b"".join(map(bytes.fromhex, _md5(path, sizes))), usedforsecurity=False).hexdigest()


def _md5(path: Path, sizes: list[int]) -> list[str]:
    """The md5 of each of the spans of a file that follow each other."""
    digests = []
    with path.open("rb") as file:
        for size in sizes:
            digest = hashlib.md5(usedforsecurity=False)
            left = size
            while left and (chunk := file.read(min(left, CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
            digests.append(digest.hexdigest())
    return digests


def _is_encrypted(prefix: Prefix, entry: Object) -> bool:
    """Whether the etag is no checksum because of the key that the server encrypts with."""
    said = prefix.ask("head_object", entry.key)
    return said.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in said
