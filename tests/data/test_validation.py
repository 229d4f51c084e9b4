from __future__ import annotations

import pandas as pd
import pytest

from lvdm.data.difference import Version
from lvdm.data.manifest import DTYPES, SCHEMA, read_manifest, write_manifest
from lvdm.data.validation import Validation, validate_manifest
from lvdm.errors import ValidationFailed
from lvdm.params import Clips, Validate
from lvdm.workspace import Workspace

LIMITS = {"min_fps": 1, "max_fps": 60, "min_side": 32, "max_side": 1000, "max_reject_fraction": 0.5}
UNALIKE = [f"{255 << 8 * i:016x}" for i in range(8)]  # 16 bits between any two
CLIPS = Clips(frames=8, size=64, stride=2)


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


def manifest(**changes: list[object]) -> pd.DataFrame:
    """Six good rows, four to train on, with whole columns changed."""
    num = 6
    columns = {
        "id": [f"{i}.mp4" for i in range(num)],
        "path": [f"raw/{i}.mp4" for i in range(num)],
        "frames": [16] * num,
        "fps": [8.0] * num,
        "width": [64] * num,
        "height": [48] * num,
        "codec": ["h264"] * num,
        "duration": [2.0] * num,
        "brightness": [100.0] * num,
        "motion": [10.0] * num,
        "looks": UNALIKE[:num],
        "label": ["a", "b", "a", "b", "a", "b"],
        "caption": [None] * num,
        "split": ["train"] * 4 + ["test"] * 2,
        "group": [None] * 6,
        "checksum": [f"{i}" * 64 for i in range(num)],
        "source_checksum": [f"{i}" * 64 for i in range(num)],
        "straightened": [None] * num,
        "error": [None] * num,
        "detail": [None] * num,
    }
    return pd.DataFrame(columns | changes).astype({field.name: DTYPES[field.type] for field in SCHEMA})


def judged(workspace: Workspace, table: pd.DataFrame, **limits: object) -> Validation:
    return validate_manifest(
        table, Validate(**(LIMITS | {"require_labels": False, "max_drift": 0.1} | limits)), CLIPS, workspace
    )


def failed(validation: Validation) -> set[str]:
    return {check.name for check in validation.checks if not check.passed}


def reasons(validation: Validation) -> dict[str, str]:
    return dict(zip(validation.rejected["id"], validation.rejected["reason"], strict=True))


def test_a_good_manifest_passes_whole(workspace):
    validation = judged(workspace, manifest())
    assert failed(validation) == set()
    assert validation.failure is None
    pd.testing.assert_frame_equal(read_manifest(workspace.validated), manifest())
    assert len(pd.read_csv(workspace.quarantine)) == 0


def test_each_bad_row_is_rejected_with_its_reason_and_the_rest_goes_on(workspace):
    table = manifest(
        frames=[14, 15, None, 16, 16, 16],
        fps=[8.0, 0.5, None, 8.0, 8.0, 8.0],
        width=[8, 64, None, 64, 64, 64],
        error=[None, None, "truncated", None, None, None],
        detail=[None, None, "10 of 20 bytes", None, None, None],
        checksum=["x", "y", "z", "z", "v", "w"],
        label=["a"] * 6,
    )
    validation = judged(workspace, table)
    assert reasons(validation) == {
        "0.mp4": "too-short; size-out-of-range",
        "1.mp4": "fps-out-of-range",
        "2.mp4": "truncated",
    }
    assert failed(validation) == {"decodable", "enough_frames", "fps_in_range", "width_in_range", "unique"}
    assert validation.failure is None
    assert list(read_manifest(workspace.validated)["id"]) == ["3.mp4", "4.mp4", "5.mp4"]
    quarantine = pd.read_csv(workspace.quarantine).set_index("id")
    assert quarantine.at["2.mp4", "detail"] == "10 of 20 bytes"
    assert "frames 14" in quarantine.at["0.mp4", "detail"]
    assert {check.name: check.examples for check in validation.checks}["enough_frames"] == ("0.mp4",)


def test_of_equal_files_the_first_good_one_is_kept(workspace):
    validation = judged(workspace, manifest(checksum=["x", "x", "x", "y", "z", "w"], frames=[3, 16, 16, 16, 16, 16]))
    assert reasons(validation) == {"0.mp4": "too-short; duplicate", "2.mp4": "duplicate"}
    assert "1.mp4" in validation.rejected.set_index("id").at["2.mp4", "detail"]


def test_of_equal_files_the_one_of_which_a_table_says_most_is_kept(workspace):
    label = [None, "cat", "cat", "cat", "cat", "cat"]
    validation = judged(workspace, manifest(checksum=["x", "x", "y", "z", "v", "w"], label=label))
    assert reasons(validation) == {"0.mp4": "duplicate"}


def test_a_split_that_is_none_rejects_the_row(workspace):
    split = ["train", "valid", "train", "train", "test", "test"]
    assert reasons(judged(workspace, manifest(split=split))) == {"1.mp4": "unknown-split"}


def test_a_video_in_two_splits_stops_everything_and_takes_back_what_was_accepted_before(workspace):
    write_manifest(manifest(), workspace.validated)
    validation = judged(workspace, manifest(checksum=["x", "a", "b", "c", "d", "x"]))
    assert failed(validation) == {"unique", "one_split_a_video"}
    assert isinstance(validation.failure, ValidationFailed)
    assert not workspace.validated.exists()
    assert workspace.quarantine.exists()


@pytest.mark.parametrize(("fraction", "stops"), [(0.5, False), (0.49, True)])
def test_more_rejects_than_allowed_stop(workspace, fraction, stops):
    frames = [3, 16, 3, 16, 3, 16]
    validation = judged(workspace, manifest(frames=frames), max_reject_fraction=fraction)
    assert ("few_rejects" in failed(validation)) == stops
    assert (validation.failure is not None) == stops


def test_one_split_left_empty_by_rejects_stops(workspace):
    validation = judged(workspace, manifest(frames=[16, 16, 16, 16, 3, 3]))
    assert "both_splits" in failed(validation)
    assert "\n" not in str(validation.failure)


def test_missing_labels_stop_only_where_labels_are_required(workspace):
    table = manifest(label=[None, "b", "a", "b", "a", "b"])
    lenient, strict = judged(workspace, table), judged(workspace, table, require_labels=True)
    assert failed(lenient) == failed(strict) == {"labelled"}
    assert lenient.failure is None
    assert "labelled" in str(strict.failure)


def test_a_label_that_training_never_sees_is_a_warning(workspace):
    validation = judged(workspace, manifest(label=["a", "a", "a", "a", "a", "b"]))
    assert failed(validation) == {"test_labels_in_train"}
    assert validation.failure is None


def test_an_empty_manifest_stops(workspace):
    assert judged(workspace, manifest()[:0]).failure is not None


def test_videos_without_any_label_pass(workspace):
    assert judged(workspace, manifest(label=[None] * 6)).failure is None


def flags(validation: Validation) -> dict[str, str]:
    return dict(zip(validation.flagged["id"], validation.flagged["flag"], strict=True))


ODD = {"brightness": [0.0, 100.0, 100.0, 100.0, 100.0, 100.0], "motion": [9.0, 0.1, 9.0, 9.0, 9.0, 9.0]}


def test_black_and_frozen_videos_are_flagged_and_go_on(workspace):
    validation = judged(workspace, manifest(**ODD))
    assert flags(validation) == {"0.mp4": "black", "1.mp4": "frozen"}
    assert failed(validation) == {"not_black", "not_frozen"}
    assert validation.failure is None
    assert len(read_manifest(workspace.validated)) == 6


def test_a_flag_that_is_to_reject_does(workspace):
    validation = judged(workspace, manifest(**ODD), reject=("black",))
    assert reasons(validation) == {"0.mp4": "black"}
    assert flags(validation) == {"1.mp4": "frozen"}


def looks(*changes: tuple[int, str]) -> list[str]:
    return [dict(changes).get(i, UNALIKE[i]) for i in range(6)]


NEARLY_0 = f"{int(UNALIKE[0], 16) ^ 0b10101:016x}"  # three bits from it


def test_a_near_duplicate_is_flagged_with_the_one_it_looks_as(workspace):
    validation = judged(workspace, manifest(looks=looks((2, NEARLY_0))))
    (row,) = validation.flagged.itertuples()
    assert (row.id, row.flag, row.other) == ("2.mp4", "near-duplicate", "0.mp4")
    assert "3 of 64 bits" in row.detail
    assert validation.failure is None
    assert failed(judged(workspace, manifest(looks=looks((2, NEARLY_0))), near_duplicate_bits=2)) == set()


def test_near_duplicates_of_one_group_are_expected(workspace):
    group = ["a", None, "a", None, None, None]
    assert failed(judged(workspace, manifest(looks=looks((2, NEARLY_0)), group=group))) == set()


def test_of_near_duplicates_that_are_to_be_rejected_the_first_is_kept(workspace):
    alike = looks((1, NEARLY_0), (2, NEARLY_0))
    validation = judged(workspace, manifest(looks=alike), reject=("near-duplicate",))
    assert reasons(validation) == {"1.mp4": "near-duplicate", "2.mp4": "near-duplicate"}
    assert validation.flagged.empty


def test_a_test_video_that_looks_as_one_to_train_on_stops_everything_unless_the_contract_says_otherwise(workspace):
    leak = manifest(looks=looks((5, NEARLY_0)))
    validation = judged(workspace, leak)
    assert flags(validation) == {"5.mp4": "leak"}
    assert "5.mp4" in str(validation.failure)
    assert not workspace.validated.exists()
    assert judged(workspace, leak, severities={"no_leaks": "warning"}).failure is None
    assert failed(judged(workspace, leak, severities={"no_leaks": "off"})) == set()


def test_black_videos_look_as_each_other_and_are_no_leaks(workspace):
    validation = judged(workspace, manifest(looks=["0" * 16] * 6, brightness=[0.0] * 6))
    assert failed(validation) == {"not_black"}


def test_a_warning_that_is_made_critical_stops(workspace):
    assert judged(workspace, manifest(**ODD), severities={"not_black": "critical"}).failure is not None


def test_a_label_that_is_rare_to_train_on_is_named(workspace):
    validation = judged(workspace, manifest(label=["a", "a", "a", "b", "a", "b"]), max_label_ratio=2.5)
    (check,) = [check for check in validation.checks if not check.passed]
    assert (check.name, check.examples) == ("balanced_labels", ("b",))


def test_an_incomplete_dataset_is_noticed(workspace):
    assert failed(judged(workspace, manifest(), num_videos=7, num_labels=3)) == {"complete", "all_labels"}
    assert failed(judged(workspace, manifest(), num_videos=6, num_labels=2)) == set()


def test_what_is_new_is_judged_against_the_accepted_version(workspace):
    def many(**changes: list[object]) -> pd.DataFrame:
        whole = pd.concat([manifest(**changes)] * 40, ignore_index=True)
        return whole.assign(id=[f"{i}.mp4" for i in whole.index])

    accepted = Version.of_manifest(many())
    rules = Validate(**LIMITS, require_labels=False)
    validation = validate_manifest(many(fps=[30.0] * 6), rules, CLIPS, workspace, accepted)
    (check,) = [check for check in validation.checks if check.name == "no_drift"]
    assert (check.passed, check.examples, check.severity) == (False, ("fps",), "warning")
