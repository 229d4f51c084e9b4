"""The tables that benchmarks of time print, each row as soon as it is measured: what is killed later has said it.

Not here: how anything is measured (measuring.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from benchmarks.measuring import Ceilings, Measured, Work

TITLES = (
    *("this project", "plain", "ratio", "official", "ratio", "floor", "of ceiling", "busy", "peak GiB", "plain GiB"),
    *("GFLOP", "error", "took"),
)


@dataclass(frozen=True)
class Row:
    """One piece of work as this project does it, and beside it the plain path, the official code and the floor."""

    work: str
    ours: Measured | None
    plain: Measured | None = None
    official: float | None = None  # seconds, measured elsewhere
    least: Work | None = None
    error: float | None = None


def heading(device: torch.device, limits: Ceilings) -> list[str]:
    """What the rows were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return [
        f"{name}, torch {torch.__version__}: bf16 matrix product {limits.flops / 1e12:.3g} TFLOP/s, "
        f"copy {limits.bandwidth / 1e12:.3g} TB/s, measured in this process",
        "official: the official code as shipped, measured elsewhere on an H200 with torch 2.11 (context, not this run)",
        "plain: this project in fp32 (convolutions in TF32, as torch has it), eager, channels first in memory",
        "error: largest, of this project against plain",
    ]


def printed(rows: Iterable[Row], limits: Ceilings) -> list[Row]:
    """The rows, each printed in Markdown as it comes: in ms and GiB, and the seconds until it was there."""
    found, start = [], time.monotonic()
    print(f"| ms | {' | '.join(TITLES)} |", "|---" * (len(TITLES) + 1) + "|", sep="\n", flush=True)
    for row in rows:
        found.append(row)
        print(line(row, limits, time.monotonic() - start), flush=True)
        start = time.monotonic()
    return found


def line(row: Row, limits: Ceilings, took: float) -> str:
    """A row in Markdown; `took` is in seconds."""
    return f"| {row.work} | {' | '.join([*_cells(row, limits), f'{took:.0f} s'])} |"


def _cells(row: Row, limits: Ceilings) -> list[str]:
    ours, plain = (row.ours or Measured(float("nan"))), (row.plain or Measured(float("nan")))
    floor = None if row.least is None else row.least.floor(limits)
    share = None if row.least is None else row.least.flops / ours.seconds / limits.flops
    return [
        *(_number(ours.seconds, 1e3), _number(plain.seconds, 1e3), _number(plain.seconds / ours.seconds)),
        *(_number(row.official, 1e3), _number(None if row.official is None else row.official / ours.seconds)),
        *(_number(floor, 1e3), "-" if share is None or share != share else f"{share:.0%}", _number(ours.busy, 1e3)),
        *(_number(ours.peak, 2**-30), _number(plain.peak, 2**-30)),
        _number(None if row.least is None else row.least.flops, 1e-9),
        "-" if row.error is None else f"{row.error:.1e}",
    ]


def _number(value: float | None, scale: float = 1.0) -> str:
    if value is None or value != value:
        return "-"
    return f"{value * scale:,.0f}" if abs(value * scale) >= 1000 else f"{value * scale:.3g}"
