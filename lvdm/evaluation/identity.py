"""Whether the sprites of a long video stay what they are: colour and shape after 64, 256 and 1,024 frames.

It knows the colours, shapes, sizes and backgrounds of a recipe (lvdm/data/sprites.py), so it means something on the
built-in set alone. All is measured from the frames: nothing is known of how they were made. Frames in which sprites
touch do not count. In real video every sprite stays what it is: the share is 1, and what is missing to 1 was lost.
Not here: reading videos (long_videos.py), and drift for any data (drift.py).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.stats import wasserstein_distance

from lvdm.data.frames import Video
from lvdm.data.sprites import Recipe, Shape, coverage
from lvdm.evaluation.interval import share_interval
from lvdm.evaluation.metrics import IDENTITY_AFTER, METRICS
from lvdm.evaluation.result import Estimate, Result, better
from lvdm.progress import progress

FIRST, LATER = 48, 96  # frames within which one looks for a moment: from the start, and from a later frame on
APART = 12  # frames with sprites apart make a moment: with fewer, nothing is said of it
THERE = 0.25  # of these: a sprite seen in fewer is not there; a sprite wholly behind another is soon seen again

OPAQUE = 0.5  # share of a pixel that a sprite covers, to be a pixel of its
STRAY = 0.5  # of the way from background to colour: a pixel farther off that line is of no colour of the recipe
SMALLEST = 0.5  # of the area of the recipe's smallest sprite: smaller specks are none
PURE = 0.9  # of the pixels of a sprite have its colour; with fewer, two sprites touch
MELTED = 0.2  # of a sprite's area lie outside of the nearest shape, or miss in it: it has no shape of the recipe

BLOCK = 128  # frames
BLOCKS = (1, 2, 4, 8)  # the 1st .. the 8th, as in the first trial
AREA_EVERY = 16  # frames

Frame = UInt8[np.ndarray, "s s 3"]
Sprites = dict[str, Shape | None]  # by colour; None: of no shape of the recipe


@dataclass(frozen=True)
class Kept:
    """Of the sprites that `videos` began with, how many are what they were; of `untold` ones one cannot tell."""

    videos: int
    sprites: int
    kept: int
    untold: int = 0

    @property
    def share(self) -> float:
        """0 without a sprite: nothing was kept."""
        return self.kept / max(self.sprites, 1)


@dataclass(frozen=True)
class Identity:
    """What was measured, by the number of frames from the start; empty where the videos are no sprites or too short."""

    kept: Mapping[int, tuple[Kept, Kept]]  # samples, real
    area_gaps: Mapping[int, float]  # of the samples, in the `BLOCK` frames up to there
    area_floor: float

    def added_to(self, result: Result, asked: Sequence[str]) -> Result:
        """The result with these numbers, and of the metrics `asked` for that are not among them what they need."""
        told = {n: pair for n, pair in self.kept.items() if all(side.videos for side in pair)}
        estimates = {f"identity_{n}": _estimate(f"identity_{n}", *pair) for n, pair in told.items()}
        counted = {
            f"{what}_{n}": {"fake": float(getattr(fake, what)), "real": float(getattr(real, what))}
            for n, (fake, real) in told.items()
            for what in ("sprites", "untold")
        }
        areas = {f"area_gap_{n}": {"fake": gap, "real": self.area_floor} for n, gap in self.area_gaps.items()}
        needs = {
            f"identity_{n}": "needs long videos, and held-out ones as long, that begin with sprites apart"
            if n in self.kept
            else f"needs the built-in set, and long videos of at least {frames_for(n)} frames"
            for n in IDENTITY_AFTER
        }
        missing = {key: need for key, need in needs.items() if key in asked and key not in estimates}
        if self.kept and not self.area_gaps:
            missing["area_gap"] = (
                f"needs long videos of at least {BLOCK} frames, and fewer than there are held-out videos"
            )
        return replace(
            result,
            estimates={**result.estimates, **estimates},
            measured={**result.measured, **counted, **areas},
            not_available={**result.not_available, **missing},
        )


def _estimate(key: str, fake: Kept, real: Kept) -> Estimate:
    return Estimate(
        value=fake.share,
        floor=real.share,
        interval=share_interval(fake.share, fake.videos),
        n_real=real.videos + real.untold,
        n_fake=fake.videos + fake.untold,
        floor_n=real.videos + real.untold,
        better=better(key),
        extractor=METRICS[key].features,
        sha256="none",
    )


def measure_identity(fake: Sequence[Video], real: Sequence[Video], crowd: Sequence[Video], recipe: Recipe) -> Identity:
    """Sprites kept in `fake` and in `real` videos, and areas against `crowd`: real videos of any length, and many.

    As far as all of `fake` reach; `real` ones that end before say nothing. Areas only with more of `crowd` than `fake`.
    """
    reach = min(map(len, fake))
    afters = [n for n in IDENTITY_AFTER if frames_for(n) <= reach]
    crowd = crowd if len(crowd) > len(fake) else []
    ends = [BLOCK * block for block in BLOCKS if crowd and BLOCK * block <= reach]
    videos = [*fake, *real, *crowd]
    in_turn = progress(videos, len(videos), "identity", "video")
    of_fake = [_look(video, afters, ends, recipe) for video in itertools.islice(in_turn, len(fake))]
    of_real = [_look(video, afters, [], recipe) for video in itertools.islice(in_turn, len(real))]
    of_crowd = [_areas(video, range(0, len(video), AREA_EVERY), recipe) for video in in_turn]
    return Identity(
        {n: (_kept_after(n, of_fake), _kept_after(n, of_real)) for n in afters},
        {end: area_gap([video.areas[end] for video in of_fake], of_crowd) for end in ends},
        area_floor(of_crowd, len(fake)) if crowd else math.nan,
    )


@dataclass(frozen=True)
class _Looked:
    """What a video shows: at first, after so many frames if it is long enough, and the areas in blocks by their end."""

    first: Sprites | None
    later: Mapping[int, Sprites | None]
    areas: Mapping[int, Sequence[float]]


def _look(video: Video, afters: Sequence[int], ends: Sequence[int], recipe: Recipe) -> _Looked:
    return _Looked(
        first_moment(video, recipe),
        {n: moment_after(n, video, recipe) for n in afters if len(video) >= frames_for(n)},
        {end: _areas(video, range(end - BLOCK, end, AREA_EVERY), recipe) for end in ends},
    )


def frames_for(after: int) -> int:
    """How long a video must be for a moment after so many frames that shares no frame with the first."""
    return max(after, FIRST + LATER)


def seen(frame: Frame, recipe: Recipe) -> Sprites | None:
    """The sprites of a frame, of one colour the largest; None where two touch."""
    cover = _cover(frame, recipe)
    components, _ = ndimage.label(cover.max(axis=0) >= OPAQUE, structure=np.ones((3, 3)))
    found: dict[str, tuple[int, Shape | None]] = {}
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        mask = components == number
        pixels = int(mask[box].sum())
        if pixels < SMALLEST * _smallest(recipe) * mask.size:
            continue
        ((index, count),) = Counter(cover.argmax(axis=0)[mask].tolist()).most_common(1)
        if count < PURE * pixels:
            return None
        colour = list(recipe.colours)[index]
        if pixels > found.get(colour, (0, None))[0]:
            found[colour] = (pixels, _shape(mask, recipe))
    return {colour: shape for colour, (_, shape) in found.items()}


def first_moment(video: Video, recipe: Recipe) -> Sprites | None:
    """What a video begins with, each sprite of the shape that it has most often; None if sprites hardly part."""
    return _moment(range(min(FIRST, len(video))), video, recipe)


def moment_after(frames: int, video: Video, recipe: Recipe) -> Sprites | None:
    """What there is from that frame on, and if the video ends too soon also just before; None if sprites hardly part.

    No frame is looked at that is looked at for the first moment.
    """
    ahead = range(frames - 1, min(frames - 1 + LATER, len(video)))
    behind = range(frames - 2, max(FIRST, len(video) - LATER) - 1, -1)
    return _moment([*ahead, *behind], video, recipe)


def _moment(indices: Sequence[int], video: Video, recipe: Recipe) -> Sprites | None:
    apart = (sprites for i in indices if (sprites := seen(video[i], recipe)) is not None)
    moment = list(itertools.islice(apart, APART))
    if len(moment) < APART:
        return None
    shapes = {colour: [sprites[colour] for sprites in moment if colour in sprites] for colour in recipe.colours}
    return {c: Counter(s).most_common(1)[0][0] for c, s in shapes.items() if len(s) >= THERE * APART}


def kept(moments: Sequence[tuple[Sprites | None, Sprites | None]]) -> Kept:
    """Over pairs of the first moment of a video and a later one; without a later one nothing is kept.

    A sprite without a shape at first has none to keep.
    """
    told = [(first, later or {}) for first, later in moments if first is not None]
    return Kept(
        videos=len(told),
        sprites=sum(len(first) for first, _ in told),
        kept=sum(s is not None and later.get(c) == s for first, later in told for c, s in first.items()),
        untold=len(moments) - len(told),
    )


def area(frame: Frame, recipe: Recipe) -> float:
    """The share of the picture that sprites cover."""
    return float((_cover(frame, recipe).max(axis=0) >= OPAQUE).mean())


def area_gap(fake: Sequence[Sequence[float]], real: Sequence[Sequence[float]]) -> float:
    """100 times the Wasserstein distance of the areas in some videos to those in others.

    Every video counts the same, however many of its frames are given.
    """
    values, weights = zip(*map(_pooled, (fake, real)), strict=True)
    return 100 * float(wasserstein_distance(*values, *weights))


def area_floor(real: Sequence[Sequence[float]], videos: int) -> float:
    """The mean `area_gap` of so many real videos at a time to all others; there are more than so many."""
    return mean(
        area_gap(real[start : start + videos], [*real[:start], *real[start + videos :]])
        for start in range(0, len(real) - videos + 1, videos)
    )


def _kept_after(frames: int, videos: Sequence[_Looked]) -> Kept:
    return kept([(video.first, video.later[frames]) for video in videos if frames in video.later])


def _areas(video: Video, frames: range, recipe: Recipe) -> list[float]:
    return [area(video[i], recipe) for i in frames]


def _pooled(videos: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [a for video in videos for a in video], [1 / len(video) for video in videos for _ in video]


def _cover(frame: Frame, recipe: Recipe) -> Float[np.ndarray, "k s s"]:
    """How much of each pixel the nearest colour covers, by its place between ground and colour; other colours: 0."""
    pixels, rows = frame.astype(np.float32), np.linspace(0, 1, len(frame), dtype=np.float32)[:, None, None]
    grounds = [top + (bottom - top) * rows for top, bottom in np.array(list(recipe.backgrounds.values()), np.float32)]
    ground = min(grounds, key=lambda g: float(np.median(np.abs(pixels - g)[::2, ::2])))
    off = pixels - ground
    ways = np.array(list(recipe.colours.values()), np.float32)[:, None, None] - ground  # k s 1 3
    lengths = (ways**2).sum(axis=-1)
    share = np.clip((off * ways).sum(axis=-1) / lengths, 0, 1)
    stray = np.sqrt(((off - share[..., None] * ways) ** 2).sum(axis=-1) / lengths)
    nearest = stray.argmin(axis=0) == np.arange(len(ways))[:, None, None]
    return np.where(nearest & (stray <= STRAY), share, 0)


def _shape(mask: Bool[np.ndarray, "s s"], recipe: Recipe) -> Shape | None:
    """The shape that differs least from the mask, drawn in the same place and of the same area."""
    size, pixels = len(mask), int(mask.sum())
    y, x = np.nonzero(mask)
    centre = np.array([[x.mean() + 0.5, y.mean() + 0.5]]) / size
    differs = {}
    for shape in recipe.shapes:
        radius = np.sqrt(pixels / mask.size / _unit_area(shape))
        drawn = coverage(shape, float(radius), centre, size)[0] >= OPAQUE
        differs[shape] = np.count_nonzero(drawn != mask) / pixels
    shape = min(recipe.shapes, key=lambda s: differs[s])
    return shape if differs[shape] <= MELTED else None


@functools.cache
def _unit_area(shape: Shape) -> float:
    """The area of a shape of radius 1."""
    return float(coverage(shape, 0.25, np.array([[0.5, 0.5]]), 512).mean()) / 0.25**2


def _smallest(recipe: Recipe) -> float:
    """The area of the recipe's smallest sprite, in pictures."""
    return min(map(_unit_area, recipe.shapes)) * recipe.radius[0] ** 2
