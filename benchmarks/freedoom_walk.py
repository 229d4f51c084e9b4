"""Rendering Freedoom-Walk-10: its checksums compared with those published, or published; and what it costs.

    python -m benchmarks.freedoom_walk                  # 150 of its videos, drawn at random, in random order
    python -m benchmarks.freedoom_walk --all
    python -m benchmarks.freedoom_walk --publish        # all of it; writes sha256.txt beside the definition

The ratio printed is to the pace of the game: how much faster than they play the videos are made.
Not here: the files of the videos, which ingest writes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lvdm import progress
from lvdm.data.freedoom import CHECKSUMS, FPS, filmed, load_definition, read_checksums, shots
from lvdm.workspace import atomic_file

FOLDER = Path(__file__).parents[1] / "freedoom-walk"


def main(arguments: Sequence[str] | None = None) -> int:
    """The number of videos that are not as published."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freedoom_walk", description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the definition (default: freedoom-walk)")
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0, help="of which are drawn, and in what order they are rendered")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    said = parser.parse_args(arguments)
    progress.show()
    definition, published = load_definition(said.folder), read_checksums(said.folder)
    every = shots(definition)
    drawn = every if said.all or said.publish else random.Random(said.seed).sample(every, min(said.sample, len(every)))
    start = time.perf_counter()
    rendered = filmed(definition, drawn, said.workers)
    digests = {shot.name: digest for shot, digest in progress.progress(rendered, len(drawn), "rendering", "video")}
    frames, seconds = sum(shot.frames for shot in drawn), time.perf_counter() - start
    pace = f"{frames / seconds:,.0f} a second, {frames / seconds / FPS:.0f}x the pace of the game"
    print(f"{len(drawn):,} videos, {frames:,} frames in {seconds:.0f} s with {said.workers} workers: {pace}")
    if said.publish:
        with atomic_file(said.folder / CHECKSUMS) as beside:
            beside.write_text("".join(f"{digests[shot.name]} {shot.name}\n" for shot in every))
        return 0
    others = [name for name, digest in digests.items() if published.get(name) != digest]
    print(f"{len(others)} of them are not as published{': ' + ', '.join(others[:5]) if others else ''}")
    return len(others)


if __name__ == "__main__":
    sys.exit(main() > 0)
