"""What an asset asks for: run one stage for one entry, a night, a promotion. How is pipelines/resources.py's matter."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lvdm.nightly.night import Outcome
from lvdm.report import Report


@dataclass(frozen=True)
class StageRun:
    """A stage that ended well."""

    report: Report
    outputs: dict[str, str]  # path below the workspace: hash of the content
    skipped: bool  # nothing had changed


class StageFailed(Exception):
    """A stage that did not end well; `report` is what it said of itself before, if anything."""

    def __init__(self, message: str, report: Report | None):
        super().__init__(message)
        self.report = report


class StageRunner(Protocol):
    """Runs stages; `log` takes its lines as they come."""

    def run(self, stage: str, name: str, log: Callable[[str], None]) -> StageRun:
        """Runs `stage` for the entry `name` ('' for a stage that runs once).

        Raises:
            StageFailed: with the stage's own line of what to mend.
        """
        ...

    def night(self, log: Callable[[str], None]) -> tuple[Outcome, ...]:
        """Runs tonight's measurements, some of which may fail.

        Raises:
            StageFailed: with its own line of what to mend.
        """
        ...

    def promote(self, experiment: str, why: str, by: str) -> Path:
        """Promotes an experiment; returns the file that says so.

        Raises:
            StageFailed: with the gates that are not passed.
        """
        ...
