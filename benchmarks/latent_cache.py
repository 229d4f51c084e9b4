"""Reading windows of latents from the cache, against one file a video, and against the rate that training needs.

    python -m benchmarks.latent_cache               # 200,000 latents of 12,500 videos, 3.3 GB
    python -m benchmarks.latent_cache --help

Random windows, as training draws them, after every page was read once: it is the reader that is measured, not the disk,
by the time of its core, which what else runs on the machine changes little. By the clock it may be less: in brackets.
The latents are noise, of 256 x 256 pixels (4 x 32 x 32), of which the rate of training is, unless said otherwise.
Not here: the encoding of videos, which decoding and the autoencoder decide.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from safetensors import safe_open
from safetensors.torch import save_file

from lvdm.caching import write_cache
from lvdm.data.latent_plan import plan
from lvdm.data.latent_store import LatentStore
from lvdm.data.latent_windows import LatentWindows
from lvdm.data.latents import LatentCache

TRAINING = 300  # windows a second: the rate of training on the reference GPU, see the performance goals
GOAL = 10  # times that
RIVAL_FILES = 2_000
Reader = Callable[[int], object]  # of the window with a number


def write_latents(
    folder: Path,
    manifest: pd.DataFrame,
    latent_of: Callable[[int], Float32[np.ndarray, "t c h w"]],
    shape: tuple[int, int, int],
    *,
    made_by: str = "",
    flip: bool = False,
    shard_megabytes: int = 1,
) -> LatentCache:
    """A cache of given latents, made as encode_latents makes one, its store beside it.

    `manifest` has the columns id, checksum, label, caption, split and length; `latent_of` gives the latents of a row,
    those of the video mirrored being the negative.
    """
    recipe = {"autoencoder": made_by}
    lengths = manifest["length"].to_numpy(np.int64)
    planned = plan(manifest, recipe, lengths, shape, flip, shard_megabytes * 1_000_000)
    store, names = LatentStore(folder.with_name(f"{folder.name}.store"), shape), list(planned.shards)
    store.prepare(planned.shards)
    for work in planned.work:
        latent = latent_of(int(work["row"]))
        store.put(names[work["shard"]], int(work["item"]), [-latent if work["mirrored"] else latent])
    for name in names:
        store.finish(name)
    write_cache(folder, planned, store, recipe | {"flip": flip})
    return LatentCache(folder)


def noise(num_videos: int, length: int) -> pd.DataFrame:
    """A manifest of videos that are alike."""
    ids = [f"{number:07d}.mp4" for number in range(num_videos)]
    same = {"label": "noise", "caption": "noise that does not move", "split": "train", "length": length}
    return pd.DataFrame({"id": ids, "checksum": ids} | same)


def anonymous_megabytes() -> float:
    """The memory of this process that no file backs: what the reader keeps, without the pages that it mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e3


@dataclass(frozen=True)
class Rate:
    """Calls a second of one process."""

    by_cpu: float
    by_clock: float


def rate(read: Reader, seconds: float) -> Rate:
    """Of as many calls as fill that time of the process."""
    began, start, count = time.perf_counter(), time.process_time(), 0
    while (passed := time.process_time() - start) < seconds:
        read(count)
        count += 1
    return Rate(count / passed, count / (time.perf_counter() - began))


def main(arguments: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent_cache", description=__doc__.split("\n")[0])
    parser.add_argument("--latents", type=int, default=200_000, help="(default: 200,000)")
    parser.add_argument("--length", type=int, default=16, help="latents a video")
    parser.add_argument("--shape", type=int, nargs=3, default=(4, 32, 32), metavar=("C", "H", "W"))
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--strides", type=int, nargs="+", default=(1,))
    parser.add_argument("--seconds", type=float, default=5.0, help="of reading, each way")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    said = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=said.folder) as folder:
        return _compare(Path(folder), said)


def _compare(folder: Path, said: argparse.Namespace) -> float:
    manifest, shape = noise(said.latents // said.length, said.length), tuple(said.shape)
    video = np.random.default_rng(0).standard_normal((said.length, *shape), np.float32)
    start = time.perf_counter()
    cache = write_latents(folder / "latents", manifest, lambda row: video + np.float32(row), shape, shard_megabytes=256)
    files = list(cache.folder.iterdir())
    print(
        f"{said.latents:,} latents of {len(manifest):,} videos: {sum(f.stat().st_size for f in files) / 1e9:.2f} GB in"
    )
    print(f"  {len(files)} files, written in {time.perf_counter() - start:.0f} s")
    del manifest, cache
    before, start = anonymous_megabytes(), time.perf_counter()
    cache = LatentCache(folder / "latents")
    print(f"  opened, its index checked, in {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    cache.verify()
    print(f"  checked, all of it, in {time.perf_counter() - start:.2f} s")
    windows = LatentWindows(cache, said.window, said.strides, 0, lambda _: {})
    ours = rate(windows.__getitem__, said.seconds)
    half = anonymous_megabytes() - before
    rate(windows.__getitem__, said.seconds)
    print(f"  memory that no file backs: {half:.0f} MB, reading on {anonymous_megabytes() - before:.0f} MB")
    theirs = rate(_file_a_video(folder, video, said), said.seconds)
    fast = f"{ours.by_cpu / TRAINING:.1f}x ({ours.by_clock / TRAINING:.1f}x) the {TRAINING} of training (goal {GOAL}x)"
    print(f"  {ours.by_cpu:,.0f} ({ours.by_clock:,.0f}) windows of {said.window} a second of one core: {fast},")
    rival = f"({theirs.by_cpu:,.0f}, of {RIVAL_FILES:,} files)"
    print(f"  {ours.by_cpu / theirs.by_cpu:.1f}x those from one .safetensors file a video {rival}")
    return ours.by_cpu / TRAINING


def _file_a_video(folder: Path, video: Float32[np.ndarray, "t c h w"], said: argparse.Namespace) -> Reader:
    """The rival: each window from a file that is opened for it, as where latents are cached video by video."""
    for number in range(RIVAL_FILES):
        save_file({"latent": torch.from_numpy(video + np.float32(number))}, folder / f"{number}.safetensors")

    def read(index: int) -> object:
        random = np.random.default_rng([0, index])
        path = folder / f"{random.integers(RIVAL_FILES)}.safetensors"
        start = int(random.integers(said.length - said.window + 1))
        with safe_open(path, "pt") as file:
            return file.get_slice("latent")[start : start + said.window].transpose(0, 1).contiguous()

    return read


if __name__ == "__main__":
    main()
