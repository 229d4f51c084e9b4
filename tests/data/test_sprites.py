from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lvdm.data.inspection import probe
from lvdm.data.sprites import Recipe, draw, load_recipe, render, scene
from lvdm.errors import ParamsError, RefusedBySystem

from .footage import files_of_at_most

RECIPE = Path(__file__).parents[2] / "builtin" / "recipe.yaml"


def small(**changes: object) -> Recipe:
    shorter = {"num_videos": 14, "frames": 8, "num_long_videos": 1, "long_frames": 130}
    return load_recipe(RECIPE).model_copy(update=shorter | changes)


def frames_of(recipe: Recipe, index: int) -> np.ndarray:
    return np.concatenate(list(draw(recipe, scene(recipe, index))))


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        render(small(), tmp_path / name, workers=2)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [*(f"{i:05d}.mp4" for i in range(15)), "captions.csv"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert probe(tmp_path / "a" / "00003.mp4").frames == 8
    assert probe(tmp_path / "a" / "00014.mp4").frames == 130


def test_a_longer_set_begins_with_the_shorter_one():
    np.testing.assert_array_equal(frames_of(small(), 5), frames_of(small(num_videos=100), 5))


def test_another_seed_gives_other_videos():
    assert not np.array_equal(frames_of(small(), 5), frames_of(small(seed=1), 5))


def test_everything_moves_and_stays_in_the_picture():
    recipe = small(companion_fraction=0.0, frames=64)
    for index in range(12):
        video = frames_of(recipe, index).astype(int)
        assert (video[1:] != video[:-1]).any(axis=(1, 2, 3)).all()
        corners = video[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == corners[:1]).all()


def test_the_label_is_the_colour_that_one_sees():
    recipe = small(companion_fraction=0.0)
    for index in range(12):
        main = scene(recipe, index).main
        colour = np.array(recipe.colours[main.colour])
        near = (np.abs(frames_of(recipe, index)[0].astype(int) - colour) < 3).all(axis=-1)
        assert near.mean() > 0.02


def test_the_sprite_in_front_hides_the_other():
    recipe = small(num_videos=2000)
    met = 0
    for index in range(300):
        both = scene(recipe, index)
        if both.companion is None or met == 5:
            continue
        x, y = (np.array(both.main.start) * recipe.size).astype(int)
        apart = np.hypot(*(np.array(both.main.start) - both.companion.start))
        if apart < 0.3 * both.main.radius:
            front = both.companion if both.companion_in_front else both.main
            assert np.abs(frames_of(recipe, index)[0, y, x].astype(int) - recipe.colours[front.colour]).max() < 3
            met += 1
    assert met > 0


def test_long_videos_and_a_fifth_of_each_label_are_held_out(tmp_path):
    recipe = small(num_videos=60, frames=1, long_frames=1, num_long_videos=2)
    render(recipe, tmp_path, workers=1)
    table = pd.read_csv(tmp_path / "captions.csv")
    assert (table["split"][60:] == "test").all()
    assert (table[:60].groupby("label")["split"].apply(lambda split: (split == "test").mean()) == 0.2).all()
    assert all(row.label in row.caption for row in table.itertuples())


def test_a_full_disk_has_its_own_remedy(tmp_path):
    with (
        files_of_at_most(1000),
        pytest.raises(RefusedBySystem, match="File too large; raise the limit on the size of a"),
    ):
        render(small(num_videos=2), tmp_path, workers=1)


def test_a_recipe_with_an_unknown_key_is_one_line(tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**yaml.safe_load(RECIPE.read_text()), "colors": {}}))
    with pytest.raises(ParamsError, match=r"recipe\.yaml: colors: unknown key"):
        load_recipe(tmp_path / "recipe.yaml")
