"""The gate between the manifest and everything that learns from it: what comes through, what does not and why.

A video that is rejected is listed with its reasons, and one that is only odd is flagged; nothing is dropped in silence.
Not here: what is expected (contract.py), who judges (expectations.py), measuring; what is judged is in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lvdm.data import near_duplicates
from lvdm.data.contract import DUPLICATE, LEAK, NEAR_DUPLICATE, SPLITS, Contract
from lvdm.data.difference import Difference, Version, difference
from lvdm.data.expectations import Gate, Judgement
from lvdm.data.manifest import write_manifest
from lvdm.errors import ValidationFailed
from lvdm.params import Clips, Validate
from lvdm.report import Check
from lvdm.workspace import Workspace, atomic_file

COUNTERPARTS = {NEAR_DUPLICATE: "seen_before", LEAK: "seen_in_train"}  # columns: the id of the other video


@dataclass(frozen=True)
class Validation:
    """What came through the gate, what did not and why."""

    accepted: pd.DataFrame  # rows of the manifest
    rejected: pd.DataFrame  # id, path, reason, detail
    flagged: pd.DataFrame  # id, path, flag, detail, other: of those accepted, a row a flag
    checks: tuple[Check, ...]
    difference: Difference | None  # from the accepted version, if there is one

    @property
    def failure(self) -> ValidationFailed | None:
        """The critical checks that failed, as one line; None if there are none."""
        failed = [check for check in self.checks if check.critical and not check.passed]
        if not failed:
            return None
        why = f", and why {len(self.rejected)} videos were rejected" if len(self.rejected) else ""
        remedy = f"artifacts/data_report/index.html shows it{why}"
        return ValidationFailed("; ".join(check.line for check in failed), remedy=remedy)


def validate_manifest(
    manifest: pd.DataFrame, validate: Validate, clips: Clips, workspace: Workspace, accepted: Version | None = None
) -> Validation:
    """Judges every video, then what is left as a whole, then its difference from the version that was accepted last.

    Writes `workspace.quarantine` and, only if no critical check failed, `workspace.validated`.
    """
    contract, gate = Contract(validate, clips), Gate()
    judged = gate.judge("videos", contract.of_videos(), _with_divisions(manifest))
    rejected = _rejected(manifest, judged)
    table = _with_counterparts(_without(manifest, rejected), validate)
    judged += gate.judge("looks", contract.of_looks(), table)
    manifest_and_looks = manifest.merge(table[["id", *COUNTERPARTS.values()]], "left", "id")
    rejected = _rejected(manifest_and_looks, judged)
    left = _without(manifest, rejected)
    in_train, in_test = (left["label"].where(left["split"] == split) for split in SPLITS)
    of_dataset = contract.of_dataset(len(manifest), sorted(in_train.dropna().unique()))
    labelled = validate.require_labels or left["label"].notna().any()
    required = left["label"] if labelled else left["label"].fillna("")
    judged += gate.judge("dataset", of_dataset, left.assign(test_label=in_test, required_label=required))
    judged += gate.judge("labels", contract.of_labels(), _label_table(in_train))
    changes = difference(accepted, Version.of_manifest(manifest), validate.max_drift) if accepted else None
    judged += gate.judge("distributions", contract.of_drift(), _drift_table(changes))
    flagged = _flagged(manifest_and_looks, judged, set(rejected["id"]))
    validation = Validation(left, rejected, flagged, tuple(judgement.check for judgement in judged), changes)
    with atomic_file(workspace.quarantine) as beside:
        rejected.to_csv(beside, index=False)
    if validation.failure is None:
        write_manifest(left, workspace.validated)
    else:
        workspace.validated.unlink(missing_ok=True)
    return validation


def _without(manifest: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    return manifest[~manifest["id"].isin(rejected["id"])].reset_index(drop=True)


def _with_divisions(manifest: pd.DataFrame) -> pd.DataFrame:
    """With the number of splits that each video, by its bytes, and each group is in."""
    known = manifest["split"].where(manifest["split"].isin(SPLITS))  # a row of another split is rejected, and no more
    return manifest.assign(
        splits=known.groupby(manifest["checksum"]).transform("nunique").astype("Int64"),
        group_splits=known.groupby(manifest["group"]).transform("nunique").astype("Int64"),
    )


def _with_counterparts(manifest: pd.DataFrame, validate: Validate) -> pd.DataFrame:
    """With the id of another that each video looks like: of its split and not of its group; of train if it is of test.

    What a black or a frozen video looks like says too little to accuse another.
    """
    before, in_train = (np.full(len(manifest), None, dtype=object) for _ in COUNTERPARTS)
    told = (manifest["brightness"] >= validate.min_brightness) & (manifest["motion"] >= validate.min_motion)
    (rows,) = np.nonzero((told & manifest["looks"].notna()).fillna(False).to_numpy(dtype=bool))
    if validate.near_duplicate_bits is not None and len(rows):
        ids, split = (manifest[column].to_numpy(dtype=object)[rows] for column in ("id", "split"))
        hashes = near_duplicates.hashes_of(manifest["looks"].iloc[rows])
        groups, _ = pd.factorize(manifest["group"].fillna("alone: " + manifest["id"]).to_numpy(dtype=object)[rows])
        for name in SPLITS:
            of_split = split == name
            found = near_duplicates.seen_before(hashes[of_split], groups[of_split], validate.near_duplicate_bits)
            before[rows[of_split]] = _named(ids[of_split], found)
        in_train[rows] = _named(ids, near_duplicates.seen_among(hashes, split == "train", validate.near_duplicate_bits))
    return manifest.assign(
        seen_before=pd.array(before, dtype="string"), seen_in_train=pd.array(in_train, dtype="string")
    )


def _named(ids: np.ndarray, found: np.ndarray) -> np.ndarray:
    nobody = np.array([None], dtype=object)
    return np.append(ids, nobody)[found]  # NOBODY is the last place


def _label_table(in_train: pd.Series) -> pd.DataFrame:
    counts = in_train.value_counts()
    most = counts.max() if len(counts) else 0
    return pd.DataFrame({"id": counts.index.astype(str), "ratio": [most / count for count in counts]})


def _drift_table(changes: Difference | None) -> pd.DataFrame:
    drifts = changes.drifts if changes else ()
    return pd.DataFrame(
        {"id": [drift.quantity for drift in drifts], "excess": [drift.statistic / drift.threshold for drift in drifts]}
    ).astype({"excess": "float64"})


def _rejected(manifest: pd.DataFrame, judged: Sequence[Judgement]) -> pd.DataFrame:
    """The rows that an expectation rejects. An undecodable row has its own reason alone; of equal files that nothing
    else rejects the one of which most is said is kept, or else the first."""
    rejecting = [judgement for judgement in judged if judgement.expectation.rejects]
    rows = _rows(manifest, rejecting)
    reasons: dict[str, dict[str, str]] = {}
    kept: dict[str, str] = {}
    for judgement in sorted(rejecting, key=lambda j: j.expectation.code == DUPLICATE):
        code, found = str(judgement.expectation.code), judgement.unexpected
        for video in sorted(found, key=lambda v: _unsaid(rows[v])) if code == DUPLICATE else found:
            row = rows[video]
            why = reasons.get(video, {})
            if not pd.isna(row["error"]):
                reasons[video] = {row["error"]: str(row["detail"])}
            elif code == DUPLICATE and not why and row["checksum"] not in kept:
                kept[row["checksum"]] = video
            elif code == DUPLICATE:
                same = "bytes" if pd.isna(row["straightened"]) else "frames"
                reasons[video] = why | {code: f"the same {same} as {kept.get(row['checksum'], 'others')}"}
            else:
                reasons[video] = why | {code: _detail(judgement, row)}
    listed = [
        {"id": v, "path": rows[v]["path"], "reason": "; ".join(why), "detail": "; ".join(why.values())}
        for v, why in ((v, reasons[v]) for v in manifest["id"] if v in reasons)
    ]
    return pd.DataFrame(listed, columns=["id", "path", "reason", "detail"])


def _unsaid(row: Mapping[str, object]) -> int:
    return sum(pd.isna(row[column]) for column in ("label", "caption", "group"))


def _flagged(manifest: pd.DataFrame, judged: Sequence[Judgement], rejected: set[str]) -> pd.DataFrame:
    """The rows, of those that are left, that an expectation which does not reject finds odd."""
    flagging = [judgement for judgement in judged if judgement.expectation.code and not judgement.expectation.rejects]
    rows, looks = _rows(manifest, flagging), manifest.set_index("id")["looks"]
    listed = []
    for judgement in flagging:
        code = str(judgement.expectation.code)
        for video in judgement.unexpected:
            if video not in rejected:
                row = rows[video]
                case = {"id": video, "path": row["path"], "flag": code, "detail": _detail(judgement, row), "other": ""}
                if code in COUNTERPARTS:
                    case["other"] = row[COUNTERPARTS[code]]
                    bits = (int(row["looks"], 16) ^ int(looks[case["other"]], 16)).bit_count()
                    case["detail"] += f": {bits} of 64 bits differ"
                listed.append(case)
    return pd.DataFrame(listed, columns=["id", "path", "flag", "detail", "other"])


def _rows(manifest: pd.DataFrame, judged: Sequence[Judgement]) -> Mapping[str, Mapping[str, Any]]:
    ids = {video for judgement in judged for video in judgement.unexpected}
    rows: Mapping[str, Mapping[str, Any]] = (
        manifest[manifest["id"].isin(ids)].set_index("id", drop=False).to_dict("index")
    )
    return rows


def _detail(judgement: Judgement, row: Mapping[str, Any]) -> str:
    """What was found and what expected, in words."""
    code, column = judgement.expectation.code, judgement.expectation.column
    if code in COUNTERPARTS:
        return f"looks like {row[COUNTERPARTS[str(code)]]}"
    if code in ("two-splits", "group-in-two-splits"):
        return f"{'its bytes are' if code == 'two-splits' else 'its group is'} in both splits"
    return f"{column} {row[column]}, expected {judgement.expectation.description}"
