"""From a number back to the raw data, by the hashes of what each stage read and wrote.

A break in the chain (bytes that no stage on record made) is part of the answer, never left out.
Not here: recording what a stage read and wrote (provenance.py), drawing (page.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.errors import ArtefactError
from lvdm.provenance import Provenance, hashes
from lvdm.workspace import Workspace


@dataclass(frozen=True)
class Node:
    """Some bytes: what made them and from what, or why that is not known."""

    path: str
    fingerprint: str  # lvdm.workspace.fingerprint of its content
    state: Literal["made", "broken"]
    note: str  # the stage that made it; of a break, the reason
    maker: Provenance | None = None  # None of a break
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
        """Whether every branch ends at a stage that reads nothing but raw data."""
        return self.state != "broken" and all(node.whole for node in self.inputs)

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

    def text(self) -> str:
        """The tree as lines, one for each file."""
        return "\n".join(self._lines("", ""))

    def _lines(self, first: str, rest: str) -> list[str]:
        mark = "  <- BROKEN: " if self.state == "broken" else "  <- "
        lines = [f"{first}{self.path}  {self.fingerprint}{mark}{self.note}"]
        for i, node in enumerate(self.inputs):
            last = i == len(self.inputs) - 1
            lines += node._lines(rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
        return lines


def read_provenances(workspace: Workspace) -> list[Provenance]:
    """What all stages that ran left on record.

    Raises:
        ArtefactError: a record cannot be read.
    """
    provenances = []
    for path in sorted(workspace.reports.rglob("provenance.json")):
        try:
            provenances.append(Provenance.read(path))
        except (TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: no provenance: {error}", remedy="run that stage again") from None
    return provenances


def trace_file(path: Path, workspace: Workspace, provenances: Sequence[Provenance]) -> Node:
    """The tree of everything that a file, as it is now, was made from."""
    ((name, fingerprint),) = hashes((path,), workspace).items()
    return trace(name, fingerprint, provenances)


def trace(path: str, fingerprint: str, provenances: Sequence[Provenance]) -> Node:
    """The tree of everything that `path`, with these bytes, was made from."""
    return _trace(path, fingerprint, provenances, frozenset())


def _trace(path: str, fingerprint: str, provenances: Sequence[Provenance], above: frozenset[tuple[str, str]]) -> Node:
    if (path, fingerprint) in above:
        return Node(path, fingerprint, "broken", "it is made from itself")
    maker = next((p for p in provenances if p.outputs.get(path) == fingerprint), None)
    if maker is None:
        return Node(path, fingerprint, "broken", _why_broken(path, provenances))
    inputs = tuple(
        _trace(name, digest, provenances, above | {(path, fingerprint)})
        for name, digest in sorted(maker.inputs.items())
    )
    return Node(path, fingerprint, "made", title(maker), maker, inputs)


def _why_broken(path: str, provenances: Sequence[Provenance]) -> str:
    since = next((p for p in provenances if path in p.outputs), None)
    return f"{title(since)} has made other bytes here since" if since else "no stage on record made these bytes"


def title(provenance: Provenance) -> str:
    """The run in words: its stage and entry."""
    return f"{provenance.stage} {provenance.name}".strip()
