"""What a video costs in `lvdm ingest` and `lvdm validate`, by how many there are: time a row, and memory.

    python -m benchmarks.manifest              # 1,000, 10,000 and 100,000 videos
    python -m benchmarks.manifest --help

Real files in real folders with a table of captions, listed, looked up, divided into splits, judged and reported by the
two commands, each in a process of its own. A thousand videos are one file, and what a probe finds in them
is made up from what it found in that one, so that a hundred thousand need no day to write. One in a hundred is broken.
Not here: how long it takes to probe a video; every video is probed by itself, and once.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.process import ROOT, Cost, cost_of
from lvdm.data.probing import probed
from lvdm.data.video import write_video
from lvdm.workspace import Workspace

STAGES = ("ingest", "validate")
LINKS = 1000  # of one file; a file system has a limit
LABELS = 100
BROKEN = 100  # one in so many
MAX_FRAMES, FPS = 64, 8.0


def run(root: Path, stage: str) -> Cost:
    """What one run of a stage costs."""
    return cost_of([sys.executable, "-m", "lvdm", "--root", str(root), stage])


def write_source(root: Path, num: int) -> None:
    """Makes a workspace at `root` whose source holds `num` videos that all have been probed before."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["ingest"] |= {"source": "data", "layout": {"kind": "folder"}}
    names = [f"{i // LINKS:03}/{i % LINKS:03}/clip.mp4" for i in range(num)]
    for name in names:
        (root / "data" / name).parent.mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(document))
    pixels = np.random.default_rng(0).integers(0, 256, (MAX_FRAMES, 32, 32, 3), dtype=np.uint8)
    for index, name in enumerate(names[::LINKS]):
        write_video(root / "data" / name, [np.roll(pixels, index, axis=2)], fps=FPS)
    probed([f"data/{name}" for name in names[::LINKS]], Workspace(root))
    memory = root / ".lvdm" / "probes.jsonl"
    lines = map(json.loads, memory.read_text().splitlines())
    by_file = {Path(said["path"]).parts[1]: said for said in lines}
    with memory.open("w") as file:
        for index, (name, varied) in enumerate(zip(names, _varied(num), strict=True)):
            if index % LINKS:
                (root / "data" / name).hardlink_to(root / "data" / names[index - index % LINKS])
            said = by_file[Path(name).parts[0]]
            file.write(json.dumps(said | {"path": f"data/{name}", "found": said["found"] | varied}) + "\n")
    with (root / "data" / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "caption"])
        rows.writerows([name, f"label {i % LABELS}", f"video {i} of the set"] for i, name in enumerate(names))


def _varied(num: int) -> Iterator[dict[str, Any]]:
    """What differs between videos, and one in BROKEN that cannot be read."""
    drawn = random.Random(0)
    for index in range(num):
        checksum = hashlib.sha256(str(index).encode()).hexdigest()
        checksums = {"checksum": checksum, "source_checksum": checksum}
        if index % BROKEN == BROKEN - 1:
            yield checksums | {"error": "truncated", "detail": "10 of 20 bytes"}
        else:
            frames = drawn.randint(MAX_FRAMES // 2, MAX_FRAMES)
            looks = f"{drawn.getrandbits(64):016x}"
            yield checksums | {"frames": frames, "duration": frames / FPS, "looks": looks}


def main(arguments: list[str] | None = None) -> list[float]:
    """Measures and prints; returns for each stage the cost of a further row, at the end by at the beginning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=(1_000, 10_000, 100_000), help="rising")
    args = parser.parse_args(arguments)
    costs: dict[str, list[Cost]] = {stage: [] for stage in STAGES}
    print(f"{'videos':>8}  {'stage':<8} {'seconds':>8} {'CPU us a row':>13} {'peak MB':>8}")
    for num in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "workspace"
            write_source(root, num)
            for stage in STAGES:
                cost = run(root, stage)
                costs[stage].append(cost)
                each = 1e6 * cost.cpu_seconds / num
                print(f"{num:>8}  {stage:<8} {cost.seconds:8.1f} {each:13.0f} {cost.megabytes:8.0f}", flush=True)
    ratios = []
    for stage, measured in costs.items() if len(args.rows) > 2 else ():
        each = [1e6 * slope for slope in _slopes(args.rows, [cost.cpu_seconds for cost in measured])]
        kilobytes = [1e3 * slope for slope in _slopes(args.rows, [cost.megabytes for cost in measured])]
        ratios.append(each[-1] / each[0])
        print(
            f"{stage}: a further video takes {each[-1]:.0f} us and {kilobytes[-1]:.2f} kB towards {args.rows[-1]}, "
            f"{ratios[-1]:.2f} times the time that it takes towards {args.rows[1]} ({each[0]:.0f} us)"
        )
    return ratios


def _slopes(at: Sequence[int], values: Sequence[float]) -> list[float]:
    """Between one measurement and the next, so that what every process costs is left out."""
    return [(b - a) / (m - n) for (n, a), (m, b) in pairwise(zip(at, values, strict=True))]


if __name__ == "__main__":
    main()
