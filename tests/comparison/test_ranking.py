"""Only what was measured in the same way is ranked, in the direction of each metric."""

from __future__ import annotations

import pytest

from lvdm.comparison.ranking import differing_params, rank_experiments
from lvdm.errors import ArtefactError
from lvdm.evaluation import metrics
from lvdm.params import Params
from lvdm.workspace import Workspace
from tests.comparison.conftest import FLOOR, VALUES, result


def test_comparable_experiments_are_one_group_the_best_first(workspace: Workspace, params: Params) -> None:
    (group,) = rank_experiments(workspace, params).groups
    assert [row.experiment for row in group.rows] == ["perturbed", "unperturbed"]
    assert group.metrics == ("fd_tn2", "kd_efflite0", "static_gap")
    ranks = {row.experiment: [score.rank for score in row.scores.values()] for row in group.rows}
    assert ranks == {"perturbed": [1, 2, 1], "unperturbed": [2, 1, 1]}


def test_another_protocol_is_another_group_and_never_ranked_against_the_first(
    workspace: Workspace, params: Params
) -> None:
    result(VALUES["unperturbed"], num_clips=32).write(workspace.metrics("unperturbed"))
    groups = rank_experiments(workspace, params).groups
    assert [[row.experiment for row in group.rows] for group in groups] == [["perturbed"], ["unperturbed"]]
    assert all(score.rank == 1 for group in groups for row in group.rows for score in row.scores.values())


def test_where_higher_is_better_the_higher_one_leads(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not metrics.METRICS["clipsim"].lower_is_better
    monkeypatch.setitem(FLOOR, "clipsim", 0.3)
    for name, value in (("perturbed", 0.21), ("unperturbed", 0.25)):
        result({"clipsim": value}).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    assert [row.experiment for row in group.rows] == ["unperturbed", "perturbed"]


def test_an_experiment_that_lacks_the_leading_metric_comes_last(workspace: Workspace, params: Params) -> None:
    result({"kd_efflite0": 0.0}).write(workspace.metrics("perturbed"))
    (group,) = rank_experiments(workspace, params).groups
    assert [row.experiment for row in group.rows] == ["unperturbed", "perturbed"]


def test_only_the_parameters_that_differ_are_shown_with_their_resolved_values(params: Params) -> None:
    assert differing_params(params, ["perturbed", "unperturbed"]) == {
        "perturbed": {
            "sample.perturbation_level": "0.1",
            "train_denoiser.objective.perturbation.max_level": "0.25",
        },
        "unperturbed": {
            "sample.perturbation_level": "0.0",
            "train_denoiser.objective.perturbation.max_level": "0.0",
        },
    }


def test_what_was_not_evaluated_is_named(workspace: Workspace, params: Params) -> None:
    workspace.metrics("unperturbed").unlink()
    board = rank_experiments(workspace, params)
    assert board.not_evaluated == ("unperturbed",)
    workspace.metrics("perturbed").unlink()
    with pytest.raises(ArtefactError, match="no experiment has metrics"):
        rank_experiments(workspace, params)


def test_the_table_has_a_row_an_experiment_and_metric(workspace: Workspace, params: Params) -> None:
    table = rank_experiments(workspace, params).table()
    assert len(table) == 6
    assert table[0] == {
        "experiment": "perturbed",
        "group": 1,
        "metric": "fd_tn2",
        "value": 2.0,
        "floor": 0.5,
        "rank": 1,
    }
