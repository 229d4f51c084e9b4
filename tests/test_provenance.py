"""Provenance: what a run was made from decides what a killed run may resume, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lvdm import provenance
from lvdm.graph import STAGES
from lvdm.params import load_params
from lvdm.provenance import Provenance, code_hash, scratch_of
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.latents("small").mkdir(parents=True)
    (workspace.latents("small") / "index.json").write_text("{}")
    return workspace


def test_equal_work_resumes_from_the_same_folder(workspace):
    one = scratch_of("train_denoiser", PARAMS, workspace, "perturbed")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") == one


def test_other_parameters_inputs_or_code_never_resume(workspace, monkeypatch, tmp_path):
    one = scratch_of("train_denoiser", PARAMS, workspace, "perturbed")
    training = PARAMS.train_denoiser.training.model_copy(update={"steps": 7})
    shared = PARAMS.train_denoiser.model_copy(update={"training": training})
    changed = PARAMS.model_copy(update={"train_denoiser": shared})
    assert scratch_of("train_denoiser", changed, workspace, "perturbed") != one

    (workspace.latents("small") / "index.json").write_text("{} ")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") != one
    (workspace.latents("small") / "index.json").write_text("{}")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") == one

    shutil.copytree(ROOT / "lvdm", tmp_path / "copy")
    (tmp_path / "copy/training/fit.py").write_text("# changed\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "copy")
    assert scratch_of("train_denoiser", PARAMS, workspace, "perturbed") != one


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
