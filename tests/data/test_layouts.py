"""The datasets of the paper as they are distributed: trees of real videos and frames, ingested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lvdm.data.ingest import build_manifest
from lvdm.data.validation import validate_manifest
from lvdm.data.video import read_frames
from lvdm.errors import ParamsError, SourceError
from lvdm.params import Clips, Ingest, Validate
from lvdm.section import parse
from lvdm.workspace import Workspace

from .footage import encoded, moving, video

RULES = Validate(min_fps=1, max_fps=60, min_side=16, max_side=999, max_reject_fraction=0.2, require_labels=False)


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "raw").mkdir()
    return Workspace.at(tmp_path)


def ingested(workspace: Workspace, **layout: object) -> pd.DataFrame:
    settings = {"source": "raw", "layout": layout, "test_fraction": 0.5, "seed": 0}
    return build_manifest(parse(Ingest, settings), workspace).set_index("id")


def videos(workspace: Workspace, *names: str) -> None:
    for seed, name in enumerate(names):
        path = workspace.root / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded(path, "mpeg4", seed) if path.suffix == ".avi" else video(path, seed=seed, frames=4)


def frames(folder: Path, names: list[str], seed: int = 0, suffix: str = "png") -> np.ndarray:
    folder.mkdir(parents=True)
    pixels = moving(frames=len(names), seed=seed)
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.{suffix}")
    return pixels


def ucf101(workspace: Workspace) -> None:
    names = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{g}_c0{c}.avi" for g in (1, 8) for c in (1, 2)]
    names += [f"YoYo/v_YoYo_g0{g}_c01.avi" for g in (1, 8)]
    videos(workspace, *names, "YoYo/v_YoYo_g25_c09.avi", "YoYo/behind the scenes.avi")
    lists = workspace.root / "raw" / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 YoYo\r\n")
    for number, held_out in ((1, "g01"), (2, "g08")):
        train = [f"{name} {1 + ('YoYo' in name)}" for name in names if held_out not in name]
        (lists / f"trainlist0{number}.txt").write_text("\r\n".join(train) + "\r\n")
        (lists / f"testlist0{number}.txt").write_text("\n".join(n for n in names if held_out in n) + "\n")


def test_ucf101_has_the_classes_groups_and_official_splits_of_its_names(workspace):
    ucf101(workspace)
    manifest = ingested(workspace, kind="ucf101", split_list=1)
    row = manifest.loc["ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi"]
    assert (row["label"], row["caption"], row["split"]) == ("ApplyEyeMakeup", "apply eye makeup", "test")
    assert row["group"] == "ApplyEyeMakeup_g01"
    assert manifest["split"].value_counts().to_dict() == {"train": 3, "test": 3, "unlisted": 1}
    assert "YoYo/behind the scenes.avi" not in manifest.index
    other = ingested(workspace, kind="ucf101", split_list=2)
    listed = manifest["split"] != "unlisted"
    assert (manifest["split"][listed] != other["split"][listed]).all()


def test_a_video_that_no_list_names_is_a_row_in_the_quarantine(workspace):
    ucf101(workspace)
    manifest = ingested(workspace, kind="ucf101", split_list=1).reset_index()
    validation = validate_manifest(manifest, RULES, Clips(frames=4, size=32, stride=1), workspace)
    by_id = validation.rejected.set_index("id")["reason"]
    assert "unknown-split" in by_id["YoYo/v_YoYo_g25_c09.avi"]


def test_an_unlisted_video_whose_group_is_listed_is_quarantined_and_the_rest_goes_on(workspace):
    ucf101(workspace)
    path = workspace.root / "raw" / "ucfTrainTestlist" / "testlist01.txt"
    path.write_text(path.read_text().replace("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi\n", ""))
    manifest = ingested(workspace, kind="ucf101", split_list=1).reset_index()
    alike = {"near_duplicate_bits": None}  # the videos of these trees look alike
    lenient = RULES.model_copy(update={"max_reject_fraction": 0.5} | alike)
    validation = validate_manifest(manifest, lenient, Clips(frames=4, size=32, stride=1), workspace)
    assert validation.failure is None
    assert "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi" in set(validation.rejected["id"])
    assert "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi" in set(validation.accepted["id"])


def test_a_class_of_ucf101_is_spelt_as_in_its_lists_where_the_names_of_its_videos_spell_it_otherwise(workspace):
    ucf101(workspace)
    name = "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    videos(workspace, name)
    with (workspace.root / "raw" / "ucfTrainTestlist" / "testlist01.txt").open("a") as file:
        file.write(f"{name}\n")
    row = ingested(workspace, kind="ucf101", split_list=1).loc[name]
    assert (row["label"], row["caption"], row["split"]) == ("HandstandPushups", "handstand pushups", "test")


def test_ucf101_without_its_lists_is_one_line(workspace):
    videos(workspace, "YoYo/v_YoYo_g01_c01.avi")
    with pytest.raises(SourceError, match=r"official split lists.*trainlist01\.txt.*got 'none'"):
        ingested(workspace, kind="ucf101", split_list=1)


def test_a_folder_of_frames_is_a_video_in_numeric_order(workspace):
    folder = workspace.root / "raw" / "clip"
    pixels = frames(folder, [f"frame_{i}" for i in range(12)])
    (folder / "Thumbs.db").touch()
    row = ingested(workspace, kind="frame_folders", fps=12.5).loc["clip"]
    assert (row["frames"], row["fps"], row["width"], row["height"], row["codec"]) == (12, 12.5, 64, 48, "images")
    assert row["duration"] == pytest.approx(12 / 12.5)
    np.testing.assert_array_equal(read_frames(folder, range(12)), pixels)
    np.testing.assert_array_equal(read_frames(folder, [10, 2]), pixels[[10, 2]])


def test_a_folder_with_a_damaged_frame_or_one_of_another_size_is_one_row_with_its_reason(workspace):
    raw = workspace.root / "raw"
    frames(raw / "good", ["1", "2"])
    frames(raw / "damaged", ["1", "2"])
    whole = (raw / "damaged" / "2.png").read_bytes()
    (raw / "damaged" / "2.png").write_bytes(whole[: len(whole) // 2])
    frames(raw / "mixed", ["1", "2"])
    Image.new("RGB", (8, 8)).save(raw / "mixed" / "3.png")
    manifest = ingested(workspace, kind="frame_folders", fps=10)
    assert manifest["error"].dropna().to_dict() == {"damaged": "corrupt", "mixed": "corrupt"}
    assert "8x8" in manifest.loc["mixed", "detail"]


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_frames_of_more_than_8_bits_are_refused_with_their_mode(workspace, mode):
    frames(workspace.root / "raw" / "good", ["1"])
    deep = workspace.root / "raw" / "deep"
    deep.mkdir()
    Image.fromarray(np.full((32, 32), 3000, {"I;16": np.uint16, "F": np.float32}[mode])).save(deep / "1.png", "TIFF")
    row = ingested(workspace, kind="frame_folders", fps=10).loc["deep"]
    assert row["error"] == "corrupt"
    assert f"mode {mode}" in row["detail"]


def test_a_frame_is_read_as_its_exif_says_that_it_is_displayed(workspace):
    folder = workspace.root / "raw" / "turned"
    folder.mkdir()
    pixels, exif = moving(frames=1)[0], Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn clockwise
    Image.fromarray(pixels).save(folder / "1.png", exif=exif)
    row = ingested(workspace, kind="frame_folders", fps=10).loc["turned"]
    assert (row["width"], row["height"]) == (48, 64)
    np.testing.assert_array_equal(read_frames(folder, [0])[0], np.rot90(pixels, -1))


def test_a_text_beside_a_folder_of_frames_bears_its_whole_name(workspace):
    raw = workspace.root / "raw"
    for number, name in enumerate(("scene.01", "scene.02", "plain")):
        frames(raw / name, ["1", "2"], seed=number)
    for name in ("scene", "scene.02", "plain"):
        (raw / f"{name}.txt").write_text(f"of {name}")
    captions = ingested(workspace, kind="frame_folders", fps=10)["caption"]
    assert captions.dropna().to_dict() == {"scene.02": "of scene.02", "plain": "of plain"}


def test_two_folders_of_equal_frames_are_duplicates_and_order_counts(workspace):
    raw = workspace.root / "raw"
    pixels = frames(raw / "a", ["1", "2", "3"])
    frames(raw / "b", ["x1", "x2", "x3"])
    (raw / "c").mkdir()
    for number, image in enumerate(pixels[::-1]):
        Image.fromarray(image).save(raw / "c" / f"{number}.png")
    checksum = ingested(workspace, kind="frame_folders", fps=10)["checksum"]
    assert checksum["a"] == checksum["b"] != checksum["c"]


def test_sky_timelapse_keeps_the_clips_of_one_video_together(workspace):
    raw = workspace.root / "raw"
    for seed, clip in enumerate(("sky_train/07U1fSrk9oI/07U1fSrk9oI_1", "sky_train/07U1fSrk9oI/07U1fSrk9oI_2")):
        names = [f"07U1fSrk9oI_frames_000000{i:02d}" for i in range(9, 12)]
        frames(raw / clip, names, seed, "jpg")
    videos(workspace, "sky_test/0dTgkFkOEgA/0dTgkFkOEgA_1.mp4", "elsewhere/a.mp4")
    manifest = ingested(workspace, kind="sky_timelapse", fps=25)
    assert manifest["split"].to_dict() == {
        "sky_test/0dTgkFkOEgA/0dTgkFkOEgA_1.mp4": "test",
        "sky_train/07U1fSrk9oI/07U1fSrk9oI_1": "train",
        "sky_train/07U1fSrk9oI/07U1fSrk9oI_2": "train",
    }
    assert list(manifest["group"]) == ["0dTgkFkOEgA", "07U1fSrk9oI", "07U1fSrk9oI"]
    assert list(manifest["fps"]) == [8, 25, 25]  # a file knows its own


def test_sky_timelapse_is_found_at_any_depth_and_images_beside_it_are_left_out(workspace):
    videos(workspace, "sky_timelapse/sky_train/07U1fSrk9oI/07U1fSrk9oI_1.mp4")
    Image.new("RGB", (8, 8)).save(workspace.root / "raw" / "logo.png")
    manifest = ingested(workspace, kind="sky_timelapse", fps=25)
    assert list(manifest["split"]) == ["train"]
    assert list(manifest["group"]) == ["07U1fSrk9oI"]


@pytest.mark.parametrize(
    "layout",
    [{"kind": "sky_timelapse", "fps": 25}, {"kind": "mead", "views": ["front"]}, {"kind": "taichi_hd", "fps": 30}],
)
def test_a_layout_that_takes_no_video_of_the_source_is_one_line(workspace, layout):
    videos(workspace, "one.mp4")
    with pytest.raises(SourceError, match=r"none of its 1 videos.*got 'one\.mp4'.*distributed"):
        ingested(workspace, **layout)


FACES = [
    *(f"original_sequences/youtube/c23/videos/{n}.mp4" for n in ("000", "003", "071", "054")),
    "original_sequences/youtube/c40/videos/000.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
    "manipulated_sequences/Face2Face/c23/videos/071_054.mp4",
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking_outside__YVGY8LOK.mp4",
    "original_sequences/actors/c23/videos/02__walking_outside.mp4",
]


def test_faceforensics_takes_one_compression_and_never_divides_a_source_and_its_fakes(workspace):
    videos(workspace, *FACES)
    manifest = ingested(workspace, kind="faceforensics", compression="c23", videos="all")
    assert len(manifest) == len(FACES) - 1
    assert manifest.loc[FACES[5], "label"] == "Deepfakes"
    assert manifest.loc[FACES[0], "label"] == "original"
    groups = manifest.groupby("group").groups
    assert {frozenset(ids) for ids in groups.values()} == {
        frozenset({FACES[0], FACES[1], FACES[5]}),
        frozenset({FACES[2], FACES[3], FACES[6]}),
        frozenset({FACES[7], FACES[8]}),
    }
    assert (manifest.groupby("group")["split"].nunique() == 1).all()


def test_videos_that_are_not_asked_for_join_no_groups(workspace):
    videos(workspace, *FACES)
    originals = ingested(workspace, kind="faceforensics", compression="c23", videos="original")
    assert set(originals["label"]) == {"original"}
    assert originals["group"].is_unique


def test_drawn_splits_of_faceforensics_are_logged(workspace, caplog):
    videos(workspace, *FACES)
    ingested(workspace, kind="faceforensics", compression="c23", videos="all")
    assert "no test.json" in caplog.text


def test_the_official_splits_of_faceforensics_decide_and_its_validation_part_is_left_out(workspace):
    videos(workspace, *FACES)
    lists = workspace.root / "lists"  # reached by a link, as the videos may be
    lists.mkdir()
    (workspace.root / "raw" / "splits").symlink_to(lists)
    for splits in (("train", "val", "test"), ("test", "val", "train")):
        for split, pairs in zip(splits, ([["000", "003"]], [["071", "054"]], [["02", "01"]]), strict=True):
            (lists / f"{split}.json").write_text(json.dumps(pairs))
        manifest = ingested(workspace, kind="faceforensics", compression="c23", videos="all")
        assert manifest.loc[[FACES[0], FACES[1], FACES[5]], "split"].tolist() == [splits[0]] * 3
        assert not {FACES[2], FACES[3], FACES[6]} & set(manifest.index)


def test_mead_has_its_emotion_as_label_and_holds_identities_together(workspace):
    names = [
        f"{who}/video/{view}/{emotion}/level_{level}/{n:03d}.mp4"
        for who in ("M003", "W009", "W011", "M019")
        for view, emotion, level, n in (("front", "angry", 2, 1), ("left_30", "happy", 1, 1), ("front", "happy", 3, 2))
    ]
    videos(workspace, *names)
    manifest = ingested(workspace, kind="mead", views=["front"])
    assert len(manifest) == 8
    row = manifest.loc["M003/video/front/angry/level_2/001.mp4"]
    assert (row["label"], row["group"]) == ("angry", "M003")
    assert row["caption"] == "a talking face, angry, level 2, seen from front"
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    assert manifest["split"].nunique() == 2


def test_taichi_hd_is_split_by_folder_and_grouped_by_video(workspace):
    videos(workspace, "train/ab#000001#000100.mp4", "train/ab#000200#000300.mp4", "taichi/test/cd#01#02.mp4", "x.mp4")
    frames(workspace.root / "raw" / "test" / "ef#000001#000003.mp4", ["0000000", "0000001"])
    manifest = ingested(workspace, kind="taichi_hd", fps=30)
    assert manifest[["split", "group"]].apply(tuple, axis=1).to_dict() == {
        "taichi/test/cd#01#02.mp4": ("test", "cd"),
        "test/ef#000001#000003.mp4": ("test", "ef"),
        "train/ab#000001#000100.mp4": ("train", "ab"),
        "train/ab#000200#000300.mp4": ("train", "ab"),
    }
    assert manifest["error"].isna().all()


def test_a_table_has_the_last_word_over_a_layout(workspace):
    ucf101(workspace)
    name = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi"
    table = pd.DataFrame({"path": [name], "label": ["make-up"], "split": ["train"]})
    table.to_csv(workspace.root / "raw" / "captions.csv", index=False)
    manifest = ingested(workspace, kind="ucf101", split_list=1)
    assert manifest.loc[name, ["label", "split", "caption"]].tolist() == ["make-up", "train", "apply eye makeup"]
    beside = manifest.loc[name.replace("c02", "c01")]
    assert (beside["label"], beside["split"]) == ("ApplyEyeMakeup", "test")


def test_a_table_may_name_groups_of_its_own(workspace):
    videos(workspace, *(f"{i}.mp4" for i in range(8)))
    table = pd.DataFrame({"path": [f"{i}.mp4" for i in range(8)], "group": ["a", "b"] * 4})
    table.to_csv(workspace.root / "raw" / "captions.csv", index=False)
    manifest = ingested(workspace, kind="folder")
    assert (manifest.groupby("group")["split"].nunique() == 1).all()


def test_a_group_in_both_splits_stops_the_pipeline(workspace):
    videos(workspace, *(f"{i}.mp4" for i in range(4)))
    table = {"path": [f"{i}.mp4" for i in range(4)], "group": ["a"] * 4, "split": ["train", "train", "train", "test"]}
    pd.DataFrame(table).to_csv(workspace.root / "raw" / "captions.csv", index=False)
    manifest = ingested(workspace, kind="folder").reset_index()
    validation = validate_manifest(manifest, RULES, Clips(frames=4, size=32, stride=1), workspace)
    assert "one_split_a_group" in str(validation.failure)


def test_an_unknown_layout_and_a_setting_of_another_layout_are_one_line(workspace):
    with pytest.raises(ParamsError, match=r"layout\.kind: expected one of folder, .*, taichi_hd, got 'kinetics'"):
        ingested(workspace, kind="kinetics")
    with pytest.raises(ParamsError, match=r"layout\.fps: unknown key"):
        ingested(workspace, kind="folder", fps=25)
