"""Provenance: what a run was made from decides what a killed run may resume, and nothing else does."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from lvdm import provenance
from lvdm.errors import ArtefactError
from lvdm.graph import STAGES
from lvdm.params import Params, load_params
from lvdm.provenance import NOTHING, Provenance, code_hash, scratch_of
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
PARAMS = load_params(ROOT / "params.yaml")
STEPS = PARAMS.train_denoiser.training.steps


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.latents("small").mkdir(parents=True)
    (workspace.latents("small") / "index.json").write_text("{}")
    return workspace


def test_equal_work_resumes_from_the_same_folder(workspace):
    one = scratch_of("train_denoiser", PARAMS, workspace, "perturbed")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") == one


def with_other_training(**changes: object) -> Params:
    training = PARAMS.train_denoiser.training.model_copy(update=changes)
    shared = PARAMS.train_denoiser.model_copy(update={"training": training})
    return PARAMS.model_copy(update={"train_denoiser": shared})


def test_other_parameters_inputs_or_code_never_resume(workspace, monkeypatch, tmp_path):
    one = scratch_of("train_denoiser", PARAMS, workspace, "perturbed")
    assert scratch_of("train_denoiser", with_other_training(steps=7), workspace, "perturbed") != one

    (workspace.latents("small") / "index.json").write_text("{} ")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") != one
    (workspace.latents("small") / "index.json").write_text("{}")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") == one

    shutil.copytree(ROOT / "lvdm", tmp_path / "copy")
    (tmp_path / "copy/training/fit.py").write_text("# changed\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "copy")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") != one


@pytest.fixture
def killed(workspace):
    """A workspace with the state of a killed run of the denoiser `perturbed`."""
    (scratch_of("train_denoiser", PARAMS, workspace, "perturbed") / "run.ckpt").write_text("state")
    return workspace


def test_a_change_begins_anew_and_one_line_names_it(killed, caplog):
    with caplog.at_level("INFO", "lvdm"):
        folder = scratch_of("train_denoiser", with_other_training(learning_rate=0.002), killed, "perturbed")
    assert caplog.messages == [
        "train_denoiser perturbed begins anew, not from the state of a killed run: "
        "train_denoiser.training.learning_rate: 0.001 -> 0.002"
    ]
    assert not (folder / "run.ckpt").exists()


def test_equal_work_goes_on_and_says_so(killed, caplog):
    with caplog.at_level("INFO", "lvdm"):
        folder = scratch_of("train_denoiser", PARAMS, killed, "perturbed")
    assert caplog.messages == ["train_denoiser perturbed goes on from the state of a killed run"]
    assert (folder / "run.ckpt").exists()


def resumed(params: Params, workspace: Workspace, beside: Mapping[str, str] = NOTHING) -> Path:
    return scratch_of("train_denoiser", params, workspace, "perturbed", resume=True, beside=beside)


def test_to_insist_on_resuming_with_another_text_encoder_is_refused(workspace):
    begun = scratch_of("train_denoiser", PARAMS, workspace, "perturbed", beside={"text encoder": "one"})
    (begun / "run.ckpt").write_text("state")
    with pytest.raises(ArtefactError, match="of other work: data: text encoder changed; change that"):
        resumed(PARAMS, workspace, beside={"text encoder": "other"})
    assert resumed(PARAMS, workspace, beside={"text encoder": "one"}) == begun
    assert (begun / "run.ckpt").exists()


def test_a_process_that_helps_learns_of_the_folder_and_touches_nothing(killed, monkeypatch):
    begun = scratch_of("train_denoiser", PARAMS, killed, "perturbed")
    monkeypatch.setenv("LOCAL_RANK", "1")
    other = scratch_of("train_denoiser", with_other_training(steps=7), killed, "perturbed")
    assert (begun / "run.ckpt").exists() and not other.exists()
    monkeypatch.undo()
    assert scratch_of("train_denoiser", with_other_training(steps=7), killed, "perturbed") == other
    assert other.exists() and not begun.exists()


def test_to_insist_on_resuming_other_work_is_refused_with_the_difference_and_keeps_the_state(
    killed, monkeypatch, tmp_path
):
    resumed(PARAMS, killed)
    with pytest.raises(
        ArtefactError, match=rf"of other work: train_denoiser\.training\.steps: {STEPS} -> 7; change that"
    ):
        resumed(with_other_training(steps=7), killed)
    with pytest.raises(
        ArtefactError, match=rf"steps: {STEPS} -> 7; train_denoiser\.training\.seed: 0 -> 1; change that"
    ):
        resumed(with_other_training(seed=1, steps=7), killed)

    (killed.latents("small") / "index.json").write_text("{} ")
    with pytest.raises(ArtefactError, match="of other work: data: artifacts/latents/small changed; change that"):
        resumed(PARAMS, killed)
    (killed.latents("small") / "index.json").write_text("{}")

    shutil.copytree(ROOT / "lvdm", tmp_path / "copy")
    (tmp_path / "copy/training/fit.py").write_text("# changed\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "copy")
    with pytest.raises(ArtefactError, match=r"of other work: code: lvdm/training/fit\.py changed; change that"):
        resumed(PARAMS, killed)
    monkeypatch.undo()
    resumed(PARAMS, killed)


def test_to_insist_on_resuming_where_nothing_was_killed_is_refused(workspace):
    with pytest.raises(ArtefactError, match="train_denoiser perturbed: no killed run to resume; run it without"):
        resumed(PARAMS, workspace)
    scratch_of("train_denoiser", PARAMS, workspace, "perturbed")  # killed before its first state
    with pytest.raises(ArtefactError, match="no killed run to resume"):
        resumed(PARAMS, workspace)


def test_a_parameter_of_another_stage_changes_nothing(workspace):
    one = scratch_of("train_denoiser", PARAMS, workspace, "perturbed")
    changed = PARAMS.model_copy(update={"sample": PARAMS.sample.model_copy(update={"steps": 3})})
    assert scratch_of("train_denoiser", changed, workspace, "perturbed") == one


def test_every_file_that_the_code_of_a_stage_names_exists():
    for stage in STAGES.values():
        for part in stage.code:
            assert (ROOT / "lvdm" / part).exists(), part
        assert code_hash(stage)


def test_provenance_comes_back_as_it_was_written(workspace):
    stage = STAGES["encode_latents"]
    written = Provenance.of(stage, PARAMS, workspace, "small", {"artifacts/validated.parquet": "1"})
    written.write(workspace)
    assert Provenance.read(workspace.report("encode_latents", "small") / "provenance.json") == written
    assert set(written.outputs) == {"artifacts/latents/small"}


@pytest.mark.parametrize("text", ["{", "[]", '{"stage": "sample"}'])
def test_a_damaged_record_is_one_line_with_the_remedy(tmp_path, text):
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"provenance\.json: no provenance: .*; run that stage again"):
        Provenance.read(tmp_path / "provenance.json")


def test_the_commit_is_marked_when_something_changed_that_no_stage_writes(workspace):
    def git(*arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
        subprocess.run(["git", "-C", str(workspace.root), *identity, *arguments], check=True, capture_output=True)

    written = workspace.root / "dvc.lock", workspace.metrics("perturbed"), workspace.root / "params.yaml"
    git("init", "-q")
    for path in written:
        path.parent.mkdir(exist_ok=True)
        path.write_text("before")
    git("add", "-A")
    git("commit", "-qm", "all")

    def commit():
        return Provenance.of(STAGES["validate"], PARAMS, workspace, "", inputs={}).commit

    for path in written[:2]:
        path.write_text("after")
    assert re.fullmatch("[0-9a-f]{12}", commit())
    written[2].write_text("after")
    assert re.fullmatch(r"[0-9a-f]{12}\+changes", commit())
