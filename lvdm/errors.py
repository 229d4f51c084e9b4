"""The errors that a person can cause, each one line that says what, where and the remedy.

Not here: errors that only our own bugs can cause; those are `assert`s.
"""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Iterator

from safetensors import SafetensorError

REFUSALS = {  # of the system, which a person can mend
    errno.ENOSPC: "free some space and run this again",
    errno.EDQUOT: "free some space and run this again",
    errno.EFBIG: "raise the limit on the size of a file and run this again",
    errno.EROFS: "let it be written to and run this again",
    errno.EACCES: "change who may read and write it and run this again",
    errno.EPERM: "change who may read and write it and run this again",
    errno.EISDIR: "move the folder away, there belongs a file, and run this again",
    errno.EEXIST: "move the file away, there belongs a folder, and run this again",
}


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


class RefusedBySystem(LvdmError):
    """The disk is full, or a file may not be read or written, or is a folder, or none."""

    @classmethod
    def of(cls, error: OSError | SafetensorError) -> RefusedBySystem | None:
        """What a person can mend of `error`; None if it is another."""
        if isinstance(error, SafetensorError):  # which says the number of the system's error and nothing else of it
            number = re.search(r"\(os error (\d+)\)", str(error))
            remedy = REFUSALS.get(int(number[1])) if number else None
            return cls(str(error), remedy=remedy) if remedy else None
        if error.errno not in REFUSALS:
            return None
        path = error.filename2 or error.filename  # the second is the one written to
        return cls(": ".join([str(path)] * bool(path) + [str(error.strerror)]), remedy=REFUSALS[error.errno])


class OutOfMemory(LvdmError):
    """A GPU does not hold what it is given."""


LESS_AT_ONCE = (
    "end what else is on it, or pass less at once: of a training what `lvdm plan` says, else sample.batch_size or "
    "encode_latents.chunk_frames"
)


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """Raises an error of the system that a person can mend as RefusedBySystem: it is no matter of one item."""
    try:
        yield
    except OSError as error:
        raise RefusedBySystem.of(error) or error from None


def mendable(error: Exception) -> LvdmError | None:
    """What a person can mend of `error`; None if it is a bug, or of the hardware."""
    if isinstance(error, LvdmError):
        return error
    if (torch := sys.modules.get("torch")) and isinstance(error, torch.OutOfMemoryError):  # as loaded by who uses it
        what, *_ = str(error).split(" Of the allocated memory")
        return OutOfMemory(what.rstrip("."), remedy=LESS_AT_ONCE)
    return RefusedBySystem.of(error) if isinstance(error, OSError | SafetensorError) else None
