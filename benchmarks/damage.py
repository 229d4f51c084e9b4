"""How much of what happens to the bits of a video ingest notices.

    python -m benchmarks.damage                       # H.264 written for the purpose
    python -m benchmarks.damage --source my_videos    # of a folder of one's own, whatever their codec
    python -m benchmarks.damage --help

A video is copied, bits of it at random places are flipped, and the copy is probed as ingest probes it. It is noticed,
or no frame differs, or it passes with other pixels: each of these is named, and how far its frames are off.
Not here: damage that is told by lengths, as of a file that is cut; tests have that.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from benchmarks.clips import write_videos
from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.decoding import footage
from lvdm.data.inspection import probe
from lvdm.data.reasons import UnreadableVideo

SECONDS = 60.0  # for one copy


@dataclass(frozen=True)
class Flips:
    """Bits of a file that are inverted."""

    path: Path
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What becomes of a copy with flipped bits."""

    kind: Literal["noticed", "harmless", "missed"]
    detail: str  # the code of reasons.py, or how far the frames are off


def outcome(flips: Flips) -> Outcome:
    """Probes a copy of a file with its bits flipped."""
    content = bytearray(flips.path.read_bytes())
    for bit in flips.bits:
        content[bit // 8] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / flips.path.name
        copy.write_bytes(content)
        try:
            probe(copy)
            return _compared(list(_frames(flips.path)), list(_frames(copy)))
        except UnreadableVideo as error:
            return Outcome("noticed", error.reason)


def _frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    with footage(path) as source:
        for shown in source:
            yield shown.pixels()


def _compared(right: Sequence[UInt8[np.ndarray, "h w 3"]], read: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Outcome:
    if [frame.shape for frame in right] != [frame.shape for frame in read]:
        return Outcome("missed", f"{len(read)} frames of {read[0].shape} instead of {len(right)} of {right[0].shape}")
    off = [float(np.abs(b.astype(np.int16) - a).mean()) for a, b in zip(right, read, strict=True)]
    wrong = [value for value in off if value > 0]
    if not wrong:
        return Outcome("harmless", "")
    return Outcome(
        "missed", f"{len(wrong)} of {len(off)} frames are off, by {max(wrong):.2f} levels in the mean at most"
    )


def main(arguments: Sequence[str] | None = None) -> dict[int, Counter[str]]:
    """Measures and prints; returns how many copies of each kind there were, by the number of bits flipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a folder of videos (default: written for the purpose)")
    parser.add_argument("--copies", type=int, default=40, help="of each video, for each number of bits")
    parser.add_argument("--bits", type=int, nargs="+", default=(1, 10))
    parser.add_argument("--videos", type=int, default=3, help="that are written")
    parser.add_argument("--frames", type=int, default=48, help="of a video that is written")
    parser.add_argument("--video-size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = args.source
        if source is None:
            source = Path(folder) / "videos"
            write_videos(source, args.videos, tuple(args.video_size), args.frames, keyframe_interval=250)
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        return {bits: _tried(paths, bits, args.copies, args.workers) for bits in args.bits}


def _tried(paths: Sequence[Path], bits: int, copies: int, workers: int) -> Counter[str]:
    random = np.random.default_rng(bits)
    items = [
        Flips(path, tuple(random.integers(8 * path.stat().st_size, size=bits).tolist()))
        for path in paths
        for _ in range(copies)
    ]
    counts: Counter[str] = Counter(noticed=0, harmless=0, missed=0)
    missed = []
    for index, result in bounded_map(outcome, items, workers, lambda _: SECONDS):
        became = Outcome("noticed", result.reason) if isinstance(result, Lost) else result
        counts[became.kind] += 1
        if became.kind == "missed":
            missed.append(f"  {items[index].path.name}, bits {items[index].bits}: {became.detail}")
    harmful = counts["noticed"] + counts["missed"]
    print(
        f"{bits} bits flipped in each of {len(items)} copies: noticed {counts['noticed']}, no frame differs "
        f"{counts['harmless']}, passed with other pixels {counts['missed']}: {counts['noticed'] / max(1, harmful):.3f} "
        "of what does harm is noticed",
        *sorted(missed),
        sep="\n",
        flush=True,
    )
    return counts


if __name__ == "__main__":
    main()
