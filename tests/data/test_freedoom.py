"""Freedoom-Walk-10: what is in it, and that anyone who renders it gets the videos that were published."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.freedoom_walk import main
from lvdm.data import freedoom
from lvdm.data.freedoom import CHECKSUMS, DEFINITION, load_definition, read_checksums, shots
from lvdm.data.freedoom_walk import Camera, Place, resized, worth_showing
from lvdm.data.sources import collect
from lvdm.data.video import read_frames
from lvdm.errors import ParamsError, SourceError
from lvdm.machine import Machine
from lvdm.params.layouts import Folder
from lvdm.workspace import Workspace

PUBLISHED = Path(__file__).parents[2] / "freedoom-walk"
ROUND_ARENA = Place("freedoom2", "map01", "defend_the_center")


def definition_in(folder: Path, **changes: object) -> Path:
    """The definition with its checksums, of few videos."""
    document = yaml.safe_load((PUBLISHED / DEFINITION).read_text()) | {"num_train": 2, "num_test": 1, "num_long": 0}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DEFINITION).write_text(yaml.safe_dump(document | changes, sort_keys=False))
    shutil.copy(PUBLISHED / CHECKSUMS, folder)
    return folder


def test_the_set_has_every_scene_and_motion_equally_often_and_a_checksum_of_every_video():
    every = shots(load_definition(PUBLISHED))
    assert Counter(shot.part for shot in every) == {"train": 2400, "test": 2048, "long": 40}
    assert Counter(Counter(shot.label for shot in every if shot.part == "train").values()) == {48: 50}
    assert set(Counter(shot.label for shot in every if shot.part == "test").values()) == {40, 41}
    assert set(Counter(shot.scene for shot in every if shot.part == "long").values()) == {4}
    assert {(shot.part, shot.frames) for shot in every} == {("train", 64), ("test", 64), ("long", 2048)}
    checksums = read_checksums(PUBLISHED)
    assert list(checksums) == [shot.name for shot in every]
    assert len({digest for digest in checksums.values() if re.fullmatch("[0-9a-f]{64}", digest)}) == len(every)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three videos of the set, as published, are rendered."""
    workspace = Workspace(tmp_path_factory.mktemp("project"), Machine(probe_workers=1))
    definition_in(workspace.root / "freedoom-walk")
    collect("freedoom-walk", Folder(kind="folder"), workspace)
    return workspace


def test_what_is_rendered_is_what_was_published_with_captions_beside_it(workspace):
    names = ["test/00000.mp4", "train/00000.mp4", "train/00001.mp4"]
    found = collect("freedoom-walk", Folder(kind="folder"), workspace)
    assert [video.id for video in found.videos] == names
    with (workspace.videos / "captions.csv").open() as file:
        said = {row["path"]: row for row in csv.DictReader(file)}
    assert sorted(said) == names
    expected = {"path": names[2], "label": "acid arena, walk", "split": "train"}
    assert said[names[2]] == expected | {"caption": "walking through an arena with an acid-green floor"}
    frames = read_frames(workspace.videos / names[2], range(64))
    assert frames.shape == (64, 128, 128, 3)
    assert worth_showing(frames, np.full(64, 255))


def test_what_was_rendered_is_not_rendered_again_though_dvc_removes_it(workspace, monkeypatch):
    before = {path.name: path.stat().st_ino for path in workspace.videos.rglob("*.mp4")}
    shutil.rmtree(workspace.videos)
    monkeypatch.setattr(freedoom, "Camera", None)
    collect("freedoom-walk", Folder(kind="folder"), workspace)
    assert {path.name: path.stat().st_ino for path in workspace.videos.rglob("*.mp4")} == before


def test_a_video_that_is_not_as_published_is_one_line_and_is_not_kept(workspace, tmp_path):
    folder = definition_in(tmp_path / "freedoom-walk", num_train=1, num_test=0)
    right = read_checksums(folder)["train/00000.mp4"]
    (folder / CHECKSUMS).write_text(f"{'0' * 64} train/00000.mp4\n")
    other = Workspace(tmp_path, Machine(probe_workers=1))
    with pytest.raises(
        SourceError, match=rf"train/00000\.mp4: what is rendered is not .* got '{right}'; render with"
    ) as e:
        collect("freedoom-walk", Folder(kind="folder"), other)
    assert "\n" not in str(e.value)
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_definition_with_more_videos_than_were_published_or_of_another_vizdoom_is_refused(tmp_path):
    workspace = Workspace(tmp_path, Machine(probe_workers=1))
    definition_in(tmp_path / "a", num_train=2401)
    with pytest.raises(SourceError, match=r"sha256\.txt: 1 videos of freedoom\.yaml are not in it: got 'train/02400"):
        collect("a", Folder(kind="folder"), workspace)
    definition_in(tmp_path / "a", vizdoom="1.2.4")
    with pytest.raises(SourceError, match=r"another vizdoom renders other videos: expected 1\.2\.4"):
        collect("a", Folder(kind="folder"), workspace)
    definition_in(tmp_path / "a", frame=1)
    with pytest.raises(ParamsError, match=r"freedoom\.yaml"):
        collect("a", Folder(kind="folder"), workspace)


def test_the_camera_turns_and_steps_to_the_side_that_the_motion_says_and_gives_equal_pixels_in_any_order():
    with Camera(ROUND_ARENA) as camera:
        left, right = (camera.film(motion, 8, [0, 0, 1]) for motion in ("pan left", "pan right"))
        again = camera.film("pan left", 8, [0, 0, 1])
    assert np.array_equal(left, again)

    def shift(video: np.ndarray) -> int:
        """By how many pixels the picture moves to the right from one frame to the next."""
        before, after = video[3].astype(float), video[4].astype(float)
        inner = before[:, 16:-16]
        return min(range(-16, 17), key=lambda by: np.abs(after[:, 16 + by : 112 + by] - inner).mean())

    assert shift(left) == -shift(right) > 0


def test_pictures_are_resized_by_areas_in_whole_numbers():
    picture = np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8)
    square = picture[:, 32:224].astype(float).repeat(2, axis=0).repeat(2, axis=1)
    areas = square.reshape(128, 3, 128, 3, 3).mean(axis=(1, 3))
    assert np.array_equal(resized(picture), np.floor(areas + 0.5).astype(np.uint8))


def test_a_video_that_stands_still_or_shows_nothing_but_a_wall_is_not_worth_showing():
    moving = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
    far = np.full(10, 100.0)
    assert worth_showing(moving, far)
    assert not worth_showing(moving, far * 0.05)
    assert not worth_showing(np.concatenate([moving[:6], moving[5:6].repeat(4, axis=0)]), far)


def test_the_benchmark_finds_what_is_not_as_published(tmp_path, capsys):
    folder = definition_in(tmp_path, num_train=2, num_test=0, frames=4)
    assert main(["--folder", str(folder), "--workers", "1", "--publish"]) == 0
    _, second = read_checksums(folder).values()
    (folder / CHECKSUMS).write_text(f"{second} train/00000.mp4\n{second} train/00001.mp4\n")
    assert main(["--folder", str(folder), "--workers", "1"]) == 1
    assert "1 of them are not as published: train/00000.mp4" in capsys.readouterr().out
