from __future__ import annotations

import os
import shutil

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lvdm.data import sources
from lvdm.data.sources import collect
from lvdm.errors import SourceError
from lvdm.params.layouts import Folder
from lvdm.workspace import Workspace

from .footage import video

FOLDER = Folder(kind="folder")


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "root").mkdir()
    return Workspace.at(tmp_path / "root")


def ids(source):
    return [video.id for video in source.videos]


def test_a_folder_is_listed_below_and_in_the_order_that_people_count(workspace):
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
    source = collect("raw", FOLDER, workspace)
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


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="raw")
        yield client
        client.close()
    server.stop()


def put(s3, key: str, content: bytes) -> None:
    s3.put_object(Bucket="raw", Key=key, Body=content)


def test_a_prefix_is_mirrored_and_fetched_once(workspace, tmp_path, s3, monkeypatch):
    content = video(tmp_path / "v.mp4").read_bytes()
    put(s3, "set/b c/ü.mp4", content)
    put(s3, "set/a.mp4", b"short")
    put(s3, "set/captions.csv", b"path,label\na.mp4,one\n")
    put(s3, "set/page.html", b"x")
    put(s3, "set/../../escape.mp4", b"x")
    put(s3, "settled/other.mp4", b"x")
    source = collect("s3://raw/set/", FOLDER, workspace)
    assert ids(source) == ["a.mp4", "b c/ü.mp4"]
    assert (workspace.root / source.videos[1].path).read_bytes() == content
    assert (source.folder / "captions.csv").is_file()

    fetched = []
    fetch = sources._Bucket.fetch
    monkeypatch.setattr(sources._Bucket, "fetch", lambda *a: (fetched.append(a[1]["name"]), fetch(*a))[1])
    shutil.rmtree(workspace.videos)
    put(s3, "set/a.mp4", b"other")
    s3.delete_object(Bucket="raw", Key="set/captions.csv")
    source = collect("s3://raw/set", FOLDER, workspace)
    assert fetched == ["raw/set/a.mp4"]
    assert (workspace.videos / "a.mp4").read_bytes() == b"other"
    assert not (workspace.videos / "captions.csv").exists()
    assert len(list((workspace.root / ".lvdm" / "mirror").glob("*/*"))) == 2


def test_a_fetch_that_breaks_off_keeps_what_came_and_leaves_no_half(workspace, s3, monkeypatch):
    put(s3, "two/a.mp4", b"a" * 100)
    put(s3, "two/b.mp4", b"b" * 100)
    fetch = sources._Bucket.fetch

    def broken(self, entry, cached):
        if entry["name"].endswith("b.mp4"):
            raise KeyboardInterrupt
        fetch(self, entry, cached)

    monkeypatch.setattr(sources._Bucket, "fetch", broken)
    with pytest.raises(KeyboardInterrupt):
        collect("s3://raw/two", FOLDER, workspace)
    assert not workspace.videos.exists()
    assert [path.read_bytes() for path in (workspace.root / ".lvdm" / "mirror").glob("*/*")] == [b"a" * 100]


def test_an_empty_prefix_and_a_missing_bucket_are_one_line(workspace, s3):
    for source in ("s3://raw/nothing", "s3://no-such-bucket/x"):
        with pytest.raises(SourceError, match=r"ingest\.source"):
            collect(source, FOLDER, workspace)


def test_a_server_that_is_away_is_tried_again_and_then_one_line(workspace, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(sources, "ATTEMPTS", 2)
    with pytest.raises(SourceError, match="AWS_ENDPOINT_URL_S3"):
        collect("s3://raw/set", FOLDER, workspace)
    assert "attempt 1 of 2" in caplog.text
