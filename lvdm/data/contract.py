"""The data contract: what is expected of each video, of those that are left, their labels and distributions.

Each expectation is a class of Great Expectations with its arguments, as plain data. A video that fails one that rejects
goes to quarantine; one that is flagged, only if `validate.reject` names the flag. A critical one stops everything.
Not here: judging (expectations.py), and what is judged beside the columns of the manifest (validation.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lvdm.params import Clips, Validate
from lvdm.params.contract import Severity

SPLITS = ["train", "test"]
DUPLICATE, NEAR_DUPLICATE, LEAK = "duplicate", "near-duplicate", "leak"
BETWEEN, IN_SET, NULL = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet", "ExpectColumnValuesToBeNull"


@dataclass(frozen=True)
class Expectation:
    """One expectation, and what its failure means."""

    name: str
    kind: str  # a class of great_expectations.expectations
    arguments: dict[str, Any]
    description: str
    severity: Severity
    code: str | None = None  # why a row that fails it is listed; an undecodable row's reason is its own error
    rejects: bool = False  # or only flags

    @property
    def critical(self) -> bool:
        return self.severity == "critical"

    @property
    def column(self) -> str:
        return str(self.arguments["column"])


class Contract:
    """The expectations of one dataset, by what is judged. Those that are off are left out."""

    def __init__(self, validate: Validate, clips: Clips):
        self.validate, self.clips = validate, clips

    def all(self) -> list[Expectation]:
        """Every expectation, those of the whole with the numbers of no videos."""
        return [*self.of_videos(), *self.of_looks(), *self.of_dataset(0, []), *self.of_labels(), *self.of_drift()]

    def of_videos(self) -> list[Expectation]:
        """Of each row of the manifest by itself, and of what is divided between splits."""
        v, size = self.validate, "size-out-of-range"
        side = {"min_value": v.min_side, "max_value": v.max_side}
        sides = f"of {v.min_side} to {v.max_side} pixels"
        fps = {"column": "fps", "min_value": v.min_fps, "max_value": v.max_fps}
        frames, dark, still = self.clips.span, v.min_brightness, v.min_motion
        return self._on(
            self._row("decodable", NULL, "every video decodes", "undecodable", column="error"),
            self._row(
                "enough_frames", BETWEEN, f"at least {frames} frames", "too-short", column="frames", min_value=frames
            ),
            self._row(
                "fps_in_range", BETWEEN, f"{v.min_fps:g} to {v.max_fps:g} frames a second", "fps-out-of-range", **fps
            ),
            self._row("width_in_range", BETWEEN, f"a width {sides}", size, column="width", **side),
            self._row("height_in_range", BETWEEN, f"a height {sides}", size, column="height", **side),
            self._row(
                "known_split",
                IN_SET,
                f"a split of {' or '.join(SPLITS)}",
                "unknown-split",
                column="split",
                value_set=SPLITS,
            ),
            self._row(
                "unique",
                "ExpectColumnValuesToBeUnique",
                "no two files of equal bytes; the first is kept",
                DUPLICATE,
                column="checksum",
            ),
            self._flag(
                "not_black",
                BETWEEN,
                f"a mean luma of at least {dark:g} of 255",
                "black",
                column="brightness",
                min_value=dark,
            ),
            self._flag(
                "not_frozen",
                BETWEEN,
                f"a change of luma of at least {still:g} of 255",
                "frozen",
                column="motion",
                min_value=still,
            ),
            self._flag(
                "one_split_a_video", BETWEEN, "no video is in two splits", "two-splits", column="splits", max_value=1
            ),
            self._flag(
                "one_split_a_group",
                BETWEEN,
                "no group of videos is in two splits",
                "group-in-two-splits",
                column="group_splits",
                max_value=1,
            ),
            self._whole(
                "complete", "ExpectTableRowCountToEqual", f"{v.num_videos} videos in the source", value=v.num_videos
            )
            if v.num_videos
            else None,
        )

    def of_looks(self) -> list[Expectation]:
        """Of rows that are good by themselves, with what each looks like."""
        bits = self.validate.near_duplicate_bits
        if bits is None:
            return []
        alike = f"looks as another of its split does (at most {bits} of 64 bits differ) and is of no group with it"
        leak = f"looks as one of split train does (at most {bits} of 64 bits differ)"
        return self._on(
            self._flag("no_near_duplicates", NULL, f"no video {alike}", NEAR_DUPLICATE, column="seen_before"),
            self._flag("no_leaks", NULL, f"no video of split test {leak}", LEAK, column="seen_in_train"),
        )

    def of_dataset(self, num_videos: int, train_labels: list[str]) -> list[Expectation]:
        """Of the rows that are left of `num_videos`, as a whole."""
        v = self.validate
        needed = num_videos - math.floor(v.max_reject_fraction * num_videos + 1e-9)
        accepted = f"at least {needed} of {num_videos} videos accepted (max_reject_fraction {v.max_reject_fraction:g})"
        one_each = "at least one video to train on and one to test on"
        unlabelled = "every video has a label" if v.require_labels else "every video has a label, or none has"
        return self._on(
            self._whole("few_rejects", "ExpectTableRowCountToBeBetween", accepted, min_value=needed),
            self._whole(
                "both_splits", "ExpectColumnDistinctValuesToContainSet", one_each, column="split", value_set=SPLITS
            ),
            self._whole("labelled", "ExpectColumnValuesToNotBeNull", unlabelled, column="required_label"),
            self._whole(
                "test_labels_in_train",
                IN_SET,
                "every label of split test is also in split train",
                column="test_label",
                value_set=train_labels,
            ),
            self._whole(
                "all_labels",
                "ExpectColumnUniqueValueCountToBeBetween",
                f"{v.num_labels} labels",
                column="label",
                min_value=v.num_labels,
                max_value=v.num_labels,
            )
            if v.num_labels
            else None,
        )

    def of_labels(self) -> list[Expectation]:
        """Of each label of split train."""
        ratio = self.validate.max_label_ratio
        if ratio is None:
            return []
        rarest = f"no label has less than 1/{ratio:g} of the videos of the most frequent one, in split train"
        return self._on(self._whole("balanced_labels", BETWEEN, rarest, column="ratio", max_value=ratio))

    def of_drift(self) -> list[Expectation]:
        """Of each distribution, against that of the accepted version."""
        few = f"no distribution lies further from the accepted one than {self.validate.max_drift:g} and than chance"
        return self._on(self._whole("no_drift", BETWEEN, few, column="excess", max_value=1))

    def _row(self, name: str, kind: str, description: str, code: str, **arguments: Any) -> Expectation:
        return Expectation(name, kind, arguments, description, self.validate.severity(name), code, rejects=True)

    def _flag(self, name: str, kind: str, description: str, code: str, **arguments: Any) -> Expectation:
        rejects = code in self.validate.reject
        return Expectation(name, kind, arguments, description, self.validate.severity(name), code, rejects)

    def _whole(self, name: str, kind: str, description: str, **arguments: Any) -> Expectation:
        return Expectation(name, kind, arguments, description, self.validate.severity(name))

    @staticmethod
    def _on(*expectations: Expectation | None) -> list[Expectation]:
        return [e for e in expectations if e is not None and e.severity != "off"]
