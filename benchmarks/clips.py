"""Random clips of H.264 files, each from its file anew: as training reads them, by decord alone and by PyAV.

    python -m benchmarks.clips                        # clips a second on two cores, and what a transcode gives
    python -m benchmarks.clips --memory 100000        # the memory of one process over so many clips
    python -m benchmarks.clips --source my_videos     # of a folder of one's own
    python -m benchmarks.clips --help

All read the same frames, a clip of each in turn, in as many processes of one thread as there are workers. Ours does
more than the others: it resizes and crops. Speeds are by the CPU time of all threads, so that what else
runs on the machine counts little; on a quiet machine the clock, whose clips a second are in brackets, says the same.
Not here: how fast a GPU wants clips (training.py).
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np
import torch
from jaxtyping import Float, UInt8

from lvdm.data.clips import TrainingClips
from lvdm.data.ingest import build_manifest
from lvdm.orphan import watch_over_parent
from lvdm.params import Clips, Ingest, Transcode
from lvdm.params.layouts import Folder
from lvdm.workspace import Workspace

FPS = 30
Contestant = Callable[[TrainingClips, int], object]


def by_decord(clips: TrainingClips, index: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Opens the file, seeks and decodes."""
    path, frames = clips.place(index)
    return decord.VideoReader(str(path), num_threads=1).get_batch(list(frames)).asnumpy()


def by_pyav(clips: TrainingClips, index: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Opens the file, seeks to the key frame before and decodes from there; for files of a constant rate alone."""
    path, frames = clips.place(index)
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        tick = 1 / (Fraction(stream.average_rate or 0) * (stream.time_base or 0))
        start = stream.start_time or 0
        container.seek(start + round(frames.start * tick), stream=stream)
        for frame in container.decode(stream):
            at = round(((frame.pts or 0) - start) / tick)
            if at in frames:
                found.append(frame.to_ndarray(format="rgb24"))
            if at >= frames[-1]:
                break
    return np.stack(found)


def by_us(clips: TrainingClips, index: int) -> object:
    """As training does."""
    return clips[index]


CONTESTANTS: dict[str, Contestant] = {"decord alone": by_decord, "PyAV": by_pyav, "ours": by_us}


def write_videos(folder: Path, num: int, size: tuple[int, int], frames: int, keyframe_interval: int) -> None:
    """H.264 as it comes from the web: crf 23, B-frames; a picture of many details that pans, with some noise."""
    folder.mkdir(parents=True)
    width, height = size
    for number in range(num):
        random = np.random.default_rng(number)
        picture = random.integers(0, 256, (height // 8 + 40, width // 8 + 40, 3)).astype(np.float32)
        wide = np.repeat(np.repeat(picture, 8, axis=0), 8, axis=1)
        options = {"crf": "23", "preset": "fast", "g": str(keyframe_interval), "keyint_min": str(keyframe_interval)}
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for t in range(frames):
                x = round(160 + 150 * np.sin(t / 40 + number))
                noisy = wide[x : x + height, x : x + width] + random.normal(0, 4, (height, width, 1))
                pixels = noisy.clip(0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())


def ingested(root: Path, source: Path, clips: Clips, transcode: Transcode | None = None) -> TrainingClips:
    """All clips of the videos of a folder, in whatever split."""
    workspace = Workspace.at(root)
    ingest = Ingest(source=str(source), layout=Folder(kind="folder"), test_fraction=0, seed=0, transcode=transcode)
    return TrainingClips(build_manifest(ingest, workspace), clips, workspace.root, seed=0)


@dataclass(frozen=True)
class Pace:
    """Clips a second of all workers together."""

    by_cpu: float
    by_clock: float


def paces(entrants: Sequence[tuple[str, TrainingClips]], workers: int, seconds: float) -> list[Pace]:
    """What each contestant, with its clips, reaches, all workers reading for so many seconds."""
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_ready) as pool:
        spent = pool.starmap(_read_for, [(entrants, seconds, 10**6 * w) for w in range(workers)], chunksize=1)
    return [Pace(*each) for each in np.sum([1 / seconds_a_clip for seconds_a_clip in spent], axis=0)]


def _ready() -> None:
    watch_over_parent()
    torch.set_num_threads(1)


def _read_for(
    entrants: Sequence[tuple[str, TrainingClips]], seconds: float, first: int
) -> Float[np.ndarray, "contestants 2"]:
    """Seconds a clip in one process, of CPU and by the clock; a clip of each in turn."""
    for name, clips in entrants:  # warms up
        CONTESTANTS[name](clips, first)
    spent, start, count = np.zeros((len(entrants), 2)), time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        count += 1
        for mine, (name, clips) in zip(spent, entrants, strict=True):
            mine -= time.process_time(), time.perf_counter()
            CONTESTANTS[name](clips, first + count)
            mine += time.process_time(), time.perf_counter()
    return spent / count


def memory_of(clips: TrainingClips, count: int) -> list[float]:
    """Megabytes that this process holds after each tenth of `count` clips."""
    held = []
    for tenth in range(10):
        start = time.perf_counter()
        for index in range(tenth * count // 10, (tenth + 1) * count // 10):
            clips[index]
        held.append(_resident())
        pace = count / 10 / (time.perf_counter() - start)
        print(f"{(tenth + 1) * count // 10:>8} clips: {held[-1]:7.1f} MB, {pace:6.1f} clips a second", flush=True)
    return held


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measures and prints; returns the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a folder of H.264 videos (default: written for the purpose)")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=600, help="of a video that is written")
    parser.add_argument("--video-size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--keyframe-interval", type=int, default=250, help="x264's default is 250")
    parser.add_argument("--clip-frames", type=int, default=16)
    parser.add_argument("--clip-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--memory", type=int, metavar="CLIPS", help="read so many in one process, and nothing else")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    clips = Clips(frames=args.clip_frames, size=args.clip_size, stride=1)
    with tempfile.TemporaryDirectory() as folder:
        root, source = Path(folder), args.source
        if source is None:
            source = root / "videos"
            write_videos(source, args.videos, tuple(args.video_size), args.frames, args.keyframe_interval)
        plain = ingested(root / "plain", source.resolve(), clips)
        if args.memory:
            return _compare_memory(plain, args.memory)
        settings = Transcode(size=args.clip_size, keyframe_interval=args.clip_frames, crf=16)
        return _compare_speed(plain, ingested(root / "transcoded", source.resolve(), clips, settings), args)


def _compare_memory(clips: TrainingClips, count: int) -> dict[str, float]:
    held = memory_of(clips, count)
    print(f"after {count} clips the process holds {held[-1] / held[0]:.3f} times what it held after {count // 10}")
    return {"memory": held[-1] / held[0]}


def _compare_speed(plain: TrainingClips, transcoded: TrainingClips, args: argparse.Namespace) -> dict[str, float]:
    entrants = [*((name, plain) for name in CONTESTANTS), ("ours", transcoded)]
    titles = [*CONTESTANTS, "ours, transcoded"]
    measured = dict(zip(titles, paces(entrants, args.workers, args.seconds), strict=True))
    speeds = {title: pace.by_cpu for title, pace in measured.items()}
    rival = speeds["decord alone"]
    for title, pace in measured.items():
        share = pace.by_cpu / rival
        print(f"{title:<17} {pace.by_cpu:7.1f} clips a second ({pace.by_clock:.1f}), {share:5.2f} of decord alone")
    gain = speeds["ours, transcoded"] / speeds["ours"]
    print(f"transcoded, ours reads {gain:.2f} times as many")
    return {"ours": speeds["ours"] / rival, "PyAV": speeds["PyAV"] / rival, "transcode": gain}


if __name__ == "__main__":
    main()
