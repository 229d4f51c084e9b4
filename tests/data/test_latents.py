from __future__ import annotations

import json
import pickle

import pytest
import torch

from lvdm.data.latents import CachedVideo, Entry, LatentCache, LatentWindows, held_out_windows, write_latents
from lvdm.errors import ArtefactError

LENGTHS = {"b c/ü.mp4": 20, "a.mp4": 9, "short.mp4": 3, "held out.mp4": 30}
NO_CAPTION = "short.mp4"
LABELS = {"b c/ü.mp4": "walk", "a.mp4": None, "short.mp4": "run", "held out.mp4": "swim"}


def latent(name: str) -> torch.Tensor:
    """Every value says which video and which latent it is of."""
    video = list(LENGTHS).index(name)
    steps = torch.arange(LENGTHS[name]) + 100.0 * video
    return steps[:, None, None, None].expand(-1, 2, 3, 4)


def items(*names: str):
    for name in names or LENGTHS:
        caption = None if name == NO_CAPTION else f"it is {name}"
        yield CachedVideo(name, LABELS[name], caption, "test" if name == "held out.mp4" else "train", latent(name))


@pytest.fixture
def cache(tmp_path):
    write_latents(tmp_path / "latents", items(), shard_megabytes=1, made_by="abc")
    return LatentCache(tmp_path / "latents")


def test_what_is_written_is_read_back(cache):
    assert cache.shape == (2, 3, 4)
    assert cache.made_by == "abc"
    assert [video.id for video in cache.split("test")] == ["held out.mp4"]
    for video in cache.videos:
        assert (video.caption is None) == (video.id == NO_CAPTION)
        assert torch.equal(cache.read(video), latent(video.id))
        assert torch.equal(cache.read(video, 1, 3), latent(video.id)[1:3])


def test_labels_are_those_of_split_train(cache):
    assert cache.labels == ("run", "walk")


def test_large_latents_go_to_several_shards(tmp_path):
    large = (CachedVideo(str(i), None, None, "train", torch.full((5, 4, 128, 128), float(i))) for i in range(3))
    write_latents(tmp_path / "latents", large, shard_megabytes=2, made_by="")
    cache = LatentCache(tmp_path / "latents")
    assert len(cache.shards) == 2
    assert [cache.read(video).mean() for video in cache.videos] == [0, 1, 2]


def test_a_writer_that_dies_leaves_what_was_there_before(tmp_path, cache):
    def dying():
        yield from items("a.mp4")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_latents(tmp_path / "latents", dying(), shard_megabytes=1, made_by="")
    assert [path.name for path in tmp_path.iterdir()] == ["latents"]
    assert len(LatentCache(tmp_path / "latents").videos) == 4


def test_no_videos_and_mixed_shapes_are_refused(tmp_path):
    other = CachedVideo("x", None, None, "train", torch.zeros(4, 2, 3, 5))
    for bad in ([], [*items("a.mp4"), other]):
        with pytest.raises(ArtefactError, match="one shape"):
            write_latents(tmp_path / "latents", bad, shard_megabytes=1, made_by="")
        assert list(tmp_path.iterdir()) == []


def test_a_damaged_shard_is_found_and_named(cache):
    cache.verify()
    shard = cache.folder / "00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"00000\.safetensors: damaged"):
        cache.verify()


def test_a_cache_of_a_version_without_captions_names_the_stage(cache):
    index = json.loads((cache.folder / "index.json").read_text())
    for video in index["videos"]:
        del video["caption"]
    (cache.folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ArtefactError, match=r"of another version; run `lvdm encode_latents` again"):
        LatentCache(cache.folder)


def test_no_cache_names_the_stage(tmp_path):
    with pytest.raises(ArtefactError, match="lvdm encode_latents"):
        LatentCache(tmp_path)


def test_a_cache_that_is_open_can_be_pickled(cache):
    cache.read(cache.videos[0])
    again = pickle.loads(pickle.dumps(cache))
    assert torch.equal(again.read(again.videos[0]), latent("b c/ü.mp4"))


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
    write_latents(tmp_path / "train", items("a.mp4"), shard_megabytes=1, made_by="abc")
    assert held_out_windows(LatentCache(tmp_path / "train"), 3, (1, 4), 20, length_of) == []
