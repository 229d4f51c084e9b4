"""Why a video cannot be used: the codes of the manifest's column `error` and of the quarantine, each with its meaning.

A code never changes; the sentence beside it, in `detail`, says what was seen of this file.
Not here: reasons of expectations, such as too few frames; those are in contract.py.
"""

from __future__ import annotations

from pathlib import Path

from lvdm.errors import VideoError

REASONS = {
    "missing": "there is no such file, or a link leads nowhere",
    "unreadable": "the system does not let it be read",
    "not-a-file": "a pipe or a device, or a folder without frames",
    "empty": "a file of no bytes",
    "not-a-video": "neither a container nor a codec that is known, or a picture",
    "no-video-stream": "a container without moving pictures: sound, a cover, or a stream of no frames",
    "truncated": "shorter than its own header says",
    "corrupt": "the decoder found damage",
    "unsupported": "of a codec that is not known",
    "hdr": "of a high dynamic range, which 8 bits a channel do not hold",
    "size-changes": "its frames are not all of one size",
    "too-large": "its frames have more pixels than are read",
    "out-of-memory": "decoding it took more memory than its limit",
    "crashed": "the process that decoded it died",
    "timeout": "decoding it took longer than its limit",
}


class UnreadableVideo(VideoError):
    """A VideoError with its reason, a code of REASONS.

    Made by `of`. A DataLoader makes it from its message alone when it brings it over from a worker.
    """

    reason = "unreadable"
    detail = ""

    @classmethod
    def of(cls, path: Path, reason: str, detail: object) -> UnreadableVideo:
        """The error of one file; its detail is the same wherever the file lies."""
        assert reason in REASONS, reason
        error = cls(f"{path}: {reason}: {detail}")
        error.reason, error.detail = reason, " ".join(str(detail).replace(str(path), path.name).split())
        return error
