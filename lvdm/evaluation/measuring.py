"""Every number of short clips: which sets are held against each other, and what stands beside the number.

Not here: reading clips (sets.py), what a protocol is (protocol.py), the mathematics of a distance (distances.py), long
video (drift.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lvdm.errors import ArtefactError, WeightsError
from lvdm.evaluation.distances import Features, distance
from lvdm.evaluation.extraction import ClipSet, extract, extract_all
from lvdm.evaluation.features import Extractor, load_extractor
from lvdm.evaluation.interval import groups_of, interval
from lvdm.evaluation.memorisation import nearest_training_clips
from lvdm.evaluation.metrics import ALWAYS, METRICS, Metric
from lvdm.evaluation.protocol import Protocol, Split
from lvdm.evaluation.result import Estimate, Result, better
from lvdm.evaluation.sets import fewest_real
from lvdm.models.pretrained import NETWORKS, Network
from lvdm.workspace import Workspace

log = logging.getLogger(__name__)

CPU = torch.device("cpu")  # from where networks go to the devices that extract
LEAST = {"frechet": 0.0, "mean_gap": 0.0}  # values there can be; others may be below 0


def evaluate(
    reals: Mapping[Split, ClipSet],
    fake: ClipSet,
    protocol: Protocol,
    metrics: Sequence[str],
    workspace: Workspace,
    networks: Mapping[str, Network] = NETWORKS,
) -> Result:
    """Every metric of `metrics` between the first `protocol.num_clips` of both sides, with all that is beside it.

    `reals` are the real clips by split. Those of the protocol's split that are beyond what is measured make the other
    side of the floor; where there are fewer than twice as many, the floor is between the two halves of what there is,
    and `floor_n` says so. Another split gives values of its own if it has as many clips. Metrics that cannot run are
    named with the remedy.

    Raises:
        ArtefactError: too few clips, or a clip of another shape than the protocol's.
    """
    n, real = protocol.num_clips, reals[protocol.split]
    _check_enough(real, fake, protocol)
    chosen = [METRICS[key] for key in dict.fromkeys((*metrics, *ALWAYS)) if METRICS[key].measure != "identity"]
    extractors, not_available = _extractors(chosen, real, fake, workspace, networks)
    result = Result({}, {}, {**protocol.facts(), "real_set": real.hash}, not_available)
    seen = {name: _seen(extractor, reals, protocol) for name, extractor in extractors.items()}
    extract_all(((e, clips) for name, e in extractors.items() for clips in (fake, *seen[name].values())), workspace)
    for name, extractor in extractors.items():
        of_fake = extract(extractor, fake, workspace)[:n]
        of_reals = {split: extract(extractor, clips, workspace) for split, clips in seen[name].items()}
        of_real = of_reals[protocol.split]
        ran = [metric for metric in chosen if metric.features == name and metric.key not in not_available]
        estimates = {metric.key: _estimate(metric, of_reals, of_fake, protocol, extractor) for metric in ran}
        measured, memorised = {}, {}
        if extractor.num_features == 1:
            measured[name] = {"real": of_real[:n].double().mean().item(), "fake": of_fake.double().mean().item()}
            if extractor.needs_captions:
                measured["clipsim_x100"] = {side: 100 * value for side, value in measured[name].items()}  # as some say
        elif "train" in of_reals and "test" in of_reals and of_fake.shape[1] == 1:
            memorised[name] = nearest_training_clips(of_fake, of_reals["test"][:n], of_reals["train"])
        result = replace(
            result,
            estimates={**result.estimates, **estimates},
            measured={**result.measured, **measured},
            memorisation={**result.memorisation, **memorised},
        )
    return result


def _seen(extractor: Extractor, reals: Mapping[Split, ClipSet], protocol: Protocol) -> dict[Split, ClipSet]:
    """The real clips that a network looks at: how well captions fit is of interest for the protocol's split alone."""
    wanted = (protocol.split,) if extractor.needs_captions else reals
    return {split: reals[split] for split in wanted if len(reals[split])}


def _estimate(
    metric: Metric, of_reals: Mapping[Split, Features], of_fake: Features, protocol: Protocol, extractor: Extractor
) -> Estimate:
    n, of_real = protocol.num_clips, of_reals[protocol.split]
    floor_n = n if len(of_real) >= 2 * n else len(of_real) // 2
    first, second = of_real[:floor_n], of_real[floor_n : 2 * floor_n]
    if metric.measure == "caption":  # no distance: what the real clips of the comparison have themselves
        floor_n, second = n, of_real[:n]
    groups = groups_of(n)
    found = distance(metric, of_real[:n], of_fake, groups, protocol.covariance)
    floor = distance(metric, first, second, covariance=protocol.covariance)
    others: dict[str, float] = {
        split: distance(metric, features[:n], of_fake, covariance=protocol.covariance).value
        for split, features in of_reals.items()
        if split != protocol.split and len(features) >= n and metric.measure != "caption"
    }
    return Estimate(
        value=found.value,
        floor=floor.value,
        interval=interval(found.value, found.without, LEAST.get(metric.measure, -math.inf)),
        n_real=n,
        n_fake=n,
        floor_n=floor_n,
        better=better(metric.key),
        extractor=extractor.name,
        sha256=extractor.sha256,
        by_split={protocol.split: found.value, **others},
    )


def _extractors(
    chosen: Sequence[Metric],
    real: ClipSet,
    fake: ClipSet,
    workspace: Workspace,
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
                extractors[metric.features] = load_extractor(metric.features, workspace, CPU, networks)
            except WeightsError as error:
                log.warning("%s: not available: %s", metric.key, error)
                network = networks[metric.features]
                not_available[metric.key] = f"needs {network.title}; {network.remedy}"
    return extractors, not_available


def _check_enough(real: ClipSet, fake: ClipSet, protocol: Protocol) -> None:
    n = protocol.num_clips
    sides = (("real", real, fewest_real(protocol), protocol.for_fewer), ("fake", fake, n, "raise sample.num_clips"))
    for name, clips, fewest, remedy in sides:
        if len(clips) < fewest:
            raise ArtefactError(
                f"{name} clips",
                expected=f"at least {fewest}, which protocol {protocol.name} measures",
                got=len(clips),
                remedy=remedy,
            )
        _check_shape(clips.clips[0], protocol, name)


def _check_shape(clip: Tensor, protocol: Protocol, name: str) -> None:
    expected = (protocol.clip_frames, protocol.size, protocol.size, 3)
    if tuple(clip.shape) != expected or clip.dtype != torch.uint8:
        got = f"{clip.dtype} {tuple(clip.shape)}".removeprefix("torch.")
        remedy = "where clips of params.yaml changed, make what came before anew: `dvc repro`"
        raise ArtefactError(f"{name} clips", expected=f"uint8 {expected}", got=got, remedy=remedy)
