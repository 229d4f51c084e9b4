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
BETWEEN = "ExpectColumnValuesToBeBetween"
Expected = tuple[str, dict[str, Any]]  # a class of great_expectations.expectations, and its arguments


@dataclass(frozen=True)
class Expectation:
    """One expectation, and what its failure means."""

    name: str
    kind: str
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
        v, span, size = self.validate, self.clips.span, "size-out-of-range"
        rates, sides = f"{v.min_fps:g} to {v.max_fps:g} frames a second", f"of {v.min_side} to {v.max_side} pixels"
        dark, still = (f"of at least {least:g} of 255" for least in (v.min_brightness, v.min_motion))
        two_groups, copies = "no group of videos is in two splits", "no two files of equal bytes; one is kept"
        return self._on(
            self._row("decodable", _none("error"), "every video decodes", "undecodable"),
            self._row("enough_frames", _within("frames", span), f"at least {span} frames", "too-short"),
            self._row("fps_in_range", _within("fps", v.min_fps, v.max_fps), rates, "fps-out-of-range"),
            self._row("width_in_range", _within("width", v.min_side, v.max_side), f"a width {sides}", size),
            self._row("height_in_range", _within("height", v.min_side, v.max_side), f"a height {sides}", size),
            self._row("known_split", _one_of("split", SPLITS), f"a split of {' or '.join(SPLITS)}", "unknown-split"),
            self._row("unique", ("ExpectColumnValuesToBeUnique", {"column": "checksum"}), copies, DUPLICATE),
            self._flag("not_black", _within("brightness", v.min_brightness), f"a mean luma {dark}", "black"),
            self._flag("not_frozen", _within("motion", v.min_motion), f"a change of luma {still}", "frozen"),
            self._flag("one_split_a_video", _within("splits", most=1), "no video is in two splits", "two-splits"),
            self._flag("one_split_a_group", _within("group_splits", most=1), two_groups, "group-in-two-splits"),
            self._whole(
                "complete",
                ("ExpectTableRowCountToEqual", {"value": v.num_videos}),
                f"{v.num_videos} videos in the source",
            )
            if v.num_videos
            else None,
        )

    def of_looks(self) -> list[Expectation]:
        """Of rows that are good by themselves, with what each looks like."""
        bits = self.validate.near_duplicate_bits
        if bits is None:
            return []
        alike = f"looks like another of its split (at most {bits} of 64 bits differ) and is of no group with it"
        leak = f"looks like one of split train (at most {bits} of 64 bits differ)"
        return self._on(
            self._flag("no_near_duplicates", _none("seen_before"), f"no video {alike}", NEAR_DUPLICATE),
            self._flag("no_leaks", _none("seen_in_train"), f"no video of split test {leak}", LEAK),
        )

    def of_dataset(self, num_videos: int, train_labels: list[str]) -> list[Expectation]:
        """Of the rows that are left of `num_videos`, as a whole."""
        v = self.validate
        needed = num_videos - math.floor(v.max_reject_fraction * num_videos + 1e-9)
        accepted = f"at least {needed} of {num_videos} videos accepted (max_reject_fraction {v.max_reject_fraction:g})"
        one_each = "at least one video to train on and one to test on"
        unlabelled = "every video has a label" if v.require_labels else "every video has a label, or none has"
        both = ("ExpectColumnDistinctValuesToContainSet", {"column": "split", "value_set": SPLITS})
        known = "every label of split test is also in split train"
        return self._on(
            self._whole("few_rejects", ("ExpectTableRowCountToBeBetween", {"min_value": needed}), accepted),
            self._whole("both_splits", both, one_each),
            self._whole("labelled", ("ExpectColumnValuesToNotBeNull", {"column": "required_label"}), unlabelled),
            self._whole("test_labels_in_train", _one_of("test_label", train_labels), known),
            self._whole(
                "all_labels",
                _within("label", v.num_labels, v.num_labels, "ExpectColumnUniqueValueCountToBeBetween"),
                f"{v.num_labels} labels",
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
        return self._on(self._whole("balanced_labels", _within("ratio", most=ratio), rarest))

    def of_drift(self) -> list[Expectation]:
        """Of each distribution, against that of the accepted version."""
        few = f"no distribution lies further from the accepted one than {self.validate.max_drift:g} and than chance"
        return self._on(self._whole("no_drift", _within("excess", most=1), few))

    def _row(self, name: str, expected: Expected, description: str, code: str) -> Expectation:
        return Expectation(name, *expected, description, self.validate.severity(name), code, rejects=True)

    def _flag(self, name: str, expected: Expected, description: str, code: str) -> Expectation:
        rejects = code in self.validate.reject
        return Expectation(name, *expected, description, self.validate.severity(name), code, rejects)

    def _whole(self, name: str, expected: Expected, description: str) -> Expectation:
        return Expectation(name, *expected, description, self.validate.severity(name))

    @staticmethod
    def _on(*expectations: Expectation | None) -> list[Expectation]:
        return [e for e in expectations if e is not None and e.severity != "off"]


def _none(column: str) -> Expected:
    return "ExpectColumnValuesToBeNull", {"column": column}


def _one_of(column: str, values: list[str]) -> Expected:
    return "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values}


def _within(
    column: str, least: int | float | None = None, most: int | float | None = None, kind: str = BETWEEN
) -> Expected:
    bounds = {"min_value": least, "max_value": most}
    return kind, {"column": column} | {side: bound for side, bound in bounds.items() if bound is not None}
