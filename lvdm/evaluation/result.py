"""metrics/<experiment>.json: the numbers of an experiment, with all that one must know to believe and compare them.

    metrics        metric: value                                       what `dvc metrics diff` shows
    floor          metric: the same between two disjoint sets of real clips
    estimates      metric: what else there is of `Estimate`
    protocol       how all was measured: name and hash (of all that the protocol fixes), what it fixes, real_set (hash
                   of which frames of which files are the real clips); seeds are `seed` (which real clips) here and in
                   `made_with`
    made_with      of the samples: sampler, steps, guidance, seed, averaging of weights ..., networks and their hashes
    measured       quantity: its value on real and on fake clips, no distance
    drift          curve: numbers of long videos, see drift.py
    memorisation   extractor: how near samples lie to training clips, and held-out clips to these
    not_available  metric: why there is no number, and what to do about it

What a run cost (wall and GPU time) is in its report, as of every stage: here are no clocks, so equal work gives equal
bytes. Not here: computing any of this (protocol.py, drift.py). Imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lvdm.errors import ArtefactError
from lvdm.evaluation.metrics import METRICS
from lvdm.workspace import need, write_json

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """One number, and what is beside it.

    Raises:
        ValueError: it, its floor or its interval is infinite or not a number, so that nothing could be ranked by it.
    """

    value: float
    floor: float  # the value between two disjoint sets of real clips, `floor_n` each; of a caption metric: on real ones
    interval: Interval | None  # 95 %, over the fake clips or long videos; None: too few to tell
    n_real: int  # clips, or long videos
    n_fake: int
    floor_n: int
    better: Literal["lower", "higher"]
    extractor: str  # its name in lvdm/models/pretrained.py, or what is computed without a network
    sha256: str  # of the extractor's file; "none" without
    by_split: Mapping[str, float] = field(default_factory=dict)  # against as many real clips of "train" and of "test"

    def __post_init__(self) -> None:
        for number in (self.value, self.floor, *(self.interval or ())):
            if not math.isfinite(number):
                raise ValueError(f"{number} on {self.extractor} is no number")

    @property
    def comparable(self) -> tuple[str, str, int, int]:
        """Of two estimates of a metric, under equal protocols and real sets, those are comparable that share this."""
        return (self.extractor, self.sha256, self.n_real, self.n_fake)


@dataclass(frozen=True)
class Result:
    """What DVC shows as metrics; the fields are those of the file, see above."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    estimates: Mapping[str, Estimate]
    measured: Mapping[str, Mapping[str, float]]
    protocol: Mapping[str, str | int]
    not_available: Mapping[str, str]
    drift: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    made_with: Mapping[str, Any] = field(default_factory=dict)
    memorisation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        return {key: estimate.value for key, estimate in self.estimates.items()}

    @property
    def floor(self) -> dict[str, float]:
        return {key: estimate.floor for key, estimate in self.estimates.items()}

    def write(self, path: Path) -> None:
        document = asdict(self)
        for name, values in (("value", "metrics"), ("floor", "floor")):
            document[values] = {key: estimate.pop(name) for key, estimate in document["estimates"].items()}
        write_json(path, document)

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result at `path`.

        Raises:
            ArtefactError: no such file, or it is no result.
        """
        return cls.parse(need(path, f"evaluate {path.stem}").read_text(errors="replace"), path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Result:
        """The result that the file at `path` says, which holds `text`.

        Raises:
            ArtefactError: it is no result.
        """
        try:
            document = json.loads(text)
            values, floor = document.pop("metrics"), document.pop("floor")
            beside = document.pop("estimates")
            estimates = {key: {**beside[key], "value": values[key], "floor": floor[key]} for key in values}
            if not estimates.keys() & METRICS.keys():
                raise ValueError("none of its metrics is known")
            return TypeAdapter(cls).validate_python({**document, "estimates": estimates})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = _first(error) if isinstance(error, ValidationError) else error
            remedy = f"run `lvdm evaluate {path.stem}` again"
            raise ArtefactError(f"{path}: not a result of `lvdm evaluate`: {why}", remedy=remedy) from None


def better(key: str) -> Literal["lower", "higher"]:
    """Which way a metric is better."""
    return "lower" if METRICS[key].lower_is_better else "higher"


def _first(error: ValidationError) -> str:
    """The first thing wrong: where, and what."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
