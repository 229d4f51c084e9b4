"""The gate between the manifest and everything that learns from it, judged by Great Expectations.

The only importer of great_expectations, inside functions, as the import takes seconds. A row that fails an expectation
is rejected and listed with its reasons, which is a warning in itself; what stops the pipeline is a critical expectation
of the whole. Not here: measuring; what is judged is in the manifest.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lvdm.data.manifest import write_manifest
from lvdm.errors import ValidationFailed
from lvdm.params import Clips, Validate
from lvdm.workspace import Check, Workspace, atomic_file, atomic_folder

SPLITS = ["train", "test"]
DUPLICATE = "duplicate"
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Expectation:
    """One expectation: a class of Great Expectations with its arguments, and what its failure means."""

    name: str
    kind: str
    arguments: dict[str, Any]
    description: str
    rejects: str | None = None  # the reason code of the rows that it rejects; an undecodable row's is its own error
    critical: bool = False


@dataclass(frozen=True)
class Validation:
    """What came through the gate, what did not and why."""

    accepted: pd.DataFrame  # rows of the manifest
    rejected: pd.DataFrame  # id, path, reason, detail
    checks: tuple[Check, ...]

    @property
    def failure(self) -> ValidationFailed | None:
        """The critical checks that failed, as one line; None if there are none."""
        failed = [check for check in self.checks if check.critical and not check.passed]
        if not failed:
            return None
        return ValidationFailed(
            "; ".join(f"{check.name}: {check.description}" for check in failed),
            remedy=f"quarantine.csv lists the {len(self.rejected)} rejected, with reasons",
        )


def validate_manifest(manifest: pd.DataFrame, validate: Validate, clips: Clips, workspace: Workspace) -> Validation:
    """Judges every row, then what is left as a whole.

    Writes `workspace.quarantine`, `workspace.data_docs` and, only if no critical check failed, `workspace.validated`.
    """
    of_rows = _of_rows(validate, clips)
    gate = _Gate()
    known = manifest["split"].where(manifest["split"].isin(SPLITS))  # a row of another split is rejected, and no more
    judged = manifest.assign(
        splits=known.groupby(manifest["checksum"]).transform("nunique").astype("Int64"),
        group_splits=known.groupby(manifest["group"]).transform("nunique").astype("Int64"),
    )
    row_checks, unexpected = gate.judge("videos", of_rows, judged)
    rejected = _rejected(manifest, of_rows, unexpected)
    accepted = manifest[~manifest["id"].isin(rejected["id"])].reset_index(drop=True)
    in_test = accepted["label"].where(accepted["split"] == "test")
    of_set = _of_set(validate, len(manifest), accepted)
    set_checks, _ = gate.judge("dataset", of_set, accepted.assign(test_label=in_test))
    validation = Validation(accepted, rejected, (*row_checks, *set_checks))
    gate.write_docs(workspace.data_docs)
    with atomic_file(workspace.quarantine) as beside:
        rejected.to_csv(beside, index=False)
    if validation.failure is None:
        write_manifest(accepted, workspace.validated)
    else:
        workspace.validated.unlink(missing_ok=True)
    return validation


def all_expectations(validate: Validate, clips: Clips) -> list[Expectation]:
    """Every expectation that a manifest is held against; the numbers that depend on one are those of an empty one."""
    return [*_of_rows(validate, clips), *_of_set(validate, 0, pd.DataFrame({"label": [], "split": []}))]


def _of_rows(validate: Validate, clips: Clips) -> list[Expectation]:
    frames, side = clips.span, {"min_value": validate.min_side, "max_value": validate.max_side}
    between, fps = "ExpectColumnValuesToBeBetween", {"min_value": validate.min_fps, "max_value": validate.max_fps}
    side_range, size = f"of {validate.min_side} to {validate.max_side} pixels", "size_out_of_range"
    return [
        Expectation(
            "decodable", "ExpectColumnValuesToBeNull", {"column": "error"}, "every video decodes", "undecodable"
        ),
        Expectation(
            "enough_frames",
            between,
            {"column": "frames", "min_value": frames},
            f"at least {frames} frames",
            "too_short",
        ),
        Expectation(
            "fps_in_range",
            between,
            {"column": "fps", **fps},
            f"{validate.min_fps:g} to {validate.max_fps:g} frames a second",
            "fps_out_of_range",
        ),
        Expectation("width_in_range", between, {"column": "width", **side}, f"a width {side_range}", size),
        Expectation("height_in_range", between, {"column": "height", **side}, f"a height {side_range}", size),
        Expectation(
            "known_split",
            "ExpectColumnValuesToBeInSet",
            {"column": "split", "value_set": SPLITS},
            f"a split of {' or '.join(SPLITS)}",
            "unknown_split",
        ),
        Expectation(
            "unique",
            "ExpectColumnValuesToBeUnique",
            {"column": "checksum"},
            "no two files of equal bytes; the first is kept",
            DUPLICATE,
        ),
        Expectation(
            "one_split_a_video",
            between,
            {"column": "splits", "max_value": 1},
            "no video is in two splits",
            critical=True,
        ),
        Expectation(
            "one_split_a_group",
            between,
            {"column": "group_splits", "max_value": 1},
            "no group of videos is in two splits",
            critical=True,
        ),
    ]


def _of_set(validate: Validate, videos: int, accepted: pd.DataFrame) -> list[Expectation]:
    fraction = validate.max_reject_fraction
    needed = videos - math.floor(fraction * videos + 1e-9)
    train_labels = sorted(accepted["label"][accepted["split"] == "train"].dropna().unique())
    return [
        Expectation(
            "few_rejects",
            "ExpectTableRowCountToBeBetween",
            {"min_value": needed},
            f"at least {needed} of {videos} videos accepted (max_reject_fraction {fraction:g})",
            critical=True,
        ),
        Expectation(
            "both_splits",
            "ExpectColumnDistinctValuesToContainSet",
            {"column": "split", "value_set": SPLITS},
            "at least one video to train on and one to test on",
            critical=True,
        ),
        Expectation(
            "labelled",
            "ExpectColumnValuesToNotBeNull",
            {"column": "label"},
            "every video has a label",
            critical=validate.require_labels,
        ),
        Expectation(
            "test_labels_in_train",
            "ExpectColumnValuesToBeInSet",
            {"column": "test_label", "value_set": train_labels},
            "every label of split test is also in split train",
        ),
    ]


def _rejected(
    manifest: pd.DataFrame, expectations: list[Expectation], unexpected: dict[str, list[str]]
) -> pd.DataFrame:
    """The rows that an expectation rejects. An undecodable row has its own reason alone; of equal files the first that
    nothing else rejects is kept."""
    by_id = manifest.set_index("id")
    reasons: dict[str, dict[str, str]] = defaultdict(dict)
    kept: dict[str, str] = {}
    for expectation in sorted((e for e in expectations if e.rejects), key=lambda e: e.rejects == DUPLICATE):
        for video in unexpected[expectation.name]:
            row, reason, column = by_id.loc[video], str(expectation.rejects), expectation.arguments["column"]
            if not pd.isna(row["error"]):
                reasons[video] = {row["error"]: str(row["detail"])}
            elif reason != DUPLICATE:
                reasons[video][reason] = f"{column} {row[column]}, expected {expectation.description}"
            elif video in reasons or row["checksum"] in kept:
                reasons[video][reason] = f"the same bytes as {kept.get(row['checksum'], 'others')}"
            else:
                kept[row["checksum"]] = video
    listed = [
        {"id": v, "path": by_id.at[v, "path"], "reason": "; ".join(why), "detail": "; ".join(why.values())}
        for v, why in ((v, reasons[v]) for v in manifest["id"] if v in reasons)
    ]
    return pd.DataFrame(listed, columns=["id", "path", "reason", "detail"])


class _Gate:
    """Great Expectations in memory: no project folder, no telemetry, no progress bars."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own imports
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig
        self.gx = gx
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self.tables = self.context.data_sources.add_pandas("manifest")

    def judge(
        self, name: str, expectations: list[Expectation], table: pd.DataFrame
    ) -> tuple[list[Check], dict[str, list[str]]]:
        """The checks, and for each the ids of the rows that it finds unexpected."""
        suite = self.context.suites.add(
            self.gx.ExpectationSuite(name=name, expectations=[*map(self._made, expectations)])
        )
        batch = self.tables.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        definition = self.gx.ValidationDefinition(name=name, data=batch, suite=suite)
        complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
        run = self.context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": table}, result_format=complete
        )
        results = {config.meta["check"]: result for result in run.results if (config := result.expectation_config)}
        checks, unexpected = [], {}
        for expectation in expectations:
            result = results[expectation.name]
            if (result.exception_info or {}).get("exception_message"):
                raise AssertionError(f"{expectation.name}: {result.exception_info['exception_message']}")
            ids = [str(row["id"]) for row in result.result.get("unexpected_index_list") or []]
            unexpected[expectation.name] = ids
            checks.append(
                Check(
                    name=expectation.name,
                    passed=bool(result.success),
                    critical=expectation.critical,
                    description=expectation.description,
                    unexpected=len(ids),
                    examples=tuple(ids[:MAX_EXAMPLES]),
                )
            )
        return checks, unexpected

    def write_docs(self, folder: Path) -> None:
        """Renders all that was judged as Data Docs."""
        with atomic_folder(folder) as beside:
            self.context.add_data_docs_site(
                "manifest",
                {
                    "class_name": "SiteBuilder",
                    "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                    "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(beside)},
                },
            )
            self.context.build_data_docs(site_names=["manifest"])

    def _made(self, expectation: Expectation) -> Any:
        kind = getattr(self.gx.expectations, expectation.kind)
        severity = "critical" if expectation.critical else "warning"
        meta = {"check": expectation.name, "notes": expectation.description}
        return kind(**expectation.arguments, severity=severity, meta=meta)
