"""Training on 1, 2, .. GPUs with DDP, the same batch on each: how many more examples a second.

    python -m benchmarks.scaling --devices 1 2 4             # the preset `reference`, batch 32 a GPU
    python -m benchmarks.scaling --size tiny --devices 1 2 --batch 2   # processes on a CPU, gloo

Each number of devices is a run of `lvdm.training.fit` in processes of its own, started as `lvdm train_denoiser` starts
them. Not here: one GPU in detail (training.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks import untrained
from benchmarks.measuring import Kernel, covered, profile_lines, recorded
from benchmarks.process import ROOT, environment
from lvdm import progress
from lvdm.machine import Machine
from lvdm.orphan import watch_over_orderer
from lvdm.ranks import is_first_process
from lvdm.training.denoiser import compile_denoiser

ONE_RUN = "--one-run"
SAID = "seconds a step, part by part: "
PARTS = 5
GOALS = {2: 1.9, 4: 3.6}


@dataclass(frozen=True)
class Run:
    """Training on so many devices."""

    devices: int
    parts: list[float]  # seconds a step of one part of the training after the other

    @property
    def seconds(self) -> float:
        """A step, the median of the parts: whatever holds up one of them, as a late compilation, is in the slowest."""
        return median(self.parts)

    def examples(self, batch: int) -> float:
        """A second."""
        return self.devices * batch / self.seconds


def one_run(args: argparse.Namespace, devices: int) -> None:
    """Trains on `devices` devices; the first process prints the seconds a step of every part."""
    from benchmarks.training import fitted_seconds

    watch_over_orderer()
    if is_first_process():
        progress.show()
    params = untrained.params_of(args)
    machine = untrained.machine_of(args, devices=devices, strategy="ddp" if devices > 1 else "auto")
    network = untrained.denoiser(params.train_denoiser, untrained.latent_shape(params)[0])
    if machine.compile:
        compile_denoiser(network, machine)
    train = partial(fitted_seconds, network, params, machine, args.batch, args.steps, PARTS)
    parts, found = recorded(train) if args.profile and machine.device.type == "cuda" else (train(), [])
    if is_first_process():
        print(f"{SAID}{json.dumps(parts)}")
    if is_first_process() and found:
        until = max(kernel.end for kernel in found if "Memcpy" not in kernel.name)  # then weights go to the host
        last = [kernel for kernel in found if until - args.steps * parts[-1] < kernel.start < until]
        print("\n".join([*profile_lines(last, args.steps), exposed(last, args.steps, parts[-1])]))


def exposed(found: Sequence[Kernel], steps: int, seconds: float) -> str:
    """What a step of so many seconds waits for: the exchange while nothing else runs, and no kernel at all."""
    busy, work = (covered(kernels) / steps for kernels in (found, [k for k in found if "nccl" not in k.name]))
    return f"  nothing but the exchange: {(busy - work) * 1e3:.3g} ms, nothing at all: {(seconds - busy) * 1e3:.3g} ms"


def measured(arguments: list[str], devices: int) -> Run:
    """Runs this module again for one number of devices.

    Raises:
        SystemExit: the run failed.
    """
    command = [sys.executable, "-m", "benchmarks.scaling", *arguments, ONE_RUN, str(devices)]
    result = subprocess.run(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    _, said, parts_and_profile = result.stdout.rpartition(SAID)
    if result.returncode or not said:
        raise SystemExit(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    parts, *profile = parts_and_profile.splitlines()
    print("\n".join([f"{devices} devices", *profile]) + "\n" if profile else "", end="", flush=True)
    return Run(devices, json.loads(parts))


HEADING = """\
| devices | ms a step | slowest part | examples/s | against the first | wanted |
|---|---|---|---|---|---|"""


def line(run: Run, first: Run, batch: int) -> str:
    """A run in Markdown, against the first."""
    rate, goal = run.examples(batch), GOALS.get(run.devices)
    more = f"{rate / first.examples(batch):.2f}x"
    times = [f"{seconds * 1e3:.4g}" for seconds in (run.seconds, max(run.parts))]
    cells = [f"{run.devices}", *times, f"{rate:,.0f}", more, f"{goal}x" if goal else "-"]
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> list[Run]:
    """Measures and prints."""
    options = untrained.parser(__doc__)
    options.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4], help="(default: 1 2 4)")
    options.add_argument("--batch", type=int, default=32, help="examples a device (default: 32)")
    options.add_argument("--steps", type=int, default=10, help=f"in each of {PARTS} parts (default: 10)")
    options.add_argument(ONE_RUN, type=int, help=argparse.SUPPRESS)
    arguments = sys.argv[1:] if arguments is None else arguments
    args = options.parse_args(arguments)
    if args.one_run:
        one_run(args, args.one_run)
        return []
    print(f"training the denoiser, DDP, batch {args.batch} a device, on {Machine().device.type}", flush=True)
    print(HEADING, flush=True)
    runs: list[Run] = []
    for devices in args.devices:
        runs.append(measured(arguments, devices))
        print(line(runs[-1], runs[0], args.batch), flush=True)
    return runs


if __name__ == "__main__":
    main()
