from __future__ import annotations

import os

import pytest

from lvdm.data import sources
from lvdm.data.sources import collect
from lvdm.errors import SourceError
from lvdm.params.layouts import Folder
from lvdm.workspace import Workspace

FOLDER = Folder(kind="folder")


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "root").mkdir()
    return Workspace.at(tmp_path / "root")


def ids(source):
    return [video.id for video in source.videos]


def test_a_folder_is_listed_below_and_in_the_order_that_people_count(workspace, caplog):
    folder = workspace.root / "raw"
    (folder / "walking dogs").mkdir(parents=True)
    for name in (
        "clip10.mp4",
        "clip2.MP4",
        "walking dogs/ä b.webm",
        "notes.pdf",
        "clip2.txt",
        "captions.csv",
        "._x.mp4",
    ):
        (folder / name).touch()
    with caplog.at_level("INFO", "lvdm"):
        source = collect("raw", FOLDER, workspace)
    assert "2 files ignored, as they look like no video, like 'notes.pdf'" in caplog.text
    assert ids(source) == ["clip2.MP4", "clip10.mp4", "walking dogs/ä b.webm"]
    assert source.videos[0].path == "raw/clip2.MP4"
    assert workspace.videos.is_dir()


def test_a_folder_elsewhere_is_named_by_absolute_paths(workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").touch()
    for named in (str(tmp_path / "elsewhere"), "../elsewhere"):
        assert collect(named, FOLDER, workspace).videos[0].path.endswith("/elsewhere/a.mp4")


def test_odd_things_in_a_folder_do_not_stop_it(workspace, tmp_path):
    folder = workspace.root / "raw"
    (folder / "x.mp4").mkdir(parents=True)
    (folder / "x.mp4" / "inside.mp4").touch()
    (folder / "dangling.mp4").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    (tmp_path / "outside.mp4").touch()
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (folder / os.fsdecode(b"\xff.mp4")).touch()
    source = collect("raw", FOLDER, workspace)
    assert ids(source) == ["dangling.mp4", "link.mp4", "x.mp4/inside.mp4"]


def test_a_source_that_is_not_there_is_one_line(workspace):
    with pytest.raises(SourceError, match="not a folder"):
        collect("nowhere", FOLDER, workspace)


@pytest.mark.parametrize("source", ["artifacts/videos", "artifacts/videos/mine", "artifacts", ".", "linked"])
def test_a_source_that_ingest_would_delete_is_refused_and_left_alone(workspace, source):
    mine = workspace.videos / "mine" / "a.mp4"
    mine.parent.mkdir(parents=True)
    mine.touch()
    (workspace.root / "linked").symlink_to(workspace.videos)
    with pytest.raises(SourceError, match="a folder of their own"):
        collect(source, FOLDER, workspace)
    assert mine.exists()


def test_a_folder_with_a_recipe_is_rendered(workspace):
    (workspace.root / "builtin").mkdir()
    recipe = sources.sprites.load_recipe(sources.Path(__file__).parents[2] / "builtin" / "recipe.yaml")
    few = recipe.model_copy(update={"num_videos": 2, "frames": 2, "num_long_videos": 0})
    (workspace.root / "builtin" / "recipe.yaml").write_text(few.model_dump_json())
    source = collect("builtin", FOLDER, workspace)
    assert [video.path for video in source.videos] == ["artifacts/videos/00000.mp4", "artifacts/videos/00001.mp4"]
    assert source.folder == workspace.videos
