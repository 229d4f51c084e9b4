"""The section `evaluate` of params.yaml: by which protocol, and what of it is chosen.

Not here: the protocols (lvdm/evaluation/protocol.py). This module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.protocol import FEWEST, OPEN, PROTOCOLS, Split
from lvdm.params.sections import Seed
from lvdm.section import Positive, Section


def _known_metric(key: str) -> str:
    if key not in METRICS:
        raise ValueError(f"one of {', '.join(METRICS)}")
    return key


class Evaluate(Section):
    protocol: Literal["small", "stylegan-v", "lvdm", "10k", "lvdm-long"]
    metrics: Annotated[tuple[Annotated[str, AfterValidator(_known_metric)], ...], Field(min_length=1)]
    # The next three are given only where the protocol leaves them open.
    num_clips: Annotated[int, Field(ge=FEWEST)] | None = None  # on both sides
    split: Split | None = None  # of the real clips
    seed: Seed | None = None  # of the choice of real clips
    max_drift: Positive  # of the relative distance, beyond that of real video: more fails the gate

    @property
    def given(self) -> dict[str, Any]:
        """What is chosen of that which the protocol leaves open."""
        asked = {name: getattr(self, name) for name in ("num_clips", "split", "seed")}
        return {name: value for name, value in asked.items() if value is not None}

    @model_validator(mode="after")
    def _only_what_is_open(self) -> Evaluate:
        for name in self.given:
            if name not in OPEN[self.protocol]:
                fixed = getattr(PROTOCOLS[self.protocol], name)
                raise ValueError(f"no line {name}: protocol {self.protocol} fixes it at {fixed}")
        return self
