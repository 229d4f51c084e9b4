"""Two experiments, or one at two revisions, side by side: only what differs, and what to mind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lvdm.comparison.difference import Side, differences
from lvdm.comparison.lock import md5
from lvdm.errors import ArtefactError, ParamsError
from tests.comparison.conftest import VALUES, result
from tests.comparison.test_measured import commit, git

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project with two measured experiments."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for name, values in VALUES.items():
        result(values).write(tmp_path / f"metrics/{name}.json")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "measured")
    return tmp_path


def compared(first: str, second: str, root: Path) -> list[list[str]]:
    """The paragraphs, as lines."""
    return [text.splitlines() for text in differences(Side.of(first, root), Side.of(second, root))]


def test_only_what_differs_is_shown_with_intervals_and_a_verdict(project: Path) -> None:
    parameters, metrics, _ = compared("perturbed", "unperturbed", project)
    assert [line.split() for line in parameters] == [
        ["parameters", "perturbed", "unperturbed"],
        ["sample.perturbation_level", "0.1", "0.0"],
        ["train_denoiser.objective.perturbation.max_level", "0.25", "0.0"],
    ]
    assert [" ".join(line.split()) for line in metrics[1:]] == [
        "fd_tn2 ↓ 2 [1.8, 2.2] 3.5 [3.15, 3.85] 1.5 [1.097, 1.903] worse",
        "kd_efflite0 ↓ 0.3 [0.27, 0.33] 0.2 [0.18, 0.22] -0.1 [-0.1361, -0.06394] better",
    ], "static_gap is the same in both"


def test_one_experiment_is_compared_with_itself_at_a_revision(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["experiments"]["perturbed"]["sample"] = {"guidance": 0.5}
    params["night"]["refresh_days"] += 1
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    result(VALUES["perturbed"] | {"fd_tn2": 2.01}).write(project / "metrics/perturbed.json")
    parameters, metrics, _ = compared("perturbed@HEAD", "perturbed", project)
    assert [line.split() for line in parameters[1:]] == [["sample.guidance", "0.1", "0.5"]]
    assert metrics[1].endswith("not told apart")
    same = compared("perturbed@HEAD", "perturbed@main", project)
    assert [text[0] for text in same[:2]] == ["parameters: the same", "metrics: the same"]


def test_numbers_measured_in_another_way_are_shown_and_not_compared(project: Path) -> None:
    result(VALUES["unperturbed"], real_set="77aa").write(project / "metrics/unperturbed.json")
    _, metrics, protocol, _ = compared("perturbed", "unperturbed", project)
    assert all(line.endswith("not comparable: see `measured by`") for line in metrics[1:])
    assert [line.split() for line in protocol[1:]] == [["real_set", "4fe1", "77aa"]]


def test_of_one_metric_with_other_numbers_of_clips_no_difference_is_given(project: Path) -> None:
    fewer = result(VALUES["unperturbed"])
    estimates = {**fewer.estimates, "fd_tn2": replace(fewer.estimates["fd_tn2"], n_fake=32)}
    replace(fewer, estimates=estimates).write(project / "metrics/unperturbed.json")
    _, metrics, _ = compared("perturbed", "unperturbed", project)
    assert " ".join(metrics[1].split()).endswith("– not comparable: other extractor or other numbers of clips")
    assert metrics[2].endswith("better")


def test_parameters_that_may_not_be_those_of_the_numbers_are_a_caution(project: Path) -> None:
    assert compared("perturbed", "unperturbed", project)[-1] == [
        f"mind: {name}: no dvc.lock there says which parameters made its numbers" for name in VALUES
    ]
    (project / "metrics/unperturbed.json").unlink()
    assert compared("perturbed", "unperturbed", project)[-1][1] == "mind: unperturbed: it has not been measured"


def test_parameters_changed_since_the_run_that_dvc_knows_are_named(project: Path) -> None:
    lock = {"stages": {"sample@perturbed": {"params": {"params.yaml": {"sample": {"steps": 3}}}}}}
    lock["stages"]["sample@perturbed"]["outs"] = [{"path": "artifacts/samples/perturbed", "md5": "1"}]
    digest = md5((project / "metrics/perturbed.json").read_text())
    lock["stages"]["evaluate@perturbed"] = {
        "deps": [{"path": "artifacts/samples/perturbed", "md5": "1"}],
        "outs": [{"path": "metrics/perturbed.json", "md5": digest}],
    }
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert Side.of("perturbed", project).cautions == ("stale: params.yaml has changed since sample perturbed",)


def test_what_is_not_there_is_one_line(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="expected one of perturbed, unperturbed, got 'nobody'"):
        Side.of("nobody", project)
    with pytest.raises(ArtefactError, match="revision gone"):
        Side.of("perturbed@gone", project)
    (project / "params.yaml").write_text("sections: [")
    with pytest.raises(ArtefactError, match=r"params.yaml: expected a YAML file of sections"):
        Side.of("perturbed", project)
