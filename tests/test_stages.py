"""Stages one after the other in this process, where what counts is that they fit together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lvdm.cost import GpuUse, add
from lvdm.data.latents import LatentCache
from lvdm.data.samples import SampleSet
from lvdm.errors import ArtefactError, WeightsError
from lvdm.making import made_with
from lvdm.models import text
from lvdm.models.autoencoder import IdentityAutoencoder
from lvdm.models.checkpoint import load_autoencoder
from lvdm.params import Params, parse_params
from lvdm.report import Report
from lvdm.run import run_stage
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
SHORT = {"steps": 2, "batch_size": 2, "warmup_steps": 0, "validate_every": 2}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Eighteen videos of 16 x 16 pixels, rendered and validated; what follows is made once for all that ask for it."""
    tmp_path = tmp_path_factory.mktemp("project")
    recipe = yaml.safe_load((ROOT / "builtin" / "recipe.yaml").read_text())
    recipe |= {"num_videos": 18, "frames": 16, "num_long_videos": 1, "long_frames": 24, "size": 16}
    (tmp_path / "builtin").mkdir()
    (tmp_path / "builtin" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "machine.yaml").write_text("accelerator: cpu\n")
    workspace = Workspace.at(tmp_path)
    for verb in ("ingest", "validate"):
        run_stage(verb, tiny_params({}, {}), workspace)
    return workspace


IDENTITY: dict[str, object] = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}


def tiny_params(network: dict[str, object], objective: dict[str, object]) -> Params:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["validate"]["min_side"] = 16
    document["clips"] |= {"frames": 8, "size": 16}
    document["train_autoencoder"]["training"] |= SHORT
    denoiser = document["train_denoiser"]
    denoiser |= {"window": 3, "strides": [1, 2]}
    denoiser["network"] |= {"channels": 8, "head_channels": 8, "channel_multipliers": [1], "attention_levels": [0]}
    denoiser["objective"]["max_given"] = 1
    denoiser["training"] |= SHORT
    document["sample"] |= {"steps": 2, "num_clips": 2, "num_long_videos": 1, "long_frames": 20}
    document["evaluate"]["num_clips"] = 2
    document["autoencoders"] = {"one": {"train_autoencoder": {"network": network, "objective": objective}}}
    document["experiments"] = {
        "all": {"autoencoder": "one", "train_denoiser": {}, "sample": {}},
        "apart": {"autoencoder": "one", "train_denoiser": {"separate_interpolator": True}, "sample": {}},
        "guided": {"autoencoder": "one", "train_denoiser": {}, "sample": {"guidance": 0.7}},
    }
    return parse_params(document)


def test_the_identity_gives_the_pixel_space_model_through_the_same_stages(workspace):
    """The video diffusion model of arXiv 2204.03458: latents are whitened pixels, a frame each."""
    params = tiny_params(IDENTITY, {})
    for verb in ("train_autoencoder", "encode_latents"):
        run_stage(verb, params, workspace, "one")
    for verb in ("train_denoiser", "sample"):
        run_stage(verb, params, workspace, "all")
    assert isinstance(load_autoencoder(workspace.autoencoder("one")), IdentityAutoencoder)
    assert LatentCache(workspace.latents("one")).shape == (3, 16, 16)
    samples = SampleSet(workspace.samples("all"))
    assert samples.clips()[0].shape == (8, 16, 16, 3)
    assert [sample.frames for sample in samples.samples("long")] == [20]
    assert samples.clips()[0].float().std() > 1  # of 255: not blank


def test_a_separate_interpolator_makes_the_frames_between_the_key_frames_and_no_other(workspace):
    """Pixels are latents here, so that what another interpolator changes can be told from the frames."""
    params = tiny_params(IDENTITY, {})
    for verb in ("train_autoencoder", "encode_latents"):
        run_stage(verb, params, workspace, "one")
    report = run_stage("train_denoiser", params, workspace, "apart")
    assert {"loss", "interpolator_loss", "validation_loss", "interpolator_validation_loss"} < set(report.metrics)
    run_stage("sample", params, workspace, "apart")
    before = SampleSet(workspace.samples("apart")).clips()[:]
    path = workspace.denoiser("apart") / "interpolator.safetensors"
    weights = load_file(path)
    weights["body.head.conv.weight"] += torch.randn(
        weights["body.head.conv.weight"].shape, generator=torch.Generator().manual_seed(0)
    )
    path.unlink()
    save_file(weights, path)
    run_stage("sample", params, workspace, "apart")
    after = SampleSet(workspace.samples("apart")).clips()[:]
    assert torch.equal(after[:, ::2], before[:, ::2])
    assert not any(torch.equal(after[:, i], before[:, i]) for i in range(1, 8, 2))


def test_experiments_that_differ_in_sampling_alone_are_trained_once(workspace):
    params = tiny_params(IDENTITY, {})
    for verb in ("train_autoencoder", "encode_latents"):
        run_stage(verb, params, workspace, "one")
    trained = run_stage("train_denoiser", params, workspace, "all")
    taken = run_stage("train_denoiser", params, workspace, "guided")
    assert taken.metrics == trained.metrics
    assert taken.summary == "Taken from all, whose training is the same."
    weights, others = (workspace.denoiser(name) / "model.safetensors" for name in ("guided", "all"))
    assert weights.read_bytes() == others.read_bytes()
    assert made_with(params, workspace, "guided")["denoiser"] == made_with(params, workspace, "all")["denoiser"]
    training = params.experiment("all").train_denoiser.training
    expected = {"examples_a_step": training.batch_size * training.accumulate, "arithmetic": "float32"}
    assert made_with(params, workspace, "guided")["trained_with"]["denoiser"] == expected
    assert set(made_with(params, workspace, "all")["trained_with"]) == {"denoiser", "autoencoder"}
    for curve in ("train_denoiser", "train_denoiser_held_out"):
        assert workspace.curve(curve, "guided").read_bytes() == workspace.curve(curve, "all").read_bytes()
    others.write_bytes(weights.read_bytes()[:-1])
    shutil.rmtree(workspace.state / "made" / "train_denoiser" / "guided")
    assert run_stage("train_denoiser", params, workspace, "guided").summary == "", "taken from a damaged denoiser"
    assert run_stage("train_denoiser", params, workspace, "apart").summary == "", "taken from another training"


def test_a_finished_training_or_sampling_is_not_made_again_and_a_damaged_one_is(workspace):
    params = tiny_params(IDENTITY, {})
    for verb in ("train_autoencoder", "encode_latents"):
        run_stage(verb, params, workspace, "one")
    made = {verb: run_stage(verb, params, workspace, "all") for verb in ("train_denoiser", "sample")}
    for verb, report in made.items():
        assert run_stage(verb, params, workspace, "all") == report, "whose cost tells one run from another"
    weights = workspace.denoiser("all") / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])  # in place, so that what is kept has the same fault
    assert run_stage("train_denoiser", params, workspace, "all").cost != made["train_denoiser"].cost
    assert weights.read_bytes() == whole
    assert run_stage("sample", params, workspace, "all") == made["sample"], "of the same weights, trained twice"


def test_what_will_stop_a_later_stage_is_said_before_the_first_training(workspace, caplog):
    params = tiny_params(IDENTITY, {}).model_copy(deep=True)
    params.experiments["apart"].train_denoiser.update(window=9, strides=[1, 8])
    network = {"condition": "text", "text": {"encoder": "clip", "folder": "nowhere"}, "attention_levels": [0]}
    params.experiments["all"].train_denoiser["network"] = network
    shutil.rmtree(workspace.state / "made" / "train_autoencoder", ignore_errors=True)
    with caplog.at_level("WARNING"):
        run_stage("train_autoencoder", params, workspace, "one")
    assert [line for line in caplog.messages if "will stop" in line] == [
        "train_denoiser apart will stop: 9 latents at stride 8 need a video of 65 frames, the longest for training has "
        "16; add longer videos, or lower window or the largest of strides",
        "evaluate will stop: protocol small measures 4 real clips, split test gives 3; lower evaluate.num_clips, or "
        "give more or longer videos",
        f"train_denoiser all will stop: {workspace.root}/nowhere: no such folder; {text.REMEDY}",
    ]
    caplog.clear()
    with caplog.at_level("INFO"):
        run_stage("train_autoencoder", params, workspace, "one")
    assert "up to date" in caplog.text and "will stop" not in caplog.text, "what is not trained delays nothing"
    run_stage("encode_latents", params, workspace, "one")
    with pytest.raises(ArtefactError, match="no train video is long enough for 9 latents at stride 8"):
        run_stage("train_denoiser", params, workspace, "apart")


def test_a_loss_whose_network_is_missing_is_refused_before_training(workspace):
    params = tiny_params({}, {"perceptual": {"network": "lpips", "weight": 1.0}})
    with pytest.raises(WeightsError, match=r"lvdm weights --install vgg16=PATH"):
        run_stage("train_autoencoder", params, workspace, "one")
    assert not list((workspace.root / ".lvdm").rglob("run.ckpt"))


def test_the_report_has_every_term_by_its_name_and_how_clips_come_back(workspace):
    objective = {
        "adversarial": {"channels": 8, "start": 1, "weight": 0.5},
        "equivariance": {"factors": [2], "weight": 0.25},
    }
    params = tiny_params({"channels": [8]}, objective)
    report = run_stage("train_autoencoder", params, workspace, "one")
    terms = {"loss", "reconstruction", "kl", "equivariance", "adversarial", "adversarial_weight", "discriminator"}
    assert terms | {"psnr", "ssim", "reconstructed clips", "parameters", "validation_reconstruction"} == set(
        report.metrics
    )
    assert {"input, reconstruction, error", "loss curve"} <= set(report.pictures)
    header, *rows = workspace.curve("train_autoencoder", "one").read_text().splitlines()
    assert set(header.split(",")) == {"step", *terms}
    assert len(rows) == 2
    assert torch.isfinite(torch.tensor(list(report.metrics.values()))).all()


def test_a_report_says_what_the_run_cost(workspace: Workspace) -> None:
    cost = Report.read(workspace, "ingest", "").cost
    assert 0 < cost.wall_seconds < 600
    assert (cost.gpu_seconds, cost.device, cost.after_killed) == (0.0, "cpu", False)


def test_what_a_run_held_of_gpus_is_not_the_cost_of_the_next_one(workspace: Workspace) -> None:
    add(GpuUse(0, "a GPU of the run before", 1))
    cost = run_stage("validate", tiny_params({}, {}), workspace).cost
    assert (cost.gpu_seconds, cost.device, cost.peak_gpu_bytes) == (0.0, "cpu", 0)
