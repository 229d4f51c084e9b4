"""The latent cache: what is written is read back, damage is named, and windows of it are what training asks for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from benchmarks.latent_cache import main, noise, write_latents
from lvdm.data.latent_plan import ITEM
from lvdm.data.latent_store import LatentStore
from lvdm.data.latent_windows import LatentWindows, held_out_windows
from lvdm.data.latents import Entry, LatentCache
from lvdm.errors import ArtefactError
from tests.cached_videos import CachedVideo, cached

LENGTHS = {"b c/ü.mp4": 20, "a.mp4": 9, "short.mp4": 3, "held out.mp4": 30}
NO_CAPTION = "short.mp4"
LABELS = {"b c/ü.mp4": "walk", "a.mp4": None, "short.mp4": "run", "held out.mp4": "swim"}


def latent(name: str) -> torch.Tensor:
    """Every value says which video and which latent it is of."""
    video = list(LENGTHS).index(name)
    steps = torch.arange(LENGTHS[name]) + 100.0 * video
    return steps[:, None, None, None].expand(-1, 2, 3, 4)


def items(*names: str) -> list[CachedVideo]:
    said = ((name, None if name == NO_CAPTION else f"it is {name}") for name in names or LENGTHS)
    return [
        CachedVideo(name, LABELS[name], caption, "test" if name == "held out.mp4" else "train", latent(name))
        for name, caption in said
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return cached(tmp_path_factory.mktemp("cache") / "latents", items(), made_by="abc")


@pytest.fixture
def own_cache(tmp_path):
    return cached(tmp_path / "latents", items())


def test_what_is_written_is_read_back(cache):
    assert cache.shape == (2, 3, 4)
    assert cache.made_by == "abc"
    assert [video.id for video in cache.videos] == list(LENGTHS)
    assert [video.id for video in cache.split("test")] == ["held out.mp4"]
    assert cache.split("train").captions == ("it is b c/ü.mp4", "it is a.mp4")
    for video in cache.videos:
        assert (video.caption is None) == (video.id == NO_CAPTION)
        assert (video.label, video.length) == (LABELS[video.id], LENGTHS[video.id])
        assert torch.equal(cache.read(video), latent(video.id))
        assert torch.equal(cache.read(video, 1, 3), latent(video.id)[1:3])
        assert torch.equal(cache.read(video, 2, 10**9), latent(video.id)[2:])  # never into the next video
        assert torch.equal(cache.read(video, 1, 10**9, 4), latent(video.id)[1::4])


def test_labels_are_those_of_split_train(cache):
    assert cache.labels == ("run", "walk")


def test_many_latents_go_to_few_shards_of_about_the_size_asked_for_and_equal_videos_share_theirs(tmp_path):
    manifest, shape = noise(400, 2), (4, 16, 16)  # 3.3 MB
    manifest["checksum"] = [str(row // 2) for row in range(400)]  # every video twice
    cache = write_latents(tmp_path / "latents", manifest, lambda row: np.full((2, *shape), row // 2, np.float32), shape)
    assert len(cache.shards) == 2
    assert sum(shard["bytes"] for shard in cache.shards.values()) < 1.1 * 200 * 2 * 4096
    assert [cache.read(video).unique().tolist() for video in cache.videos] == [[row // 2] for row in range(400)]


def test_videos_without_a_latent_are_listed_and_never_read_a_cache_of_nothing_else_is_refused(tmp_path):
    short = CachedVideo("x", None, None, "train", torch.zeros(0, 2, 3, 4))
    cache = cached(tmp_path / "latents", [short, *items("a.mp4")])
    assert [(video.id, len(cache.read(video))) for video in cache.videos] == [("x", 0), ("a.mp4", 9)]
    assert len(LatentWindows(cache, 3, (1,), 0, length_of)) == 1
    with pytest.raises(ArtefactError, match="no video has the frames of one latent"):
        cached(tmp_path / "none", [short])


def test_the_latents_of_a_shard_are_on_the_disk_before_it_is_called_whole(tmp_path, written):
    store = LatentStore(tmp_path, (2, 3, 4))
    store.prepare({"a": np.array([(b"a.mp4", 0, 9, b"")], ITEM)})
    store.put("a", 0, [latent("a.mp4").numpy()])
    store.finish("a")
    assert written[-2:] == [("flushed", "latents.npy"), ("renamed", "a.partial")]


@pytest.mark.parametrize("file", ["index.arrow", "manifest.json", "shard"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_found_and_the_file_named(own_cache, file, damage):
    own_cache.verify()
    path = own_cache.folder / (next(iter(own_cache.shards)) if file == "shard" else file)
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage != "gone":
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:-1])
    if (file, damage) == ("shard", "flipped"):
        LatentCache(own_cache.folder)  # opening is cheap: only `verify` reads shards
    if (file, damage) == ("manifest.json", "cut"):
        return  # of a newline: nothing is lost
    with pytest.raises(ArtefactError, match=rf"{path.name}: (damaged|not there).*run `lvdm encode_latents"):
        LatentCache(own_cache.folder).verify()


def test_a_cache_of_another_version_names_the_stage(own_cache):
    (own_cache.folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"of another version; run `lvdm encode_latents` again"):
        LatentCache(own_cache.folder)


def test_no_cache_names_the_stage(tmp_path):
    with pytest.raises(ArtefactError, match="lvdm encode_latents"):
        LatentCache(tmp_path)


def test_more_latents_of_a_video_than_planned_are_refused_and_those_of_the_next_stay(tmp_path):
    store = LatentStore(tmp_path, (1, 1, 1))
    store.prepare({"shard": np.array([(b"a", 0, 2, b""), (b"b", 2, 2, b"")], ITEM)})
    store.put("shard", 1, [np.ones((2, 1, 1, 1), np.float32)])
    with pytest.raises(ArtefactError, match="latents of a video: expected 2, got 3"):
        store.put("shard", 0, [np.full((count, 1, 1, 1), 7, np.float32) for count in (1, 2)])
    assert np.load(tmp_path / "shard.partial/latents.npy").flatten().tolist()[2:] == [1, 1]
    assert store.missing("shard").tolist() == [0]


def test_a_cache_that_is_open_can_be_pickled_and_takes_its_latents_along_by_name_only(cache):
    cache.read(cache.videos[0])
    content = pickle.dumps(cache)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert torch.equal(again.read(again.videos[0]), latent("b c/ü.mp4"))


def test_half_of_the_windows_are_mirrored_where_the_cache_has_that_and_never_those_held_out(tmp_path):
    """Here the latents of a mirrored video are the negative."""
    cache = cached(
        tmp_path / "latents",
        [CachedVideo("x", "run", None, "train", latent("a.mp4") + 1), *items("held out.mp4")],
        flip=True,
    )
    windows = LatentWindows(cache, 3, (1, 4), 0, length_of)
    signs = [bool((windows[index]["latent"] < 0).all()) for index in range(100)]
    assert 30 < sum(signs) < 70
    assert signs == [bool((windows[index]["latent"] < 0).all()) for index in range(100)]
    assert all((window["latent"] > 0).all() for window in held_out_windows(cache, 3, (1,), 20, length_of))


def test_the_benchmark_prints_its_ratios(capsys):
    few = ["--latents", "64", "--shape", "1", "2", "2", "--seconds", "0.05"]
    assert main(few) > 1
    assert "x those from one .safetensors file a video" in capsys.readouterr().out


def length_of(video: Entry) -> dict[str, torch.Tensor]:
    """What these windows are said to show: how long their video is."""
    return {"length": torch.tensor(video.length)}


def test_a_window_is_a_function_of_seed_and_index(cache):
    one, same, other = (LatentWindows(cache, 3, (1, 4), seed, length_of) for seed in (0, 0, 1))
    for index in (0, 1, 10**9):
        assert all(torch.equal(one[index][key], same[index][key]) for key in ("latent", "stride", "length"))
    assert not all(torch.equal(one[i]["latent"], other[i]["latent"]) for i in range(4))


def test_windows_are_evenly_spaced_within_one_train_video(cache):
    windows = LatentWindows(cache, 3, (1, 4, 9), 0, length_of)
    seen = set()
    for index in range(400):
        window = windows[index]
        assert window["latent"].shape == (2, 3, 3, 4)
        assert window["stride"].dtype == torch.int64
        steps = window["latent"][0, :, 0, 0]
        assert (steps.diff() == window["stride"]).all()
        video = int(steps[0] // 100)
        assert steps[-1] // 100 == video < 3
        assert window["length"] == list(LENGTHS.values())[video]
        seen.add((video, int(window["stride"])))
    assert seen == {(0, 1), (0, 4), (0, 9), (1, 1), (1, 4), (2, 1)}


def test_a_stride_that_fits_no_video_says_what_is_needed(cache):
    LatentWindows(cache, 3, (1, 9), 0, length_of)
    with pytest.raises(ArtefactError, match="at least 21 latents, got 20"):
        LatentWindows(cache, 3, (1, 10), 0, length_of)


def test_held_out_windows_are_of_split_test_at_the_strides_that_fit_and_always_the_same(cache):
    windows, again = (held_out_windows(cache, 3, (1, 14, 15), 20, length_of) for _ in range(2))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(windows, again, strict=True) for key in a)
    assert {int(window["latent"][0, 0, 0, 0] // 100) for window in windows} == {3}
    assert {int(window["stride"]) for window in windows} == {1, 14}


def test_without_a_held_out_video_that_is_long_enough_there_are_no_held_out_windows(tmp_path, cache):
    assert held_out_windows(cache, 31, (1,), 20, length_of) == []
    assert held_out_windows(cached(tmp_path / "train", items("a.mp4")), 3, (1, 4), 20, length_of) == []
