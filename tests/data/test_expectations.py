from __future__ import annotations

import pandas as pd
import pytest

from lvdm.data.expectations import Validation, validate_manifest
from lvdm.data.manifest import DTYPES, SCHEMA, read_manifest, write_manifest
from lvdm.errors import ValidationFailed
from lvdm.params import Clips, Validate
from lvdm.workspace import Workspace

LIMITS = {"min_fps": 1, "max_fps": 60, "min_side": 32, "max_side": 1000, "max_reject_fraction": 0.5}
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
        "looks": [f"{i:016x}" for i in range(num)],
        "label": ["a", "b", "a", "b", "a", "b"],
        "caption": [None] * num,
        "split": ["train"] * 4 + ["test"] * 2,
        "group": [None] * 6,
        "checksum": [f"{i:064x}" for i in range(num)],
        "source_checksum": [f"{i:064x}" for i in range(num)],
        "straightened": [None] * num,
        "error": [None] * num,
        "detail": [None] * num,
    }
    return pd.DataFrame(columns | changes).astype({field.name: DTYPES[field.type] for field in SCHEMA})


def judged(workspace: Workspace, table: pd.DataFrame, **limits: object) -> Validation:
    return validate_manifest(table, Validate(**(LIMITS | {"require_labels": False} | limits)), CLIPS, workspace)


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
    assert len(list(workspace.data_docs.rglob("*.html"))) >= 3


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
        "0.mp4": "too_short; size_out_of_range",
        "1.mp4": "fps_out_of_range",
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
    assert reasons(validation) == {"0.mp4": "too_short; duplicate", "2.mp4": "duplicate"}
    assert "1.mp4" in validation.rejected.set_index("id").at["2.mp4", "detail"]


def test_a_split_that_is_none_rejects_the_row(workspace):
    split = ["train", "valid", "train", "train", "test", "test"]
    assert reasons(judged(workspace, manifest(split=split))) == {"1.mp4": "unknown_split"}


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
