"""Which of the means against drift does what: the experiments of `lvdm preset ablation`, and factor by factor.

    lvdm preset ablation > params.yaml     # then every stage, by `dvc repro`, Dagster, or the commands one by one
    python -m benchmarks.ablation          # Markdown: of the experiments of ./params.yaml that have been evaluated

All numbers are from metrics/<experiment>.json, with their intervals over videos; `real` is real video, measured alike.
Not here: making and measuring anything; that is the pipeline.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from lvdm.errors import ArtefactError
from lvdm.evaluation.result import Result
from lvdm.params import Experiment, Params, load_params
from lvdm.workspace import Workspace

Value = tuple[float, float, float]  # with its interval; nan where there is none
NOTHING: Value = (math.nan, math.nan, math.nan)
COLUMNS: Mapping[
    str, Callable[[Result, str], Value]
] = {  # head: where its value lies in a result, of samples or of real video
    "tn2, last 15 % less first": lambda r, side: _of_drift(r, "tn2", f"{side}_change"),
    "fd_tn2, last 15 % less first": lambda r, side: _of_drift(r, "fd_tn2", f"{side}_change"),
    "area gap, 1st 128": lambda r, side: _measured(r, "area_gap_128", side),
    "area gap, 8th 128": lambda r, side: _measured(r, "area_gap_1024", side),
    "identity after 1,024": lambda r, side: _metric(r, "identity_1024", side),
    "step at joins": lambda r, side: _of_drift(r, "joins", side),
    "fd_efflite0 of clips": lambda r, side: _metric(r, "fd_efflite0", side),
}


@dataclass(frozen=True)
class Cell:
    """An experiment of the ablation: its levels, by factor, and what was measured."""

    name: str
    levels: Mapping[str, str]
    result: Result

    def value(self, column: str) -> Value:
        return COLUMNS[column](self.result, "fake")


def levels_of(experiment: Experiment) -> dict[str, str]:
    """What an experiment does against drift."""
    trained, sample = experiment.train_denoiser.objective.perturbation, experiment.sample
    scheme = (
        sample.scheme if sample.refine_strength == 1 else f"{sample.scheme}, refined from {sample.refine_strength:g}"
    )
    none = trained.max_level == 0 and trained.alpha == 0
    return {
        "autoencoder": experiment.autoencoder,
        "perturbation": "none" if none else "the paper's" if trained.alpha == 0 else f"the seed's, {trained.alpha:g}",
        "w": f"{sample.guidance:g}",
        "scheme": scheme,
    }


def cells_of(params: Params, workspace: Workspace) -> list[Cell]:
    """The experiments that have been evaluated, in the order of params.yaml.

    Raises:
        ArtefactError: none has.
    """
    evaluated = [name for name in params.experiments if workspace.metrics(name).is_file()]
    if not evaluated:
        raise ArtefactError("no experiment has metrics", remedy="run `lvdm evaluate NAME` for each of experiments:")
    return [Cell(n, levels_of(params.experiment(n)), Result.read(workspace.metrics(n))) for n in evaluated]


def table(cells: Sequence[Cell]) -> Iterator[str]:
    """A row a cell, as Markdown, and real video last."""
    factors = list(cells[0].levels)
    yield f"| {' | '.join([*factors, *COLUMNS])} |"
    yield f"|{'---|' * len(factors)}{'---:|' * len(COLUMNS)}"
    for cell in cells:
        yield f"| {' | '.join([*cell.levels.values(), *(_said(cell.value(column)) for column in COLUMNS)])} |"
    real = [_said(of(cells[0].result, "real")) for of in COLUMNS.values()]
    yield f"| {' | '.join(['*real*', *[''] * (len(factors) - 1), *real])} |"


def effects(cells: Sequence[Cell]) -> Iterator[str]:
    """The mean over all cells of each level of each factor, as Markdown; only of cells with the first's autoencoder."""
    alike = [cell for cell in cells if cell.levels["autoencoder"] == cells[0].levels["autoencoder"]]
    yield f"| {' | '.join(['factor', 'level', 'cells', *COLUMNS])} |"
    yield f"|---|---|{'---:|' * (1 + len(COLUMNS))}"
    for factor in itertools.islice(cells[0].levels, 1, None):
        for level in dict.fromkeys(cell.levels[factor] for cell in alike):
            those = [cell for cell in alike if cell.levels[factor] == level]
            means = [_number(mean(cell.value(column)[0] for cell in those)) for column in COLUMNS]
            yield f"| {' | '.join([factor, level, str(len(those)), *means])} |"


def _of_drift(result: Result, curve: str, key: str) -> Value:
    numbers = result.drift.get(curve, {})
    if key not in numbers:
        return NOTHING
    return numbers[key], numbers.get(f"{key}_low", math.nan), numbers.get(f"{key}_high", math.nan)


def _measured(result: Result, key: str, side: str) -> Value:
    return (result.measured.get(key, {}).get(side, math.nan), math.nan, math.nan)


def _metric(result: Result, key: str, side: str) -> Value:
    estimate = result.estimates.get(key)
    if estimate is None:
        return NOTHING
    if side == "real":
        return estimate.floor, math.nan, math.nan
    return (estimate.value, *(estimate.interval or (math.nan, math.nan)))


def _said(value: Value) -> str:
    number, low, high = value
    return _number(number) if math.isnan(low) else f"{_number(number)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    cells = cells_of(load_params(Path("params.yaml")), Workspace.at(Path()))
    print("\n".join([*table(cells), "", *effects(cells)]))


if __name__ == "__main__":
    main()
