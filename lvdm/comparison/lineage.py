"""From a number back to the raw data, by the hashes of what each stage read and wrote.

A break in the chain (bytes that no stage on record made) is part of the answer, never left out.
Not here: recording what a stage read and wrote (provenance.py), drawing (page.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lvdm.errors import ArtefactError
from lvdm.provenance import Provenance
from lvdm.workspace import Workspace


@dataclass(frozen=True)
class Node:
    """Some bytes: what made them and from what, or why that is not known."""

    path: str
    sha256: str
    state: Literal["made", "broken"]
    note: str  # the stage that made it; of a break, the reason
    code: str = ""  # hash of the source that made it
    commit: str = ""
    inputs: tuple[Node, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every branch ends at a stage that reads nothing but raw data."""
        return self.state != "broken" and all(node.whole for node in self.inputs)

    def document(self) -> dict[str, Any]:
        """The tree as nested plain values."""
        return {**vars(self), "inputs": [node.document() for node in self.inputs]}

    def text(self) -> str:
        """The tree as lines, one for each file."""
        return "\n".join(self._lines("", ""))

    def _lines(self, first: str, rest: str) -> list[str]:
        mark = "  <- BROKEN: " if self.state == "broken" else "  <- "
        lines = [f"{first}{self.path}  {self.sha256[:12]}{mark}{self.note}"]
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


def trace(path: str, sha256: str, provenances: Sequence[Provenance]) -> Node:
    """The tree of everything that `path`, with these bytes, was made from."""
    return _trace(path, sha256, provenances, frozenset())


def _trace(path: str, sha256: str, provenances: Sequence[Provenance], above: frozenset[tuple[str, str]]) -> Node:
    if (path, sha256) in above:
        return Node(path, sha256, "broken", "it is made from itself")
    maker = next((p for p in provenances if p.outputs.get(path) == sha256), None)
    if maker is None:
        return Node(path, sha256, "broken", _why_broken(path, provenances))
    inputs = tuple(
        _trace(name, digest, provenances, above | {(path, sha256)}) for name, digest in sorted(maker.inputs.items())
    )
    return Node(path, sha256, "made", _title(maker), maker.code, maker.commit, inputs)


def _why_broken(path: str, provenances: Sequence[Provenance]) -> str:
    since = next((p for p in provenances if path in p.outputs), None)
    return f"{_title(since)} has made other bytes here since" if since else "no stage on record made these bytes"


def _title(provenance: Provenance) -> str:
    return f"{provenance.stage} {provenance.name}".strip()
