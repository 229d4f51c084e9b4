"""From a number back to the raw data, by the hashes of what each stage read and wrote.

There are two records to follow: what the stages left beside their reports, and dvc.lock in Git (lock.py). A break in
the chain (bytes that no stage on record made) is part of the answer, never left out.
Not here: recording what a stage read and wrote (provenance.py), drawing (page.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from lvdm.provenance import RECORD, Provenance, hashes
from lvdm.workspace import Workspace, titled

MADE = ("artifacts", "metrics")  # the folders that stages write to; what lies elsewhere was given
SHOWN = 12  # characters of a hash


@runtime_checkable
class Records(Protocol):
    """What is on record of the runs of stages."""

    def maker(self, path: str, digest: str) -> Provenance | None:
        """The run that wrote these bytes at `path`."""

    def latest(self, path: str) -> Provenance | None:
        """The last run that wrote anything at `path`."""


@dataclass(frozen=True)
class ReportRecords:
    """What the last run of each stage left beside its report."""

    provenances: Sequence[Provenance]

    def maker(self, path: str, digest: str) -> Provenance | None:
        return next((p for p in self.provenances if p.outputs.get(path) == digest), None)

    def latest(self, path: str) -> Provenance | None:
        return next((p for p in self.provenances if path in p.outputs), None)


@dataclass(frozen=True)
class Node:
    """Some bytes: what made them and from what, that they were given, or why nothing is known of them."""

    path: str
    fingerprint: str  # the hash of its content, by which the records know it
    state: Literal["made", "given", "broken"]
    note: str  # the stage that made it; of a break, the reason
    maker: Provenance | None = None  # None of what no stage made
    inputs: tuple[Node, ...] = ()

    @property
    def code(self) -> str:
        """The hash of the source that made it."""
        return self.maker.code if self.maker else ""

    @property
    def commit(self) -> str:
        return self.maker.commit if self.maker else ""

    @property
    def whole(self) -> bool:
        """Whether every branch ends at raw data, or at a stage that reads nothing else."""
        return not any(self.breaks())

    def breaks(self) -> Iterator[Node]:
        """Every end of the tree that leads no further."""
        if self.state == "broken":
            yield self
        for node in self.inputs:
            yield from node.breaks()

    def makers(self) -> Iterator[Provenance]:
        """Every run on record behind these bytes, those nearest to them first on each branch."""
        if self.maker:
            yield self.maker
        for node in self.inputs:
            yield from node.makers()

    def document(self) -> dict[str, Any]:
        """The tree as nested plain values."""
        own = {key: getattr(self, key) for key in ("path", "fingerprint", "state", "note", "code", "commit")}
        return {**own, "inputs": [node.document() for node in self.inputs]}

    def folded(self) -> Node:
        """The same tree, with what is there more than once spread out the first time only."""
        return self._folded(set())

    def _folded(self, seen: set[tuple[str, str]]) -> Node:
        if self.inputs and (self.path, self.fingerprint) in seen:
            return replace(self, note=f"{self.note}, as above", maker=None, inputs=())
        seen.add((self.path, self.fingerprint))
        return replace(self, inputs=tuple(node._folded(seen) for node in self.inputs))

    def text(self) -> str:
        """The folded tree as lines, one for each file; the first characters of the hashes."""
        return "\n".join(self.folded()._lines("", ""))

    def _lines(self, first: str, rest: str) -> list[str]:
        lines = [f"{first}{self.path}  {self.fingerprint[:SHOWN]}  {self._said()}"]
        for i, node in enumerate(self.inputs):
            last = i == len(self.inputs) - 1
            lines += node._lines(rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
        return lines

    def _said(self) -> str:
        if self.state == "broken":
            return f"<- BROKEN: {self.note}"
        facts = [f"{title} {fact}" for title, fact in (("commit", self.commit), ("code", self.code[:SHOWN])) if fact]
        return ", ".join([f"<- {self.note}", *facts])


def read_reports(workspace: Workspace) -> ReportRecords:
    """What all stages that ran left on record.

    Raises:
        ArtefactError: a record cannot be read.
    """
    return ReportRecords([Provenance.read(path) for path in sorted(workspace.reports.rglob(RECORD))])


def trace_file(path: Path, workspace: Workspace, records: Records) -> Node:
    """The tree of everything that a file, as it is now, was made from."""
    ((name, digest),) = hashes((path,), workspace).items()
    return trace(name, digest, records)


def trace(path: str, digest: str, records: Records) -> Node:
    """The tree of everything that `path`, with these bytes, was made from."""
    return _trace(path, digest, records, frozenset())


def _trace(path: str, digest: str, records: Records, above: frozenset[tuple[str, str]]) -> Node:
    if (path, digest) in above:
        return Node(path, digest, "broken", "it is made from itself")
    maker = records.maker(path, digest)
    if maker is None and path.split("/")[0] not in MADE:
        return Node(path, digest, "given", "given")
    if maker is None:
        return Node(path, digest, "broken", _why_broken(path, records))
    inputs = tuple(_trace(name, read, records, above | {(path, digest)}) for name, read in sorted(maker.inputs.items()))
    return Node(path, digest, "made", title(maker), maker, inputs)


def _why_broken(path: str, records: Records) -> str:
    since = records.latest(path)
    return f"{title(since)} has made other bytes here since" if since else "no stage on record made these bytes"


def title(provenance: Provenance) -> str:
    """The run in words: its stage and entry."""
    return titled(provenance.stage, provenance.name)
