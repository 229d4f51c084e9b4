"""dvc.lock through Git's history, as records of what made what: the stage, its hashes, the commit that recorded it.

DVC writes one entry a stage with the md5 of all it read and wrote, so the history of that file in Git remembers every
result that was ever committed. Not here: following the hashes (lineage.py).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import yaml

from lvdm.comparison.snapshot import Snapshot
from lvdm.errors import ArtefactError
from lvdm.fingerprints import fingerprint
from lvdm.provenance import Provenance

LOCK = "dvc.lock"
UNCOMMITTED = "none yet"


@dataclass(frozen=True)
class LockRecords:
    """What dvc.lock says, each with the commit that was the first to say it, or `UNCOMMITTED`."""

    texts: tuple[tuple[str, str], ...]  # (commit, text of dvc.lock), oldest first

    @classmethod
    def of(cls, snapshot: Snapshot) -> LockRecords:
        """The records of a snapshot and of all that came before it.

        Raises:
            ArtefactError: there are none.
        """
        now = snapshot.read(LOCK)
        texts = [*snapshot.history(LOCK), *([(UNCOMMITTED, now)] if now is not None else [])]
        if not texts:
            remedy = "`dvc repro` writes it; without DVC, `lvdm compare` follows what the stages left on record"
            raise ArtefactError(f"{LOCK}: not there", remedy=remedy)
        return cls(tuple(texts))

    def maker(self, path: str, digest: str) -> Provenance | None:
        """The run that wrote these bytes at `path`, as the first commit that knows of it has it."""
        for commit, text in self.texts:
            if digest in text:
                for record in _records(commit, text):
                    if record.outputs.get(path) == digest:
                        return record
        return None

    def latest(self, path: str) -> Provenance | None:
        """The last run that wrote anything at `path`."""
        records = (record for commit, text in reversed(self.texts) for record in _records(commit, text))
        return next((record for record in records if path in record.outputs), None)


@functools.lru_cache(maxsize=64)
def _records(commit: str, text: str) -> tuple[Provenance, ...]:
    """The stages of one dvc.lock; none of what was committed and is no such file, say with the marks of a merge.

    Raises:
        ArtefactError: the one that lies there is none.
    """
    try:
        stages = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
        return tuple(_record(target, entry, commit) for target, entry in stages.items())
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        if commit != UNCOMMITTED:
            return ()
        raise ArtefactError(f"{LOCK} is no lock file of DVC", remedy="restore it from Git") from None


def _record(target: str, entry: dict[str, Any], commit: str) -> Provenance:
    stage, _, name = target.partition("@")
    read = _hashes(entry.get("deps", []))
    code = {path: digest for path, digest in read.items() if path.startswith("lvdm/")}
    return Provenance(
        stage=stage,
        name=name,
        inputs={path: digest for path, digest in read.items() if path not in code},
        outputs=_hashes(entry.get("outs", [])),
        params=entry.get("params", {}).get("params.yaml", {}),
        code=fingerprint(code),
        commit=commit,
    )


def _hashes(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Hash by path: the md5 of a file, a folder's with `.dir`; of object storage, what the store itself says."""
    kinds = ("md5", "etag", "checksum")
    return {entry["path"]: next((entry[kind] for kind in kinds if kind in entry), "") for entry in entries}


def md5(text: str) -> str:
    """The md5 by which DVC knows a file of this text."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
