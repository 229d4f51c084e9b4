"""How an experiment is measured, as objects: two experiments are comparable only where these are equal.

A protocol fixes which real clips there are, how many of them and of samples, and in what order; what it leaves open
may be given in params.yaml, and is then part of it. What the reference and its rivals do: docs/evaluation.md.
Not here: choosing and reading the clips (sets.py), measuring (measuring.py). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from lvdm.fingerprints import fingerprint

if TYPE_CHECKING:
    from lvdm.params import Params

Split = Literal["train", "test", "train+test"]

FEWEST = 2  # clips that have a covariance
AS_TRAINED = 0  # filled in from clips:, because a model must be measured at the stride and size that it was trained at
AS_MADE = 0  # as many or as long as the samples are
SEEN = (
    "shorter side to size, bilinear with antialias, centre crop, uint8; I3D resizes to 224 bilinear without antialias"
)
FAKE = "from frame 0, in the order of their numbers, as uint8 before any compression"


@dataclass(frozen=True)
class Protocol:
    """All that a number depends on beside samples, videos and networks. Too few of either is an error."""

    name: str
    num_clips: int  # on both sides
    split: Split  # of the real clips
    real: Literal["one of every video", "disjoint windows"]  # the latter: one of every video before a second of any
    covariance: Literal["n", "n - 1"]  # what it is divided by
    seed: int  # of the order of the videos and of where clips begin in them
    searched: int  # training clips, at most, among which the nearest to each sample is sought
    clip_frames: int = AS_TRAINED
    stride: int = AS_TRAINED
    size: int = AS_TRAINED  # pixels
    long_videos: int = AS_MADE
    long_frames: int = AS_MADE
    resize: str = SEEN
    fake: str = FAKE

    @property
    def span(self) -> int:
        """Frames of the video from the first frame of a clip to its last, both counted."""
        return (self.clip_frames - 1) * self.stride + 1

    @property
    def for_fewer(self) -> str:
        """What to do where there are fewer real clips than are measured."""
        is_open = "num_clips" in OPEN[self.name]
        fewer = "lower evaluate.num_clips" if is_open else "choose a protocol that measures fewer"
        return f"{fewer}, or give more or longer videos"

    def facts(self) -> dict[str, str | int]:
        """Everything, and a hash of it."""
        return {**asdict(self), "hash": fingerprint(asdict(self))}


STYLEGAN_V = Protocol("stylegan-v", 2048, "train", "one of every video", "n", seed=0, searched=10_000, clip_frames=16)
LVDM = replace(STYLEGAN_V, name="lvdm", covariance="n - 1")

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("small", 32, "test", "disjoint windows", "n - 1", seed=0, searched=32),
        STYLEGAN_V,
        LVDM,
        replace(LVDM, name="10k", num_clips=10_000),
        replace(LVDM, name="lvdm-long", num_clips=512, long_videos=512, long_frames=1024),
    )
}

OPEN: Mapping[str, tuple[str, ...]] = {
    "small": ("num_clips", "split", "seed"),
    **dict.fromkeys(("stylegan-v", "lvdm", "10k", "lvdm-long"), ("split",)),  # UCF-101: train+test, the others: train
}


def protocol_of(params: Params) -> Protocol:
    """How this params.yaml measures."""
    clips, asked = params.clips, params.evaluate
    chosen = replace(PROTOCOLS[asked.protocol], **asked.given)
    if asked.protocol == "small":
        chosen = replace(chosen, clip_frames=clips.frames, searched=chosen.num_clips)
    return replace(chosen, stride=clips.stride, size=clips.size)
