from __future__ import annotations

import json
import shutil

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvdm.data.ingest import build_manifest
from lvdm.data.manifest import read_manifest
from lvdm.data.video import read_frames
from lvdm.errors import ArtefactError, SourceError
from lvdm.fingerprints import sha256
from lvdm.params import Ingest
from lvdm.workspace import Workspace

from .footage import cut, encoded, moving, video


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "raw").mkdir()
    return Workspace.at(tmp_path)


def ingest(**changes: object) -> Ingest:
    return Ingest(**({"source": "raw", "layout": {"kind": "folder"}, "test_fraction": 0.5, "seed": 0} | changes))


def fill(workspace: Workspace, num: int) -> None:
    for i in range(num):
        video(workspace.root / "raw" / f"{i}.mp4", seed=i, frames=4)


def test_every_file_is_one_row_whatever_state_it_is_in(workspace):
    raw = workspace.root / "raw"
    video(raw / "gut – 1.mp4")
    shutil.copyfile(raw / "gut – 1.mp4", raw / "twin.mp4")
    cut(video(raw / "half.mp4"), 0.5)
    (raw / "empty.mp4").touch()
    (raw / "gone.mp4").symlink_to("nowhere")
    manifest = build_manifest(ingest(), workspace).set_index("id")
    assert manifest["error"].dropna().to_dict() == {
        "empty.mp4": "empty",
        "gone.mp4": "missing",
        "half.mp4": "truncated",
    }
    good, twin = manifest.loc["gut – 1.mp4"], manifest.loc["twin.mp4"]
    assert (good["frames"], good["width"], good["height"], good["codec"]) == (24, 64, 48, "h264")
    assert good["checksum"] == twin["checksum"]
    assert good["split"] == twin["split"]
    assert manifest["checksum"].isna().to_dict()["gone.mp4"]


def test_equal_input_gives_equal_bytes_and_reads_back_equal(workspace):
    fill(workspace, 3)
    manifest = build_manifest(ingest(), workspace)
    first = workspace.manifest.read_bytes()
    pd.testing.assert_frame_equal(read_manifest(workspace.manifest), manifest)
    build_manifest(ingest(), workspace)
    assert workspace.manifest.read_bytes() == first


def test_new_videos_never_move_old_ones_between_splits(workspace):
    fill(workspace, 6)
    before = build_manifest(ingest(), workspace).set_index("id")["split"]
    assert set(before) == {"train", "test"}
    fill(workspace, 12)
    after = build_manifest(ingest(), workspace).set_index("id")["split"]
    assert after[before.index].equals(before)
    assert not build_manifest(ingest(seed=1), workspace).set_index("id")["split"].equals(after)


def test_an_empty_folder_is_an_empty_manifest(workspace):
    assert len(build_manifest(ingest(), workspace)) == 0
    assert len(read_manifest(workspace.manifest)) == 0


def test_a_manifest_that_is_not_there_names_the_stage(workspace):
    with pytest.raises(ArtefactError, match="lvdm ingest"):
        read_manifest(workspace.manifest)


def write_table(workspace: Workspace, suffix: str, rows: list[dict]) -> None:
    path = workspace.root / "raw" / f"captions.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_a_copy_that_no_table_names_is_in_the_split_of_the_video_that_one_names(workspace):
    fill(workspace, 6)
    for i in range(6):
        shutil.copyfile(workspace.root / "raw" / f"{i}.mp4", workspace.root / "raw" / f"a copy of {i}.mp4")
    write_table(workspace, "csv", [{"path": f"{i}.mp4", "split": "test"} for i in range(6)])
    assert set(build_manifest(ingest(), workspace)["split"]) == {"test"}


def test_a_name_is_known_however_its_accents_are_written_and_blanks_after_commas_are_none_of_the_cells(workspace):
    raw = workspace.root / "raw"
    video(raw / "e\u0301.mp4", frames=4)
    (raw / "captions.csv").write_text("path, label\n\u00e9.mp4, life\n")
    assert build_manifest(ingest(), workspace)["label"].tolist() == ["life"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_says_label_caption_and_split(workspace, suffix):
    fill(workspace, 3)
    rows = [
        {"path": "0.mp4", "label": "NA", "caption": "one, two", "split": "test"},
        {"path": "./1.mp4", "label": "7", "caption": "", "split": None},
    ]
    write_table(workspace, suffix, rows)
    (workspace.root / "raw" / "2.txt").write_text("beside it\n")
    manifest = build_manifest(ingest(), workspace).set_index("id")
    assert manifest.loc["0.mp4", ["label", "caption", "split"]].tolist() == ["NA", "one, two", "test"]
    assert manifest.loc["1.mp4", "label"] == "7"
    assert pd.isna(manifest.loc["1.mp4", "caption"])
    assert manifest.loc["1.mp4", "split"] in ("train", "test")
    assert manifest.loc["2.mp4", "caption"] == "beside it"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,label\n0.mp4,a\n", "no column path"),
        ("path,text\n0.mp4,a\n", "says nothing"),
        ("path,label\n0.mp4,a\n0.mp4,b\n", "rows with one path"),
        ("path,label\nother.mp4,a\n", r"paths like 0\.mp4"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_bad_table_is_one_line_that_names_it(workspace, content, says):
    fill(workspace, 1)
    (workspace.root / "raw/captions.csv").write_text(content)
    with pytest.raises(SourceError, match=says) as caught:
        build_manifest(ingest(), workspace)
    assert "captions.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_gap_in_a_column_changes_no_other_cell(workspace, suffix):
    fill(workspace, 3)
    rows = [{"path": "0.mp4", "label": 3}, {"path": "1.mp4", "label": None}, {"path": "2.mp4", "label": 10**17 + 1}]
    write_table(workspace, suffix, rows)
    labels = build_manifest(ingest(), workspace).set_index("id")["label"]
    assert labels.dropna().to_dict() == {"0.mp4": "3", "2.mp4": "100000000000000001"}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("cell", [["x"], ["x", "y"], {"text": "x"}, 0.5, True])
def test_a_cell_that_is_no_text_is_one_line_that_names_its_row_and_column(workspace, suffix, cell):
    fill(workspace, 2)
    write_table(workspace, suffix, [{"path": "0.mp4", "caption": None}, {"path": "1.mp4", "caption": cell}])
    with pytest.raises(SourceError, match="row 2, column caption: expected text or a whole number, got") as caught:
        build_manifest(ingest(), workspace)
    assert f"captions.{suffix}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [('["0.mp4", "a"]\n', "a line is no row"), ("", "no column path"), ('{"path"', "cannot be read as a table")],
)
def test_lines_that_are_no_rows_are_refused(workspace, content, says):
    fill(workspace, 1)
    (workspace.root / "raw/captions.jsonl").write_text(content)
    with pytest.raises(SourceError, match=says):
        build_manifest(ingest(), workspace)


def test_two_tables_in_a_source_are_refused(workspace):
    for suffix in ("csv", "jsonl"):
        (workspace.root / "raw" / f"captions.{suffix}").touch()
    with pytest.raises(SourceError, match="one table of captions"):
        build_manifest(ingest(), workspace)


def odd(workspace: Workspace) -> pd.Series:
    """The row of a video that decord cannot read."""
    return build_manifest(ingest(), workspace).set_index("id").loc["av1.mp4"]


def test_a_video_that_is_straightened_is_an_artefact_named_by_its_content(workspace):
    source = encoded(workspace.root / "raw" / "av1.mp4", "libsvtav1")
    row = odd(workspace)
    assert row["path"] == f"artifacts/videos/straightened/{row['checksum']}.mp4"
    assert sha256(workspace.root / row["path"]) == row["checksum"]
    assert sha256(source) == row["source_checksum"]
    assert (row["codec"], row["straightened"]) == ("av1", "decord cannot read it")
    assert np.abs(read_frames(workspace.root / row["path"], range(24)).astype(int) - moving()).mean() < 3


def test_a_video_is_straightened_once_and_again_only_when_its_copy_is_gone(workspace):
    encoded(workspace.root / "raw" / "av1.mp4", "libsvtav1")
    first = odd(workspace)
    (copy,) = (workspace.root / ".lvdm" / "straightened").iterdir()
    written = copy.stat().st_mtime_ns
    shutil.rmtree(workspace.videos)  # as DVC does before it runs the stage
    assert odd(workspace).equals(first)
    assert copy.stat().st_mtime_ns == written
    copy.unlink()
    assert odd(workspace).equals(first)
    (workspace.root / "raw" / "av1.mp4").unlink()
    build_manifest(ingest(), workspace)
    assert list(copy.parent.iterdir()) == []


def test_transcoding_makes_every_video_small_and_leaves_it_in_its_split(workspace):
    fill(workspace, 4)
    before = build_manifest(ingest(), workspace)
    transcode = {"size": 24, "keyframe_interval": 2, "crf": 10}
    after = build_manifest(ingest(transcode=transcode), workspace)
    assert set(after["straightened"]) == {"transcode"}
    for column in ("id", "split", "frames", "fps", "source_checksum"):
        assert after[column].equals(before[column])
    assert not set(after["checksum"]) & set(before["checksum"])
    assert set(zip(after["width"], after["height"], strict=True)) == {(32, 24)}
    with av.open(str(workspace.root / after["path"][0])) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert keys == [True, False] * 2
    assert build_manifest(ingest(), workspace).equals(before)
