"""What a finished run made is taken by a run of equal work, to the byte, and by no other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvdm import provenance
from lvdm.fingerprints import sha256
from lvdm.graph import STAGES
from lvdm.kept import KeptRun, Run, _installed
from lvdm.models.pretrained import Network
from lvdm.params import Params, parse_params
from lvdm.provenance import Provenance, hashes
from lvdm.report import Report
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
TEXT = {"condition": "text", "text": {"encoder": "clip", "folder": "encoder"}}


def params(**objective: Any) -> Params:
    """Those of the tree, with `objective` shared by all experiments; `unperturbed` has a max_level of its own."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["train_denoiser"]["network"] |= TEXT
    document["train_denoiser"]["objective"] |= objective
    return parse_params(document)


SHARED = params()


@pytest.fixture
def workspace(tmp_path):
    """One with a finished training of `unperturbed`: files and a report, of latents and of a text encoder."""
    workspace = Workspace(tmp_path)
    for path in (workspace.latents("small") / "index.json", tmp_path / "encoder" / "model.safetensors"):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    made = (workspace.denoiser("unperturbed") / "model.safetensors", workspace.curve("train_denoiser", "unperturbed"))
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text(f"made {path.name}")
    Report("train_denoiser", "unperturbed", {"loss": 0.5}).write(workspace)
    stage, inputs = STAGES["train_denoiser"], {"artifacts/latents/small": "a"}
    Provenance.of(stage, params(), workspace, "unperturbed", inputs).write(workspace)
    run(workspace).keep()
    return workspace


def run(workspace: Workspace, asked: Params | None = None) -> KeptRun:
    params = asked or SHARED
    inputs = hashes(STAGES["train_denoiser"].inputs(workspace, params, "unperturbed"), workspace)
    kept = KeptRun.of(Run.of("train_denoiser", params, workspace, "unperturbed", inputs))
    assert kept is not None
    return kept


def files(workspace: Workspace) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(workspace.artefacts.rglob("*")) if path.is_file()}


def test_what_dvc_removed_for_a_shared_parameter_that_the_entry_overrides_is_there_again(workspace, caplog):
    before = files(workspace)
    for path in run(workspace).run.paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with caplog.at_level("INFO"):
        report = run(workspace, params(perturbation={"max_level": 0.125, "alpha": 0.0})).take()
    assert report == Report("train_denoiser", "unperturbed", {"loss": 0.5})
    assert files(workspace) == before
    assert caplog.messages == [
        "train_denoiser unperturbed: up to date, of the same parameters, inputs and code; to make it anew, remove "
        ".lvdm/made/train_denoiser/unperturbed"
    ]


def test_what_other_work_left_is_replaced_and_its_state_left(workspace):
    before = files(workspace)
    path, curve = workspace.denoiser("unperturbed") / "more", workspace.curve("train_denoiser_held_out", "unperturbed")
    curve.parent.mkdir()
    for other in (path, curve, workspace.denoiser("unperturbed") / "model.safetensors"):
        other.unlink(missing_ok=True)
        other.write_text("of other work")
    killed = workspace.scratch("train_denoiser", "unperturbed", "of other work")
    killed.mkdir(parents=True)
    assert run(workspace).take()
    assert files(workspace) == before and killed.exists()


@pytest.mark.parametrize("changed", ["own", "shared", "input", "text encoder", "code"])
def test_nothing_is_taken_of_other_work(workspace, changed, monkeypatch, tmp_path):
    now = params()
    if changed == "own":
        now = now.model_copy(deep=True)
        now.experiments["unperturbed"].train_denoiser["objective"]["raise_given"] = 0.2
    elif changed == "shared":
        now = params(raise_given=0.2)
    elif changed == "input":
        (workspace.latents("small") / "index.json").write_text("{} ")
    elif changed == "text encoder":
        (tmp_path / "encoder" / "model.safetensors").write_text("another")
    else:
        shutil.copytree(ROOT / "lvdm", tmp_path / "copy")
        (tmp_path / "copy/models/layers.py").write_text("# changed\n")
        monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "copy")
    assert run(workspace, now).take() is None


def test_an_installed_network_is_another_one_with_another_file_beside_it(tmp_path):
    workspace = Workspace(tmp_path)
    file, companion = workspace.weights / "network.bin", workspace.weights / "vocab.json"
    workspace.weights.mkdir()
    file.write_text("weights")
    companion.write_text("{}")
    network = Network("clip", "", file.name, sha256(file), "", companions={companion.name: None})
    before = _installed(network, workspace)
    companion.write_text("[]")
    assert _installed(network, workspace) != before


@pytest.mark.parametrize("damage", ["cut", "gone", "more", "list cut", "list of nothing", "report of another version"])
def test_what_is_damaged_is_made_anew_and_a_line_says_so(workspace, damage, caplog):
    folder = run(workspace).folder
    model = folder / "files/artifacts/denoiser/unperturbed/model.safetensors"
    if damage == "cut":
        model.write_text("made model")
    elif damage == "gone":
        model.unlink()
    elif damage == "more":
        model.with_name("more").write_text("")
    elif damage == "list cut":
        (folder / "made.json").write_bytes((folder / "made.json").read_bytes()[:-20])
    elif damage == "list of nothing":
        (folder / "made.json").write_text("[]")
    else:
        (workspace.report("train_denoiser", "unperturbed") / "report.json").write_text("{}")
        run(workspace).keep()
    assert run(workspace).take() is None
    assert "train_denoiser unperturbed: made anew, as" in caplog.text


def test_without_a_whole_list_nothing_was_kept(workspace):
    shutil.rmtree(run(workspace).folder)
    assert run(workspace).take() is None
