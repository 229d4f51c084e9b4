"""Hashes of values, files and folders: what ties a number to the bytes it came from, and finds equal work.

Not here: what a stage is made from (provenance.py).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lvdm.machine import cores

SETTLED_NS = 2_000_000_000  # a file that changed less long ago may change again without its times telling
AT_ONCE = 10_000  # files that wait for a thread

_known: dict[str, tuple[tuple[int, ...], str]] = {}  # by path: how a file was when it was read, and its sha256


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal; a process reads a file once, as long as it is left as it is."""
    with path.open("rb") as file:
        seen = os.fstat(file.fileno())  # of what is read; and opening asks a file server anew, as `stat` may not
        state = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_ctime_ns)
        before, content = _known.get(os.fspath(path), (None, ""))
        if before == state:
            return content
        settled = time.time_ns() - seen.st_ctime_ns >= SETTLED_NS
        content = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        _known[os.fspath(path)] = state, content
    return content


def digests(files: Iterable[Path]) -> Iterator[str]:
    """The sha256 of each, several read at once."""
    left = iter(files)
    with ThreadPoolExecutor(cores()) as pool:
        while some := list(itertools.islice(left, AT_ONCE)):
            yield from pool.map(sha256, some)


def files_at(path: Path, pattern: str = "*") -> list[Path]:
    """The files below a folder, in order, whose names fit `pattern`; of a file itself; of nothing none."""
    return [file for file in (sorted(path.rglob(pattern)) if path.is_dir() else [path]) if file.is_file()]


def fingerprint(*parts: Any, files: Iterable[Path] = ()) -> str:
    """A short hash of plain values and of the contents of files and folders: equal work has equal fingerprints."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    found = [(path, file) for path in files for file in files_at(path)]
    for (path, file), content in zip(found, digests(file for _, file in found), strict=True):
        digest.update(f"{file.relative_to(path.parent)} {content}\n".encode())
    return digest.hexdigest()[:16]
