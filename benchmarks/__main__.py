"""All rows of the performance goals with one command, the weightiest first; killed and run again, it does the rest.

    python -m benchmarks --into gpu.md                # on one GPU or several: those that want more GPUs are left out
    python -m benchmarks --into gpu.md --minutes 9    # ends by itself before a limit of ten minutes
    python -m benchmarks --into tiny.md --tiny        # on a CPU

Each benchmark is a process of its own; once it has ended well, what it said goes into the file, in one piece, under a
heading that says what, on what and at which commit. Not here: what is measured (the modules beside this one).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.process import ROOT, environment
from benchmarks.scaling import GOALS
from lvdm.git import git
from lvdm.workspace import atomic_file


@dataclass(frozen=True)
class Asked:
    """A benchmark to run: its module with arguments, those at tiny size, the GPUs that it wants, and the goal."""

    name: str
    goal: str
    command: str
    tiny: str
    devices: int = 1

    def arguments(self, tiny: bool) -> list[str]:
        return (self.tiny if tiny else self.command).split()


TINY = "--size tiny --no-compile --seconds 0.01"
STEP = "training --part denoiser --batch"
SPRITES = f"{STEP} 256 --size sprites --frames 36 --no-plain"
SCALING = tuple(
    Asked(
        f"{devices} GPUs",
        f">= {goal}x",
        f"scaling --devices 1 {devices}",
        f"scaling --devices 1 {devices} --batch 2 --steps 2 {TINY}",
        devices,
    )
    for devices, goal in GOALS.items()
)
ASKED = (
    Asked("a step of 32", "<= 105 ms, Lightning <= +3 %", f"{STEP} 32 --profile", f"{STEP} 2 {TINY}"),
    Asked("a pass of 32", "<= 24 ms", "networks --part denoiser --batch 32 --profile", f"networks {TINY}"),
    Asked("sprites, a step of 256", "the GPU is busy", f"{SPRITES} --profile", f"{STEP} 2 {TINY}"),
    Asked("a pass of 8", "<= 6.5 ms", "networks --part denoiser --batch 8 --profile", f"networks {TINY}"),
    Asked("decoding", "<= 6.0 ms a clip", "networks --part decode --profile", f"networks {TINY}"),
    Asked("encoding", "<= 0.6 ms a clip", "networks --part encode --profile", f"networks {TINY}"),
    Asked("a step of the autoencoder", "<= 45 ms", "training --part autoencoder --profile", f"training {TINY}"),
    Asked(
        "8 clips of 50 steps", "<= 0.38 s", "sampling --part clips --profile", f"sampling --part clips --steps 2 {TINY}"
    ),
    Asked("1,024 frames", "<= 13 s", "sampling --part long --no-plain", f"sampling --part long --steps 2 {TINY}"),
    Asked("decoding memory", "within 5 %", "sampling --part memory", f"sampling --part memory {TINY}"),
    Asked("8 clips of 20 steps", "their distance", "sampling --part solver", f"sampling --part solver {TINY}"),
    Asked("plan", "within 15 %", "plan", "plan --size tiny"),
    *SCALING,
    Asked("sprites, no CUDA graphs", "context", f"{SPRITES} --mode default --profile", f"{STEP} 2 {TINY}"),
    Asked("sprites, not compiled", "context", f"{SPRITES} --no-compile --profile", f"{STEP} 2 {TINY}"),
    Asked("data", ">= 10x training", "latent_cache", "latent_cache --latents 2000 --shape 4 8 8 --seconds 0.05"),
)


def machine() -> tuple[str, int]:
    """What it is called, and how many devices it has; processes on a CPU are as many as are wanted."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), torch.cuda.device_count()
    return "CPU", max(asked.devices for asked in ASKED)


def run(arguments: list[str], seconds: float) -> tuple[int, str]:
    """Runs a benchmark, showing what it says as it comes; returns its exit status and that. It is ended in time."""
    command = [sys.executable, "-m", f"benchmarks.{arguments[0]}", *arguments[1:]]
    said: list[str] = []
    with subprocess.Popen(
        command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        limit = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                said.append(line)
            return process.wait(), "".join(said)
        finally:
            limit.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Runs what is missing; returns how many are missing still."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, required=True, help="the file that what they say is added to")
    options.add_argument("--minutes", type=float, default=float("inf"), help="after which what runs is ended")
    options.add_argument("--only", nargs="+", choices=[asked.name for asked in ASKED], help="these alone")
    options.add_argument("--tiny", action="store_true", help="at sizes for a CPU, to see that all of it runs")
    args = options.parse_args(arguments)
    end, (on, devices), missing = time.monotonic() + 60 * args.minutes, machine(), 0
    at = (git(ROOT, "describe", "--always", "--dirty") or "no commit").strip()
    for asked in ASKED:
        if (args.only and asked.name not in args.only) or asked.devices > devices:
            continue
        heading = f"## {asked.name}: goal {asked.goal} ({on}, {at})"
        before = args.into.read_text() if args.into.exists() else ""
        if heading in before.splitlines():
            continue
        missing += 1
        left = end - time.monotonic()
        if left <= 0:
            continue
        print(f"\n{heading}", flush=True)
        start = time.monotonic()
        status, said = run(asked.arguments(args.tiny), min(left, threading.TIMEOUT_MAX))
        took = time.monotonic() - start
        if status:
            print(f"{asked.name}: ended with status {status} after {took:.0f} s", flush=True)
            continue
        missing -= 1
        command = f"`python -m benchmarks.{' '.join(asked.arguments(args.tiny))}`, {took:.0f} s"
        with atomic_file(args.into) as beside:
            beside.write_text(f"{before}{heading}\n\n{command}\n\n{said}\n")
    print(f"\n{args.into}: {missing} missing")
    return missing


if __name__ == "__main__":
    sys.exit(main())
