"""What a run says, written beside its artefacts: numbers, pictures, links, and the gates it passed or did not.

Not here: what each stage says (reporting.py), judging what a gate expects (the rooms), and showing it (assets/,
comparison/).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from lvdm.cost import Cost
from lvdm.errors import ArtefactError
from lvdm.workspace import Workspace, atomic_folder, need, titled, write_json

REPORT = "report.json"


@dataclass(frozen=True)
class Check:
    """A gate, of data or of results, as it came out."""

    name: str
    passed: bool
    critical: bool
    description: str
    unexpected: int
    examples: tuple[str, ...]

    @property
    def severity(self) -> str:
        """What it means if it has not passed: what comes after goes on, or does not."""
        return "critical" if self.critical else "warning"

    @property
    def line(self) -> str:
        """The check in one line, with whom it is about."""
        shown = ", ".join(self.examples[:3]) + (", ..." if self.unexpected > 3 else "")
        return f"{self.name}: {self.description}" + (f" ({self.unexpected}: {shown})" if self.unexpected else "")


@dataclass(frozen=True)
class Report:
    """What a stage says of its run: numbers to plot, pictures to look at, files to open."""

    stage: str
    name: str  # of the entry; empty for a stage that runs once
    metrics: dict[str, float]
    pictures: dict[str, Path] = field(default_factory=dict)  # PNG or GIF, below 200 kB
    links: dict[str, Path] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    summary: str = ""  # Markdown
    cost: Cost | None = None  # of the run; whoever runs the stage measures it

    def write(self, workspace: Workspace) -> Report:
        """Writes report.json and copies of the pictures into the stage's report folder; returns the report of these."""
        assert not self.metrics.keys() & {*self.pictures, *self.links}, "all are shown in one table"
        folder = workspace.report(self.stage, self.name)
        with atomic_folder(folder) as beside:
            for picture in self.pictures.values():
                shutil.copyfile(picture, beside / picture.name)
            report = replace(self, pictures={title: folder / p.name for title, p in self.pictures.items()})
            document = asdict(report)
            for paths in ("pictures", "links"):
                document[paths] = {k: os.path.relpath(v, workspace.root) for k, v in document[paths].items()}
            write_json(beside / REPORT, document)
        return report

    @classmethod
    def of_last_run(cls, stage: str, name: str, workspace: Workspace) -> Report | None:
        """As `read`, but None where no run has left one."""
        return cls.read(workspace, stage, name) if (workspace.report(stage, name) / REPORT).is_file() else None

    @classmethod
    def read(cls, workspace: Workspace, stage: str, name: str) -> Report:
        """The report of the last run of a stage.

        Raises:
            ArtefactError: the stage has not run, or the file is no report.
        """
        path = need(workspace.report(stage, name) / REPORT, run := titled(stage, name))
        try:
            document = json.loads(path.read_text())
            document |= {p: {k: workspace.root / v for k, v in document[p].items()} for p in ("pictures", "links")}
            return TypeAdapter(cls).validate_python(document)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: no report: {error}", remedy=f"run `lvdm {run}` again") from None
