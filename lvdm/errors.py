"""The errors that a person can cause, each one line that says what, where and the remedy.

Not here: errors that only our own bugs can cause; those are `assert`s.
"""

from __future__ import annotations


class LvdmError(Exception):
    """Something a person can mend; the command line prints it as one line, without a traceback."""

    def __init__(self, what: str, *, expected: str | None = None, got: object = None, remedy: str | None = None):
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}, got {got!r}" if got is not None else f"expected {expected}")
        elif got is not None:
            parts.append(f"got {got!r}")
        line = ": ".join(parts)
        super().__init__(" ".join(f"{line}; {remedy}".split()) if remedy else " ".join(line.split()))


class ParamsError(LvdmError):
    """A field of params.yaml or machine.yaml is unknown, missing or wrong."""


class SourceError(LvdmError):
    """A source of videos cannot be read."""


class StorageError(SourceError):
    """S3 does not give what it is asked for, or does not take what it is given."""


class VideoError(LvdmError):
    """A video cannot be decoded."""


class ValidationFailed(LvdmError):
    """The manifest does not meet a critical expectation."""


class ArtefactError(LvdmError):
    """An artefact that a stage needs is missing, incomplete or made by something else."""


class BusyError(ArtefactError):
    """Another process is at work on an artefact."""


class WeightsError(LvdmError):
    """A pretrained network is missing or is not the one that it should be."""
