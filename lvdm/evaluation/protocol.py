"""How an experiment is measured: which real clips, how many, on which networks, and the floor beside every number.

Not here: reading clips (sets.py), the mathematics of a distance (distances.py), long video (drift.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lvdm.errors import ArtefactError, WeightsError
from lvdm.evaluation.distances import distance
from lvdm.evaluation.extraction import Clips, content_hash, extract, extract_once
from lvdm.evaluation.features import Extractor, load_extractor
from lvdm.evaluation.metrics import ALWAYS, METRICS, Metric
from lvdm.evaluation.result import Estimate, Result, better
from lvdm.evaluation.weights import NETWORKS, Network
from lvdm.workspace import Workspace, fingerprint

log = logging.getLogger(__name__)


CLIP_RULE = (
    "real: disjoint windows, one of every video before a second of any, in seeded order, labels as they come; "
    "fake: from frame 0, labels or held-out captions in turn; caption: what a sample was asked for; "
    "drift: against the longest videos of the split, of the labels of the long samples where it has two of these; "
    "identity: against the longest videos of the split"
)


@dataclass(frozen=True)
class Protocol:
    """What two experiments must share to be comparable."""

    name: str
    num_clips: int  # on both sides
    clip_frames: int
    stride: int
    size: int  # pixels
    split: str  # of the real videos
    seed: int  # of the choice of real clips
    rule: str = CLIP_RULE

    @property
    def span(self) -> int:
        """Frames of the video from the first frame of a clip to its last, both counted."""
        return (self.clip_frames - 1) * self.stride + 1


@dataclass(frozen=True)
class Window:
    """A clip of a video: frames start, start + stride, ..., `clip_frames` of them."""

    video: int
    start: int


def choose_windows(num_frames: Sequence[int], protocol: Protocol, count: int) -> list[Window]:
    """Up to `count` disjoint windows of videos that have `num_frames` frames each, by `CLIP_RULE`.

    A video's windows lie end to end from a random offset. Videos shorter than a clip give none.
    """
    generator = torch.Generator().manual_seed(protocol.seed)
    rounds: list[list[Window]] = []
    for video in torch.randperm(len(num_frames), generator=generator).tolist():
        windows = num_frames[video] // protocol.span
        offset = int(torch.randint(num_frames[video] - windows * protocol.span + 1, (1,), generator=generator))
        order = torch.randperm(windows, generator=generator).tolist()
        rounds += [[] for _ in range(windows - len(rounds))]
        for place, window in enumerate(order):
            rounds[place].append(Window(video, offset + window * protocol.span))
    return [window for windows in rounds for window in windows][:count]


@dataclass(frozen=True)
class ClipSet:
    """Clips, with a caption for each where there are captions."""

    clips: Clips
    captions: Sequence[str] | None = None


def evaluate(
    real: ClipSet,
    fake: ClipSet,
    protocol: Protocol,
    metrics: Sequence[str],
    workspace: Workspace,
    device: torch.device,
    networks: Mapping[str, Network] = NETWORKS,
) -> Result:
    """Every metric of `metrics` between the first `protocol.num_clips` of both sets, each beside its floor.

    Real clips beyond these make the other side of the floor; where there are fewer than twice as many, the floor is
    between the two halves of what there is, and `floor_n` says so. Metrics that cannot run are named with the remedy.

    Raises:
        ArtefactError: too few clips, or a clip of another shape than the protocol's.
    """
    n = protocol.num_clips
    for name, clips in (("real", real), ("fake", fake)):
        if len(clips.clips) < max(n, 2):
            raise ArtefactError(
                f"{name} clips",
                expected=f"at least {max(n, 2)}",
                got=len(clips.clips),
                remedy="lower evaluate.num_clips, or give more videos (real) or a higher sample.num_clips (fake)",
            )
        _check_shape(clips.clips[0], protocol, name)
    chosen = [METRICS[key] for key in dict.fromkeys((*metrics, *ALWAYS)) if METRICS[key].measure != "identity"]
    extractors, not_available = _extractors(chosen, real, fake, workspace, device, networks)
    count = min(len(real.clips), 2 * n)
    floor_n = n if count == 2 * n else count // 2
    real_set = content_hash(real.clips, count)
    estimates: dict[str, Estimate] = {}
    measured: dict[str, dict[str, float]] = {}
    for name, extractor in extractors.items():
        of_real = extract_once(extractor, real.clips, count, real.captions, real_set, workspace)
        of_fake = extract(extractor, fake.clips, n, fake.captions)
        for metric in chosen:
            if metric.features == name and metric.key not in not_available:
                a, b = of_real[:floor_n].flatten(0, 1), of_real[floor_n : 2 * floor_n].flatten(0, 1)
                estimates[metric.key] = Estimate(
                    value=distance(metric, of_real[:n].flatten(0, 1), of_fake.flatten(0, 1)),
                    floor=distance(metric, a, b),
                    interval=None,
                    n_real=n,
                    n_fake=n,
                    floor_n=floor_n,
                    better=better(metric.key),
                    extractor=name,
                    sha256=extractor.sha256,
                )
        if extractor.num_features == 1:
            measured[name] = {"real": of_real[:n].mean().item(), "fake": of_fake.mean().item()}
    facts: dict[str, str | int] = {
        **asdict(protocol),
        "hash": fingerprint(asdict(protocol)),
        "real_set": real_set,
    }
    return Result(estimates, measured, facts, not_available)


def _extractors(
    chosen: Sequence[Metric],
    real: ClipSet,
    fake: ClipSet,
    workspace: Workspace,
    device: torch.device,
    networks: Mapping[str, Network],
) -> tuple[dict[str, Extractor], dict[str, str]]:
    extractors: dict[str, Extractor] = {}
    not_available: dict[str, str] = {}
    for metric in chosen:
        if metric.measure == "caption" and (real.captions is None or fake.captions is None):
            not_available[metric.key] = (
                "needs a label or caption of every clip; give the videos some, and train with condition: label or text"
            )
        elif metric.features not in extractors:
            try:
                extractors[metric.features] = load_extractor(metric.features, workspace, device, networks)
            except WeightsError as error:
                log.warning("%s: not available: %s", metric.key, error)
                network = networks[metric.features]
                not_available[metric.key] = f"needs {network.title}; {network.remedy}"
    return extractors, not_available


def _check_shape(clip: Tensor, protocol: Protocol, name: str) -> None:
    expected = (protocol.clip_frames, protocol.size, protocol.size, 3)
    if tuple(clip.shape) != expected or clip.dtype != torch.uint8:
        raise ArtefactError(f"{name} clips", expected=f"uint8 {expected}", got=f"{clip.dtype} {tuple(clip.shape)}")
