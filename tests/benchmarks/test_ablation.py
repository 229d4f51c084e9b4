"""The ablation's tables: an experiment a row, whatever it does against drift, and the mean over each level."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import ablation
from lvdm import presets
from lvdm.errors import ArtefactError
from lvdm.evaluation.result import Estimate, Result
from lvdm.params import load_params
from lvdm.workspace import Workspace


def result(change: float) -> Result:
    drift = {"fake_change": change, "fake_change_low": change - 1, "fake_change_high": change + 1, "real_change": 0.5}
    clips = Estimate(10 * change, 7.0, None, 64, 64, 64, "lower", "efflite0", "none")
    return Result({"fd_efflite0": clips}, {"area_gap_1024": {"fake": 2.0, "real": 0.3}}, {}, {}, {"tn2": drift})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "params.yaml").write_text(presets.render("ablation"))
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def test_each_experiment_is_a_row_and_each_level_has_the_mean_of_its_experiments(workspace, capsys):
    params = load_params(workspace.root / "params.yaml")
    changes = {name: float(number) for number, name in enumerate(params.experiments, start=1)}
    for name, change in changes.items():
        result(change).write(workspace.metrics(name))
    ablation.main([])
    rows, effects = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        for part in capsys.readouterr().out.split("\n\n")
    )
    assert len(rows) == 2 + 19 + 1
    assert rows[2][:5] == ["small", "none", "0", "autoregressive", "1 [0, 2]"]
    assert rows[-2][0] == "pixels"
    assert rows[-1][4:] == ["0.5", "–", "–", "0.3", "–", "–", "7"]
    told = {(factor, level): float(change) for factor, level, _, change, *_ in effects[2:]}
    assert len(told) == 3 + 2 + 3, "pixels are no level of a factor"
    for level, pattern in (("none", r"none-"), ("the paper's", r"paper-"), ("the seed's, 0.5", r"seed-")):
        those = [change for name, change in changes.items() if re.match(pattern, name)]
        assert told["perturbation", level] == pytest.approx(sum(those) / 6, rel=5e-3)
    assert told["w", "0.1"] - told["w", "0"] == pytest.approx(3)


def test_without_any_experiment_measured_it_says_what_to_run(workspace):
    with pytest.raises(ArtefactError, match="lvdm evaluate NAME"):
        ablation.main([])
