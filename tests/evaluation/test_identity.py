"""Identity is all of it in real video of the built-in set, compressed too, and less by as much as one spoils."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lvdm.data.samples import SampleSet, VideoSample
from lvdm.data.sprites import RECIPE, Recipe, Scene, Sprite, draw, load_recipe, scene
from lvdm.data.video import read_frames, write_video
from lvdm.evaluation.identity import (
    FIRST,
    Identity,
    Kept,
    area,
    area_floor,
    area_gap,
    first_moment,
    kept,
    measure_identity,
    moment_after,
    seen,
)
from lvdm.evaluation.interval import share_interval
from lvdm.evaluation.long_videos import measure_long_videos
from lvdm.evaluation.metrics import IDENTITY_AFTER
from lvdm.evaluation.result import Result
from lvdm.fingerprints import sha256
from lvdm.params import load_params
from lvdm.workspace import Workspace, write_json
from tests.evaluation.conftest import PROJECT

SPOILT_FROM = 100


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(PROJECT / "builtin/recipe.yaml")


def scenes(recipe: Recipe, frames: int, companions: bool) -> list[Scene]:
    all_scenes = (replace(scene(recipe, i), frames=frames) for i in range(100))
    return [s for s in all_scenes if (s.companion is not None) == companions]


def drawn(recipe: Recipe, shown: Scene) -> np.ndarray:
    return np.concatenate(list(draw(recipe, shown)))


def kept_after(frames: int, videos: list[np.ndarray], recipe: Recipe) -> Kept:
    return kept([(first_moment(video, recipe), moment_after(frames, video, recipe)) for video in videos])


def test_every_sprite_of_real_long_videos_is_kept_through_compression(recipe, tmp_path):
    videos = []
    for i, shown in enumerate([*scenes(recipe, 1024, True)[:3], *scenes(recipe, 1024, False)[:1]]):
        write_video(tmp_path / f"{i}.mp4", draw(recipe, shown), recipe.fps)
        videos.append(read_frames(tmp_path / f"{i}.mp4", range(1024)))
    for frames in IDENTITY_AFTER:
        told = kept_after(frames, videos, recipe)
        assert told.sprites == told.kept >= 3
        assert told.share == 1


@pytest.mark.parametrize("background", ["dark", "light", "shaded"])
def test_every_colour_and_shape_is_told_wherever_it_is(recipe, background):
    for index in range(12):
        shown = replace(scene(recipe, index), frames=60, background=background, companion=None)
        for frame in drawn(recipe, shown)[::6]:
            assert seen(frame, recipe) == {shown.main.colour: shown.main.shape}


def recoloured(recipe: Recipe, shown: Scene) -> Scene:
    return replace(shown, main=replace(shown.main, colour=next(c for c in recipe.colours if c != shown.main.colour)))


def reshaped(recipe: Recipe, shown: Scene) -> Scene:
    return replace(shown, main=replace(shown.main, shape=next(s for s in recipe.shapes if s != shown.main.shape)))


def melted(recipe: Recipe, shown: Scene) -> Scene:
    x, y = shown.main.start
    return replace(shown, companion=replace(shown.main, start=(x + 0.8 * shown.main.radius, y)))


def vanished(recipe: Recipe, shown: Scene) -> Scene:
    return replace(shown, main=replace(shown.main, radius=0.0))


@pytest.mark.parametrize("spoil", [recoloured, reshaped, melted, vanished])
def test_a_sprite_that_is_spoilt_at_frame_100_is_lost_from_then_on(recipe, spoil: Callable[[Recipe, Scene], Scene]):
    videos = [drawn(recipe, shown) for shown in scenes(recipe, 256, False)[:4]]
    spoilt = drawn(recipe, spoil(recipe, scenes(recipe, 256, False)[0]))
    videos[0][SPOILT_FROM:] = spoilt[SPOILT_FROM:]
    assert kept_after(64, videos, recipe) == Kept(videos=4, sprites=4, kept=4)
    assert kept_after(256, videos, recipe) == Kept(videos=4, sprites=4, kept=3)


def blended(recipe: Recipe, shown: Scene) -> Scene:
    """Two colours in one blob that stays where it is: `seen` tells nothing of any of its frames."""
    still = replace(shown.main, start=(0.4, 0.5), speed=0.0)
    other = next(c for c in recipe.colours if c != still.colour)
    return replace(shown, main=still, companion=replace(still, colour=other, start=(0.4 + still.radius, 0.5)))


@pytest.mark.parametrize("good", [1, 0])
def test_of_a_video_that_begins_well_and_melts_beyond_recognition_nothing_is_kept(recipe, good):
    all_shown = scenes(recipe, 320, False)[:8]
    videos = [drawn(recipe, shown) for shown in all_shown]
    for video, shown in zip(videos[good:], all_shown[good:], strict=True):
        video[SPOILT_FROM:] = drawn(recipe, blended(recipe, shown))[SPOILT_FROM:]
    assert moment_after(256, videos[-1], recipe) is None
    told = kept_after(256, videos, recipe)
    assert told == Kept(videos=8, sprites=8, kept=good)
    assert told.share == good / 8


def test_the_later_moment_is_after_the_first_and_never_the_same_frames(recipe):
    shown = scenes(recipe, 300, False)[0]
    video = drawn(recipe, shown)
    video[FIRST:] = drawn(recipe, vanished(recipe, shown))[FIRST:]
    for frames in (64, 80, 300):
        assert kept_after(64, [video[:frames]], recipe) == Kept(1, 1, 0)


def test_of_two_sprites_the_one_that_vanishes_is_lost(recipe):
    shown = scenes(recipe, 256, True)[1]
    video, alone = drawn(recipe, shown), drawn(recipe, replace(shown, companion=None))
    assert kept_after(256, [video], recipe) == Kept(1, 2, 2)
    video[SPOILT_FROM:] = alone[SPOILT_FROM:]
    assert kept_after(256, [video], recipe) == Kept(1, 2, 1)


def test_frames_where_sprites_touch_tell_nothing_and_a_video_of_such_frames_does_not_count(recipe):
    main = Sprite("red", "circle", 0.15, (0.4, 0.5), 0.0, "slowly", 0.0, 0.0)
    shown = Scene(64, "dark", main, replace(main, colour="blue", start=(0.6, 0.5)), companion_in_front=True)
    video = drawn(recipe, shown)
    assert seen(video[0], recipe) is None
    assert kept_after(64, [video], recipe) == Kept(0, 0, 0, untold=1)


def test_a_sprite_without_a_shape_has_none_to_keep_and_without_sprites_nothing_is_kept(recipe):
    shapeless = drawn(recipe, melted(recipe, scenes(recipe, 64, False)[0]))
    assert kept_after(64, [shapeless], recipe) == Kept(videos=1, sprites=1, kept=0)
    empty = np.full((64, 64, 64, 3), 24, dtype=np.uint8)
    assert kept_after(64, [empty], recipe).share == 0


def test_noise_is_no_sprite(recipe):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not seen(noise, recipe)


def test_the_area_is_what_sprites_cover(recipe):
    main = Sprite("red", "circle", 0.2, (0.5, 0.5), 0.0, "slowly", 0.0, 0.0)
    shown = Scene(1, "shaded", main, replace(main, colour="blue", radius=0.1, start=(0.2, 0.2)), True)
    assert area(drawn(recipe, shown)[0], recipe) == pytest.approx(np.pi * (0.2**2 + 0.1**2), abs=0.004)


def test_the_area_gap_is_the_distance_that_area_must_be_moved():
    assert area_gap([[0.1, 0.1]], [[0.3]]) == pytest.approx(20)
    assert area_gap([[0.1], [0.3]], [[0.3, 0.3, 0.3, 0.3], [0.1]]) == pytest.approx(0)
    assert area_floor([[0.1], [0.1], [0.4]], videos=1) == pytest.approx((15 + 15 + 30) / 3)


def test_what_is_measured_becomes_metrics_with_real_video_beside(recipe):
    shown = scenes(recipe, 144, False)[:4]
    real = [drawn(recipe, one) for one in shown]
    fake = [drawn(recipe, shown[0]), np.concatenate([real[1][:50], drawn(recipe, vanished(recipe, shown[1]))[50:]])]
    identity = measure_identity(fake, real, real, recipe)
    result = identity.added_to(Result({}, {}, {}, {}), ["identity_256", "fd_tn2"])
    assert (result.metrics, result.floor) == ({"identity_64": 0.5}, {"identity_64": 1.0})
    assert result.measured["sprites_64"] == {"fake": 2.0, "real": 4.0}
    assert result.measured["area_gap_128"]["fake"] > 0
    assert result.not_available == {"identity_256": "needs the built-in set, and long videos of at least 256 frames"}


def test_videos_that_begin_without_sprites_apart_are_not_available_with_that_as_the_reason(recipe):
    shown = scenes(recipe, 144, False)[0]
    identity = measure_identity([drawn(recipe, blended(recipe, shown))], [drawn(recipe, shown)], [], recipe)
    result = identity.added_to(Result({}, {}, {}, {}), ["identity_64"])
    assert result.metrics == {}
    assert "begin with sprites apart" in result.not_available["identity_64"]


def test_videos_of_which_one_cannot_tell_are_counted_and_keep_nobody_from_being_ranked(recipe):
    shown = scenes(recipe, 144, False)[0]
    good, unclear = drawn(recipe, shown), drawn(recipe, blended(recipe, shown))
    told, less_told = (
        measure_identity(fake, [good], [], recipe).added_to(Result({}, {}, {}, {}), [])
        for fake in ([good, good], [good, unclear])
    )
    estimate, less = (result.estimates["identity_64"] for result in (told, less_told))
    assert (less.n_fake, less.value) == (2, 1) and less.comparable == estimate.comparable
    assert (less.interval, estimate.interval) == (share_interval(1.0, 1), share_interval(1.0, 2))
    assert [result.measured["untold_64"] for result in (told, less_told)] == [
        {"fake": 0.0, "real": 0.0},
        {"fake": 1.0, "real": 0.0},
    ]


def test_an_area_that_cannot_be_measured_is_not_available_with_its_reason(recipe):
    shown = drawn(recipe, scenes(recipe, 144, False)[0])
    missing = measure_identity([shown], [shown], [shown], recipe).added_to(Result({}, {}, {}, {}), [])
    assert "held-out videos" in missing.not_available["area_gap"]
    measured = measure_identity([shown], [shown], [shown] * 2, recipe).added_to(Result({}, {}, {}, {}), [])
    assert "area_gap" not in measured.not_available


def test_it_is_measured_of_the_built_in_set_alone(recipe, tmp_path):
    params, workspace = load_params(PROJECT / "params.yaml"), Workspace(tmp_path)
    for i, shown in enumerate(islice(scenes(recipe, 144, False), 3)):
        write_video(workspace.videos / f"{i}.mp4", draw(recipe, shown), 8.0)
    folder, sample = workspace.samples("x"), VideoSample("long", 0, 144, 0, None)
    write_video(folder / sample.file, draw(recipe, scenes(recipe, 144, False)[5]), 8.0)
    write_json(folder / "index.json", [vars(sample)])
    paths = [str(Path("artifacts/videos") / f"{i}.mp4") for i in range(3)]
    manifest = pd.DataFrame({"path": paths, "frames": 144, "split": "test", "label": "a"})
    manifest["checksum"] = [sha256(workspace.root / path) for path in paths]
    assert measure_long_videos(SampleSet(folder), manifest, params, workspace).identity.kept == {}
    (workspace.videos / RECIPE).write_bytes((PROJECT / "builtin" / RECIPE).read_bytes())
    found = measure_long_videos(SampleSet(folder), manifest, params, workspace).identity
    assert isinstance(found, Identity)
    assert found.kept == {64: (Kept(1, 1, 1), Kept(3, 3, 3))}
    assert set(found.area_gaps) == {128}
