"""What a dataset is held to: `validate`, its limits and how grave it is when an expectation is not met.

Not here: the expectations themselves; those are in lvdm/data/contract.py. This module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lvdm.section import Count, Fraction, Positive, Section, distinct


def _as_written(value: Any) -> Any:
    """A bare `off`, which YAML 1.1 reads as false."""
    return "off" if value is False else value


Severity = Annotated[Literal["off", "warning", "critical"], BeforeValidator(_as_written)]
Flag = Literal["black", "frozen", "near-duplicate"]

SEVERITIES: dict[str, Severity] = {  # by expectation, unless `validate.severities` says otherwise
    "decodable": "warning",
    "enough_frames": "warning",
    "fps_in_range": "warning",
    "width_in_range": "warning",
    "height_in_range": "warning",
    "known_split": "warning",
    "unique": "warning",
    "one_split_a_video": "critical",
    "one_split_a_group": "critical",
    "not_black": "warning",
    "not_frozen": "warning",
    "no_near_duplicates": "warning",
    "no_leaks": "critical",
    "few_rejects": "critical",
    "both_splits": "critical",
    "complete": "warning",
    "labelled": "warning",  # critical with require_labels
    "all_labels": "warning",
    "test_labels_in_train": "warning",
    "balanced_labels": "warning",
    "no_drift": "warning",
}
ALWAYS = ("decodable", "enough_frames", "known_split", "both_splits")  # without them later stages fail

Luma = Annotated[float, Field(ge=0, le=255)]


class Validate(Section):
    """The contract of one dataset. A null asks for nothing."""

    min_fps: Positive
    max_fps: Positive
    min_side: Count  # pixels
    max_side: Count
    max_reject_fraction: Fraction
    require_labels: bool
    num_videos: Count | None = None  # in the source, broken ones included
    num_labels: Count | None = None
    max_label_ratio: Annotated[float, Field(ge=1)] | None = 10.0  # most frequent to rarest label of split train
    min_brightness: Luma = 8.0  # a video of a lower mean is black
    min_motion: Luma = 0.5  # a video with less change between sampled frames is frozen
    near_duplicate_bits: Annotated[int, Field(ge=0, le=12)] | None = 6  # of 64: docs/data.md says what was measured
    max_drift: Annotated[float, Field(gt=0, le=1)] = 0.1  # of a distribution since the accepted version
    reject: Annotated[tuple[Flag, ...], AfterValidator(distinct)] = ()  # flags that put a video into quarantine
    severities: dict[str, Severity] = Field(default={})  # by expectation, where it is not to be the usual one

    @model_validator(mode="after")
    def _consistent(self) -> Validate:
        if self.min_fps > self.max_fps or self.min_side > self.max_side:
            raise ValueError("a minimum that is not above its maximum")
        for name, severity in self.severities.items():
            if name not in SEVERITIES:
                raise ValueError(f"severities of expectations, which are {', '.join(SEVERITIES)}")
            if severity == "off" and name in ALWAYS:
                raise ValueError(f"severities.{name} of warning or critical: what comes after cannot do without it")
        return self

    def severity(self, expectation: str) -> Severity:
        """How grave it is if the expectation is not met."""
        usual = "critical" if expectation == "labelled" and self.require_labels else SEVERITIES[expectation]
        return self.severities.get(expectation, usual)
