"""Hashes of values, files and folders: what ties a number to the bytes it came from, and finds equal work.

Not here: what a stage is made from (provenance.py).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SETTLED_NS = 2_000_000_000  # a file that changed less long ago may change again without its times telling


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal; a process reads a file once, as long as it is left as it is."""
    seen = path.stat()
    just_changed = time.time_ns() - seen.st_ctime_ns < SETTLED_NS
    read = _sha256.__wrapped__ if just_changed else _sha256
    return read(path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_ctime_ns)


@functools.lru_cache(maxsize=100_000)
def _sha256(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(files: Iterable[Path]) -> Iterator[str]:
    """The sha256 of each, several read at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(sha256, files)


def fingerprint(*parts: Any, files: Iterable[Path] = ()) -> str:
    """A short hash of plain values and of the contents of files and folders: equal work has equal fingerprints."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for path in files:
        below = [file for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
        for file, content in zip(below, digests(below), strict=True):
            digest.update(f"{file.relative_to(path.parent)} {content}\n".encode())
    return digest.hexdigest()[:16]
