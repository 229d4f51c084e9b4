"""What evaluation says of an experiment, as tables in Markdown: for its report, in Dagster and on the page.

Not here: measuring, and ranking one experiment against others (lvdm/comparison). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lvdm.evaluation.result import Estimate, Result

ALONG = ("mean", "first", "last", "change", "slope_per_1000_frames")


def summarise(result: Result) -> str:
    """Every number with what stands beside it."""
    parts = [_metrics(result), _along(result), _continuity(result), _memorisation(result), _missing(result)]
    return "\n\n".join(part for part in parts if part)


def _metrics(result: Result) -> str:
    header = (
        "metric",
        "better",
        "value",
        "95 %",
        "real against real",
        "train",
        "test",
        "n real",
        "n fake",
        "extractor",
    )
    rows = [
        (
            *(key, estimate.better, _number(estimate.value), _interval(estimate), _floor(estimate)),
            *(_number(estimate.by_split.get(split)) for split in ("train", "test")),
            *(str(estimate.n_real), str(estimate.n_fake), f"{estimate.extractor} {estimate.sha256[:8]}"),
        )
        for key, estimate in result.estimates.items()
    ]
    facts = ", ".join(f"{key} {value}" for key, value in result.protocol.items() if key not in ("resize", "fake"))
    return f"{_table(header, rows)}\n\nProtocol: {facts}"


def _along(result: Result) -> str:
    """One table of the curves: samples with their interval, real video beside."""
    curves = {key: numbers for key, numbers in result.drift.items() if "fake_mean" in numbers}
    header = ("along the long videos", *(column.replace("_", " ") for column in ALONG))
    rows = [
        (f"{key}, {name}", *(_with_interval(numbers, f"{side}_{column}") for column in ALONG))
        for key, numbers in curves.items()
        for side, name in (("fake", "samples"), ("real", "real"))
        if f"{side}_mean" in numbers
    ]
    return _table(header, rows)


def _continuity(result: Result) -> str:
    found = {key: numbers for key, numbers in result.drift.items() if "fake" in numbers}
    order = sorted(found, key=lambda key: int(key.rpartition("_")[2]) if key != "joins" else 0)
    rows = [(key, *(_with_interval(found[key], side) for side in ("fake", "real"))) for key in order]
    return _table(("within the long videos", "samples", "real"), rows)


def _memorisation(result: Result) -> str:
    columns = ("fake", "held_out", "nearer", "copies", "searched")
    header = ("to the nearest training clip", "samples", "held out", "P(nearer)", "copies", "searched")
    rows = [(key, *(_number(numbers[c]) for c in columns)) for key, numbers in result.memorisation.items()]
    return _table(header, rows)


def _missing(result: Result) -> str:
    return "\n".join(f"- {key}: {reason}" for key, reason in result.not_available.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _interval(estimate: Estimate) -> str:
    return f"{_number(estimate.interval[0])} to {_number(estimate.interval[1])}" if estimate.interval else "too few"


def _floor(estimate: Estimate) -> str:
    fewer = f" (n {estimate.floor_n})" if estimate.floor_n != estimate.n_real else ""
    return f"{_number(estimate.floor)}{fewer}"


def _with_interval(numbers: Mapping[str, float], key: str) -> str:
    value = _number(numbers.get(key))
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return value if low is None else f"{value} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
