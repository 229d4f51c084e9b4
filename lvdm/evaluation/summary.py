"""What evaluation says of an experiment, as tables: for its report, in Dagster and on its page.

Not here: measuring, and ranking one experiment against others (lvdm/comparison). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Estimate, Result

ALONG = ("mean", "first", "last", "change", "slope_per_1000_frames")
MEASURED = {  # what the quantities of `Result.measured` are; of some there is one a length, as in sprites_64
    "motion": "mean absolute difference of consecutive frames, grey levels",
    "static": "share of static frames",
    "clip": "CLIPSIM: cosine of frame and caption",
    "clipsim_x100": "the same times 100, as some tables have it",
    "sprites": "sprites of which one can tell whether they are kept, after so many frames",
    "untold": "long videos of which one cannot",
    "area_gap": "100 x Wasserstein distance to real areas of sprites, in the 128 frames that end there",
}


@dataclass(frozen=True)
class Table:
    """Numbers in words; the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table for Dagster and a report; nothing without rows."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) if self.rows else ""


def summarise(result: Result) -> str:
    """Every number with what stands beside it."""
    facts = ", ".join(f"{key} {value}" for key, value in result.protocol.items() if key not in ("resize", "fake"))
    tables = [measurements(result), measured(result), along(result), within(result), memorisation(result)]
    metrics, *others = (table.markdown() for table in tables)
    missing = "\n".join(f"- {key}: {reason}" for key, reason in result.not_available.items())
    return "\n\n".join(part for part in (metrics, f"Protocol: {facts}", *others, missing) if part)


def measurements(result: Result) -> Table:
    """Each metric with its interval, its floor, and its value against either split."""
    beside = ("better", "value", "95 %", "real against real", "train", "test", "n real", "n fake", "extractor")
    rows = [
        (
            *(key, estimate.better, _number(estimate.value), _interval(estimate), _floor(estimate)),
            *(_number(estimate.by_split.get(split)) for split in ("train", "test")),
            *(str(estimate.n_real), str(estimate.n_fake), _extractor(estimate)),
        )
        for key, estimate in ((key, result.estimates[key]) for key in METRICS if key in result.estimates)
    ]
    return Table(("metric", *beside), tuple(rows))


def measured(result: Result) -> Table:
    """What was measured on either side, and is no distance."""
    rows = []
    for key, sides in result.measured.items():
        stem, _, length = key.rpartition("_")
        meaning = MEASURED.get(key) or MEASURED.get(stem if length.isdigit() else key, "")
        rows.append((key, meaning, *(_number(sides[side]) for side in ("fake", "real"))))
    return Table(("measured", "what it is", "samples", "real"), tuple(rows))


def along(result: Result) -> Table:
    """The curves along the long videos: samples with their interval, real video below; over how many frames either."""
    curves = {key: numbers for key, numbers in result.drift.items() if "fake_mean" in numbers}
    rows = [
        (
            f"{key}, {name}",
            _number(numbers.get(f"{side}_frames")),
            *(_with_interval(numbers, f"{side}_{column}") for column in ALONG),
        )
        for key, numbers in curves.items()
        for side, name in (("fake", "samples"), ("real", "real"))
        if f"{side}_mean" in numbers
    ]
    return Table(("along the long videos", "frames", *(column.replace("_", " ") for column in ALONG)), tuple(rows))


def within(result: Result) -> Table:
    """Similarity by lag, and steps where windows join."""
    found = {key: numbers for key, numbers in result.drift.items() if "fake" in numbers}
    order = sorted(found, key=lambda key: int(key.rpartition("_")[2]) if key != "joins" else 0)
    rows = [(key, *(_with_interval(found[key], side) for side in ("fake", "real"))) for key in order]
    return Table(("within the long videos", "samples", "real"), tuple(rows))


def memorisation(result: Result) -> Table:
    """How near samples lie to training clips, and held-out clips to these."""
    columns = ("fake", "held_out", "nearer", "copies", "searched")
    rows = [(key, *(_number(numbers[c]) for c in columns)) for key, numbers in result.memorisation.items()]
    header = ("to the nearest training clip", "samples", "held out", "P(nearer)", "copies", "searched")
    return Table(header, tuple(rows))


def _interval(estimate: Estimate) -> str:
    return f"{_number(estimate.interval[0])} to {_number(estimate.interval[1])}" if estimate.interval else "too few"


def _extractor(estimate: Estimate) -> str:
    return estimate.extractor if estimate.sha256 == "none" else f"{estimate.extractor} {estimate.sha256[:8]}"


def _floor(estimate: Estimate) -> str:
    fewer = f" (n {estimate.floor_n})" if estimate.floor_n != estimate.n_real else ""
    return f"{_number(estimate.floor)}{fewer}"


def _with_interval(numbers: Mapping[str, float], key: str) -> str:
    value = _number(numbers.get(key))
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return value if low is None else f"{value} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
