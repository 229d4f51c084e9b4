"""Only what was measured in the same way is ranked, in the direction of each metric."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lvdm.comparison.leaderboard import summary, write_leaderboard
from lvdm.comparison.ranking import rank_experiments
from lvdm.comparison.verdict import judge
from lvdm.errors import ArtefactError
from lvdm.evaluation import metrics
from lvdm.evaluation.result import Estimate
from lvdm.graph import STAGES
from lvdm.params import Params
from lvdm.workspace import Workspace
from tests.comparison.conftest import FLOOR, VALUES, record, result


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


def test_the_largest_group_leads(workspace: Workspace, params: Params) -> None:
    now = params.model_copy(update={"experiments": params.experiments | {"third": params.experiments["perturbed"]}})
    result(VALUES["unperturbed"]).write(workspace.metrics("third"))
    result(VALUES["perturbed"], num_clips=32).write(workspace.metrics("perturbed"))
    groups = rank_experiments(workspace, now).groups
    assert [{row.experiment for row in group.rows} for group in groups] == [{"unperturbed", "third"}, {"perturbed"}]
    assert (groups[0].apart, groups[1].apart) == ((), ("num_clips: 32 instead of 64",))


def test_another_extractor_or_other_numbers_of_clips_have_no_rank(workspace: Workspace, params: Params) -> None:
    other = result(VALUES["unperturbed"])
    estimates = {
        "fd_tn2": replace(other.estimates["fd_tn2"], value=1.0, sha256="another file"),
        "kd_efflite0": replace(other.estimates["kd_efflite0"], n_fake=32),
        "static_gap": other.estimates["static_gap"],
    }
    replace(other, estimates=estimates).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    ranks = {row.experiment: [score.rank for score in row.scores.values()] for row in group.rows}
    assert ranks == {"perturbed": [1, 1, 1], "unperturbed": [None, None, 1]}
    assert [row.experiment for row in group.rows] == ["perturbed", "unperturbed"]
    write_leaderboard(params, workspace)
    pages = workspace.leaderboard / "experiments"
    assert "Place 1 of 2 comparable experiments" in (pages / "perturbed.html").read_text()
    assert "Not ranked, one of 2 comparable experiments" in (pages / "unperturbed.html").read_text()


def test_what_is_measured_of_long_videos_is_not_said_to_be_of_clips(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOOR, "identity_64", 1.0)
    for name in VALUES:
        result({"identity_64": 0.5}).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    assert "real long videos of the test split" in judge(group, "builtin").data


def test_a_difference_from_the_best_that_its_interval_does_not_tell_is_marked(
    workspace: Workspace, params: Params
) -> None:
    result(VALUES["unperturbed"] | {"fd_tn2": 2.2}).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    best, second = (row.scores["fd_tn2"] for row in group.rows)
    assert (best.as_good, best.behind) == (False, None)
    assert (second.as_good, second.rank) == (True, 2)
    assert second.behind.value == pytest.approx(0.2)
    assert group.rows[0].scores["kd_efflite0"].beaten


def test_what_has_no_interval_is_not_called_as_good(workspace: Workspace, params: Params) -> None:
    for name, values in VALUES.items():
        found = result(values)
        few = {key: replace(estimate, interval=None) for key, estimate in found.estimates.items()}
        replace(found, estimates=few).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    scores = [score for row in group.rows for score in row.scores.values()]
    assert any(score.behind for score in scores) and not any(score.as_good or score.beaten for score in scores)


def test_the_floor_is_that_of_the_best_that_has_the_metric(workspace: Workspace, params: Params) -> None:
    """Not of the first row, which may lack it, nor of what is not comparable."""
    result({"fd_tn2": 2.0}).write(workspace.metrics("perturbed"))
    other = result(VALUES["unperturbed"])
    elsewhere = replace(other.estimates["fd_tn2"], floor=9.0, sha256="another file", n_fake=32)
    replace(other, estimates={**other.estimates, "fd_tn2": elsewhere}).write(workspace.metrics("unperturbed"))
    board = rank_experiments(workspace, params)
    assert [row.experiment for row in board.groups[0].rows] == ["perturbed", "unperturbed"]
    assert [board.groups[0].floor(key) for key in ("fd_tn2", "kd_efflite0")] == [0.5, 0.01]
    assert "| *real against real* | 0.5 | 0.01 | 0.001 |" in summary(board, "builtin")


def test_where_higher_is_better_the_higher_one_leads(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not metrics.METRICS["clipsim"].lower_is_better
    monkeypatch.setitem(FLOOR, "clipsim", 0.3)
    for name, value in (("perturbed", 0.21), ("unperturbed", 0.25)):
        result({"clipsim": value}).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    assert [row.experiment for row in group.rows] == ["unperturbed", "perturbed"]


def test_the_metric_that_is_asked_for_first_leads(workspace: Workspace, params: Params) -> None:
    asked = params.evaluate.model_copy(update={"metrics": ("kd_efflite0", "fd_tn2")})
    (group,) = rank_experiments(workspace, params.model_copy(update={"evaluate": asked})).groups
    assert group.metrics == ("kd_efflite0", "fd_tn2", "static_gap")
    assert [row.experiment for row in group.rows] == ["unperturbed", "perturbed"]


def test_an_experiment_that_lacks_the_leading_metric_comes_last(workspace: Workspace, params: Params) -> None:
    result({"kd_efflite0": 0.0}).write(workspace.metrics("perturbed"))
    (group,) = rank_experiments(workspace, params).groups
    assert [row.experiment for row in group.rows] == ["unperturbed", "perturbed"]


def differing(workspace: Workspace, params: Params) -> dict[str, dict[str, str]]:
    return {row.experiment: dict(row.differs) for row in rank_experiments(workspace, params).rows}


DIFFERING = {
    "perturbed": {
        "sample.perturbation_level": "0.1",
        "train_denoiser.objective.perturbation.max_level": "0.25",
    },
    "unperturbed": {
        "sample.perturbation_level": "0.0",
        "train_denoiser.objective.perturbation.max_level": "0.0",
    },
}


def test_only_the_parameters_that_differ_are_shown_with_their_resolved_values(
    workspace: Workspace, params: Params
) -> None:
    assert differing(workspace, params) == DIFFERING
    assert all(row.stale == () for row in rank_experiments(workspace, params).rows)


def test_networks_whose_steps_saw_other_numbers_of_examples_differ(workspace: Workspace, params: Params) -> None:
    """Of equal parameters: a batch is that of one device. Also where the chain to the parameters is broken, as here."""
    examples = {"perturbed": 256, "unperturbed": 32}
    for name, count in examples.items():
        trained_with = {"denoiser": {"examples_a_step": count, "arithmetic": "bfloat16"}}
        made_with = {"trained_with": trained_with, "arithmetic": "bfloat16", "denoiser": name}
        replace(result(VALUES[name]), made_with=made_with).write(workspace.metrics(name))
    expected = {name: {"trained_with.denoiser.examples_a_step": f"{count}"} for name, count in examples.items()}
    assert differing(workspace, params) == expected


def test_what_differs_is_what_made_the_numbers_and_a_change_since_makes_them_stale(
    workspace: Workspace, params: Params
) -> None:
    now = changed(params, "train_denoiser", training=params.train_denoiser.training.model_copy(update={"steps": 7}))
    assert differing(workspace, now) == DIFFERING
    assert [row.stale for row in rank_experiments(workspace, now).rows] == [
        ("train_denoiser perturbed",),
        ("train_denoiser unperturbed",),
    ]
    write_leaderboard(now, workspace)
    board = json.loads((workspace.leaderboard / "leaderboard.json").read_text())
    assert board["groups"][0]["rows"][0]["stale"] == ["train_denoiser perturbed"]
    for form in ("leaderboard.md", "index.html"):
        assert "params.yaml has changed since train_denoiser perturbed" in (workspace.leaderboard / form).read_text()


def test_runs_with_other_parameters_since_are_told_apart_by_what_each_was_made_with(
    workspace: Workspace, params: Params
) -> None:
    since = changed(params, "evaluate", seed=5)
    result(VALUES["unperturbed"]).write(workspace.metrics("unperturbed"))
    record(workspace, STAGES["evaluate"], "unperturbed", since)
    seeds = {name: keys["evaluate.seed"] for name, keys in differing(workspace, params).items()}
    assert seeds == {"perturbed": "0", "unperturbed": "5"}
    assert [row.stale for row in rank_experiments(workspace, since).rows] == [("evaluate perturbed",), ()]


def test_another_autoencoder_named_since_makes_the_numbers_stale(workspace: Workspace, params: Params) -> None:
    entry = params.experiments["perturbed"].model_copy(update={"autoencoder": "other"})
    names = {"autoencoders": params.autoencoders | {"other": params.autoencoders["small"]}}
    now = params.model_copy(update=names | {"experiments": params.experiments | {"perturbed": entry}})
    assert [row.stale for row in rank_experiments(workspace, now).rows] == [
        ("encode_latents small", "train_autoencoder small"),
        (),
    ]


def test_what_is_not_on_record_is_said_where_others_differ_and_is_no_difference_by_itself(
    workspace: Workspace, params: Params
) -> None:
    entry = params.experiments["perturbed"]
    now = params.model_copy(update={"experiments": params.experiments | {"third": entry}})
    result(VALUES["perturbed"] | {"fd_tn2": 0.1}).write(workspace.metrics("third"))
    unknown = dict.fromkeys(DIFFERING["perturbed"], "not on record")
    assert differing(workspace, now) == DIFFERING | {"third": unknown}
    workspace.metrics("unperturbed").unlink()
    assert differing(workspace, now) == {"perturbed": {}, "third": {}}


def test_a_number_without_a_rank_is_no_second_to_be_ahead_of(workspace: Workspace, params: Params) -> None:
    other = result(VALUES["unperturbed"])
    fewer = {key: replace(estimate, n_fake=32) for key, estimate in other.estimates.items()}
    replace(other, estimates=fewer).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    verdict = judge(group, "builtin")
    assert verdict.lead == "fd_tn2 2 [1.8, 2.2]; real against real: 0.5"
    assert "fd_tn2 does not rank unperturbed" in verdict.caution
    result({"static_gap": 0.2}).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    assert "fd_tn2 does not rank unperturbed" in judge(group, "builtin").caution


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_what_is_no_number_is_refused_and_not_ranked(workspace: Workspace, params: Params, number: str) -> None:
    path = workspace.metrics("perturbed")
    path.write_text(path.read_text().replace('"fd_tn2": 2.0', f'"fd_tn2": {number}'))
    with pytest.raises(ArtefactError, match=r"perturbed.json: .* on tn2 is no number; run `lvdm evaluate perturbed`"):
        rank_experiments(workspace, params)


def changed(params: Params, section: str, **values: object) -> Params:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})


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
        "low": 1.8,
        "high": 2.2,
        "floor": 0.5,
        "rank": 1,
    }


def test_a_lead_in_what_is_no_distance_is_not_held_against_the_value_of_real_video(
    workspace: Workspace, params: Params
) -> None:
    for name, value in (("perturbed", 0.9), ("unperturbed", 0.5)):
        share = Estimate(value, 1.0, (value - 0.05, value + 0.05), 64, 64, 64, "higher", "sprites", "none")
        replace(result({}), estimates={"identity_64": share}).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    verdict = judge(group, "builtin")
    assert verdict.lead.startswith("identity_64 0.9 [0.85, 0.95], 0.4 ")
    assert "the lead is smaller" not in verdict.caution
