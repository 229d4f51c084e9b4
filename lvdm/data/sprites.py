"""The built-in set: videos of moving shapes with exact labels and captions, rendered from a recipe.

All numbers are in builtin/recipe.yaml. Once rendered, the videos are read like anybody's.
Not here: anything that knows, after that, that they were rendered.
"""

from __future__ import annotations

import csv
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field

from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.video import write_video
from lvdm.errors import SourceError
from lvdm.progress import progress
from lvdm.section import Count, Fraction, Section, Whole, parse, read_yaml

RECIPE = "recipe.yaml"
CHUNK_FRAMES = 128
SECONDS_A_VIDEO = 600.0

Channel = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Channel, Channel, Channel]
Shape = Literal["circle", "square", "triangle"]

# Outward normals of a convex shape's sides and their distance from its centre, in radii; y points down.
SIDES: dict[Shape, tuple[float, tuple[tuple[float, float], ...]]] = {
    "square": (0.85, ((1, 0), (-1, 0), (0, 1), (0, -1))),
    "triangle": (0.6, ((0, 1), (math.sqrt(0.75), -0.5), (-math.sqrt(0.75), -0.5))),
}


class Recipe(Section):
    num_videos: Count
    frames: Count
    num_long_videos: Whole
    long_frames: Count
    size: Annotated[int, Field(ge=16, multiple_of=2)]
    fps: Annotated[float, Field(gt=0)]
    seed: Whole
    test_fraction: Fraction
    shapes: Annotated[tuple[Shape, ...], Field(min_length=1)]
    colours: Annotated[dict[str, Rgb], Field(min_length=2)]
    radius: tuple[Fraction, Fraction]
    speeds: Annotated[dict[str, tuple[float, float]], Field(min_length=1)]
    speed_change: Fraction
    companion_fraction: Fraction
    backgrounds: Annotated[dict[str, tuple[Rgb, Rgb]], Field(min_length=1)]


@dataclass(frozen=True)
class Sprite:
    colour: str
    shape: Shape
    radius: float  # sides of the picture, as all lengths here
    start: tuple[float, float]
    heading: float  # radians; 0 is right, a quarter turn is down
    pace: str
    speed: float  # mean, sides a second
    phase: float

    @property
    def label(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One video before it is drawn."""

    frames: int
    background: str
    main: Sprite
    companion: Sprite | None
    companion_in_front: bool

    @property
    def caption(self) -> str:
        direction = ("right", "down", "left", "up")[round(self.main.heading / (math.pi / 2)) % 4]
        caption = f"a {self.main.label} moves {direction} {self.main.pace} over a {self.background} background"
        if self.companion is None:
            return caption
        return f"{caption}, a {self.companion.label} {'in front of' if self.companion_in_front else 'behind'} it"


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ParamsError: an unknown key or a wrong value; one line names the field.
    """
    return parse(Recipe, read_yaml(path), file=path.name)


def render(recipe: Recipe, folder: Path, workers: int) -> None:
    """Renders all videos of the recipe into `folder`, with captions.csv (path, label, caption, split) beside them.

    Raises:
        SourceError: a renderer died.
    """
    indices = range(recipe.num_videos + recipe.num_long_videos)
    work = functools.partial(_render_one, recipe, folder)
    rendered = bounded_map(work, indices, workers, lambda _: SECONDS_A_VIDEO)
    for index, outcome in progress(rendered, len(indices), "rendering", "video"):
        if isinstance(outcome, Lost):
            raise SourceError(f"rendering video {index}: {outcome.reason}: {outcome.detail}", remedy="run this again")
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "caption", "split"])
        for index in indices:
            shown = scene(recipe, index)
            table.writerow([_name(index), shown.main.label, shown.caption, _split(recipe, index)])


def scene(recipe: Recipe, index: int) -> Scene:
    """What video `index` shows: a function of the recipe's seed and the index alone. Labels take turns."""
    random = np.random.default_rng([recipe.seed, index])
    labels = list(itertools.product(recipe.colours, recipe.shapes))
    main = _sprite(recipe, random, *labels[index % len(labels)])
    others = [label for label in labels if label[0] != main.colour]
    companion = _sprite(recipe, random, *others[random.integers(len(others))])
    return Scene(
        frames=recipe.frames if index < recipe.num_videos else recipe.long_frames,
        background=str(random.choice(list(recipe.backgrounds))),
        companion=companion if random.random() < recipe.companion_fraction else None,
        companion_in_front=bool(random.random() < 0.5),
        main=main,
    )


def draw(recipe: Recipe, scene: Scene) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The frames of a scene, in chunks."""
    sprites = [scene.main] if scene.companion is None else [scene.companion, scene.main]
    if scene.companion_in_front:
        sprites.reverse()
    paths = [_path(recipe, sprite, scene.frames) for sprite in sprites]
    top, bottom = np.array(recipe.backgrounds[scene.background], dtype=np.float32)
    background = top + (bottom - top) * np.linspace(0, 1, recipe.size, dtype=np.float32)[:, None, None]
    for start in range(0, scene.frames, CHUNK_FRAMES):
        chunk = [path[start : start + CHUNK_FRAMES] for path in paths]
        picture = np.broadcast_to(background, (len(chunk[0]), recipe.size, recipe.size, 3))
        for sprite, path in zip(sprites, chunk, strict=True):
            cover = coverage(sprite.shape, sprite.radius, path, recipe.size)[..., None]
            picture = picture + cover * (np.array(recipe.colours[sprite.colour], dtype=np.float32) - picture)
        yield np.rint(picture).astype(np.uint8)


def _sprite(recipe: Recipe, random: np.random.Generator, colour: str, shape: Shape) -> Sprite:
    pace = str(random.choice(list(recipe.speeds)))
    radius = random.uniform(*recipe.radius)
    x, y = random.uniform(radius, 1 - radius, 2)
    heading, phase = random.uniform(0, 2 * np.pi, 2)
    return Sprite(colour, shape, radius, (x, y), heading, pace, random.uniform(*recipe.speeds[pace]), phase)


def _path(recipe: Recipe, sprite: Sprite, frames: int) -> Float[np.ndarray, "t 2"]:
    """Where the centre is: straight at a swinging speed, folded back at the walls."""
    seconds = np.arange(frames) / recipe.fps
    way = sprite.speed * (seconds - recipe.speed_change * (np.cos(seconds + sprite.phase) - np.cos(sprite.phase)))
    straight = np.array(sprite.start) + way[:, None] * [np.cos(sprite.heading), np.sin(sprite.heading)]
    room = 1 - 2 * sprite.radius
    folded = np.abs((straight - sprite.radius + room) % (2 * room) - room)
    return sprite.radius + folded


def coverage(shape: Shape, radius: float, path: Float[np.ndarray, "t 2"], size: int) -> Float[np.ndarray, "t s s"]:
    """How much of each pixel a shape covers, from the signed distance to its edge; `path` is of its centres, (x, y).

    Lengths are in sides of the picture, which has `size` pixels.
    """
    pixels = (np.arange(size, dtype=np.float32) + 0.5) / size
    centre = path.astype(np.float32)[:, :, None]
    x, y = (pixels - centre[:, 0])[:, None, :], (pixels - centre[:, 1])[:, :, None]
    if shape == "circle":
        distance = np.hypot(x, y) - radius
    else:
        reach, normals = SIDES[shape]
        sides = (np.float32(a) * x + np.float32(b) * y for a, b in normals)
        distance = functools.reduce(np.maximum, sides) - np.float32(reach * radius)
    return np.clip(0.5 - distance * size, 0, 1).astype(np.float32)


def _render_one(recipe: Recipe, folder: Path, index: int) -> None:
    write_video(folder / _name(index), draw(recipe, scene(recipe, index)), recipe.fps)


def _name(index: int) -> str:
    return f"{index:05d}.mp4"


def _split(recipe: Recipe, index: int) -> str:
    turn = index // (len(recipe.colours) * len(recipe.shapes))  # the how-manieth of its label
    held_out = math.floor((turn + 1) * recipe.test_fraction) > math.floor(turn * recipe.test_fraction)
    return "test" if held_out or index >= recipe.num_videos else "train"
