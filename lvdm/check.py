"""A gate, of data or of results, as it came out, for whoever shows it: a report, Dagster, the command line.

Not here: what is expected, and judging it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One gate, of data or of results, as it came out."""

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
