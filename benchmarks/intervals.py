"""How often the interval beside a distance holds the number that it is to hold: over many sets of samples of one model.

    python -m benchmarks.intervals                      # drawn features: Gaussian ones, and skewed ones with tails
    python -m benchmarks.intervals --workspace .        # features of the real clips of a folder that is validated
    python -m benchmarks.intervals --sets 40 --sizes 32

A set has n samples of the model, the same n real clips lie against all, and what is to be held is the mean over all
sets. Drawn features of a model differ from real ones by scale (1.3) and mean (0.2 spreads), those of clips by a factor
of 1.1. The mean of bootstraps is of the first set, clips drawn again.
Not here: the intervals themselves (lvdm/evaluation/interval.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor

from lvdm.data.manifest import read_manifest
from lvdm.data.video import read_frames
from lvdm.evaluation.distances import distance
from lvdm.evaluation.features import load_extractor
from lvdm.evaluation.interval import groups_of, interval
from lvdm.evaluation.metrics import METRICS, Metric
from lvdm.workspace import Workspace

FRECHET = METRICS["fd_tn2"]
OF_CLIPS = ("fd_tn2", "fd_efflite0", "kd_efflite0", "motion_gap")
SIZES = (32, 64, 256)
CLIP, CLIPS_A_VIDEO = 16, 3  # frames; clips as far apart as the video allows
SCALE, SHIFT, OF_CLIPS_SCALE = 1.3, 0.2, 1.1
BOOTSTRAPS, MANY = 20, 4096

Draw = Callable[[int, torch.Generator], Tensor]  # so many features of a model, "n d"


@dataclass(frozen=True)
class Held:
    """Over sets of samples: their mean distance, how far they spread, and how many intervals hold the mean."""

    mean: float
    spread: float
    share: float
    bootstraps: float


def gaussian(features: int, spectrum: str) -> Draw:
    """Independent features, all as wide, or the k-th with the variance 1 / k."""
    widths = torch.ones(features) if spectrum == "flat" else torch.arange(1, features + 1) ** -0.5
    return lambda n, generator: widths * torch.randn(n, features, generator=generator)


def skewed(sigma: float, features: int) -> Draw:
    """Rectified normal ones, a whole sample of which is wider or narrower: by exp of a normal number times sigma."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        width = (sigma * torch.randn(n, 1, generator=generator)).exp()
        return width * torch.randn(n, features, generator=generator).relu()

    return draw


def differing(draw: Draw) -> Draw:
    """A model of what `draw` draws, at another scale and mean."""
    shift = SHIFT * draw(MANY, torch.Generator().manual_seed(0)).std(dim=0)
    return lambda n, generator: SCALE * draw(n, generator) + shift


def held(metric: Metric, real: Tensor, draw: Draw, sets: int, generator: torch.Generator) -> Held:
    """Draws `sets` sets as large as the real one."""
    n, values, intervals = len(real), [], []
    fakes = [draw(n, generator) for _ in range(sets)]
    for fake in fakes:
        found = distance(metric, real[:, None], fake[:, None], groups_of(n))
        values.append(found.value)
        intervals.append(interval(found.value, found.without))
    again = (fakes[0][torch.randint(n, (n,), generator=generator)] for _ in range(BOOTSTRAPS))
    bootstraps = mean(distance(metric, real[:, None], fake[:, None]).value for fake in again)
    centre = mean(values)
    share = mean(bool(i and i[0] <= centre <= i[1]) for i in intervals)
    return Held(centre, stdev(values), share, bootstraps)


def clips_of(workspace: Workspace, features: Sequence[str]) -> dict[str, Tensor]:
    """Features of clips of the training videos, "n d" each."""
    extractors = {name: load_extractor(name, workspace, workspace.machine.device) for name in features}
    found: dict[str, list[Tensor]] = {name: [] for name in features}
    manifest = read_manifest(workspace.validated)
    for video in manifest[manifest["split"] == "train"].itertuples():
        last = int(video.frames) - CLIP
        for start in sorted({last * i // (CLIPS_A_VIDEO - 1) for i in range(CLIPS_A_VIDEO)} if last >= 0 else ()):
            frames = torch.from_numpy(read_frames(workspace.root / str(video.path), range(start, start + CLIP)))
            for name, extractor in extractors.items():
                found[name].append(extractor(frames)[0].flatten().float().cpu())
    return {name: torch.stack(rows) for name, rows in found.items()}


def drawn_rows(sizes: Sequence[int], sets: int) -> Iterator[tuple[str, int, Held]]:
    """Of each kind of drawn features and number of samples."""
    kinds = {f"{d} Gaussian, {s}": gaussian(d, s) for d in (64, 256) for s in ("flat", "1/k")}
    kinds |= {f"32 skewed, sigma {sigma}": skewed(sigma, 32) for sigma in (0.5, 1.0)}
    for name, draw in kinds.items():
        for n in sizes:
            generator = torch.Generator().manual_seed(n)
            yield name, n, held(FRECHET, draw(n, generator), differing(draw), sets, generator)


def clip_rows(workspace: Workspace, sizes: Sequence[int], sets: int) -> Iterator[tuple[str, int, Held]]:
    """Of each metric and number of samples, drawn from the clips."""
    clips = clips_of(workspace, sorted({METRICS[name].features for name in OF_CLIPS}))
    for name in OF_CLIPS:
        of_clips = clips[METRICS[name].features]
        for n in sizes:
            generator = torch.Generator().manual_seed(n)
            real = of_clips[torch.randperm(len(of_clips), generator=generator)[:n]]

            def draw(count: int, generator: torch.Generator, of_clips: Tensor = of_clips) -> Tensor:
                return OF_CLIPS_SCALE * of_clips[torch.randint(len(of_clips), (count,), generator=generator)]

            yield f"{name}, of {len(of_clips)} clips", n, held(METRICS[name], real, draw, sets, generator)


def main(arguments: list[str] | None = None) -> list[tuple[str, int, Held]]:
    """Prints a row for each kind of features and number of samples, as it is known."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--workspace", type=Path, help="a folder that `lvdm validate` has run in (default: drawn ones)"
    )
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples (default: 32 64 256)")
    options.add_argument("--sets", type=int, default=200, help="sets of samples (default: 200)")
    args = options.parse_args(arguments)
    rows = []
    print("| features | n | mean | spread | held | mean of bootstraps |", "|---" * 6 + "|", sep="\n", flush=True)
    given = args.workspace and Workspace.at(args.workspace)
    for name, n, told in clip_rows(given, args.sizes, args.sets) if given else drawn_rows(args.sizes, args.sets):
        numbers = f"{told.mean:.4g} | {told.spread:.3g} | {told.share:.0%} | {told.bootstraps:.4g}"
        print(f"| {name} | {n} | {numbers} |", flush=True)
        rows.append((name, n, told))
    return rows


if __name__ == "__main__":
    main()
