"""Networks come back from disk as they were, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lvdm.errors import ArtefactError, ParamsError
from lvdm.machine import Machine
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.checkpoint import (
    AutoencoderRecord,
    DenoiserRecord,
    TrainedDenoiser,
    load_autoencoder,
    load_denoiser,
    read_denoiser_record,
    save_autoencoder,
    save_denoiser,
    trained_with,
)
from lvdm.models.condition import Condition, Prompt, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainAutoencoder, TrainDenoiser, load_params

LABELS = Vocabulary(labels=("blue circle", "red square"))
PROMPTS = tuple(Prompt(label) for label in LABELS.labels)
SHAPE = 4, 8, 8
TRAINED_WITH: dict[str, int | str] = {"examples_a_step": 64, "arithmetic": "bfloat16"}
PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def small_autoencoder() -> TrainAutoencoder:
    params = PARAMS.train_autoencoder
    return params.model_copy(update={"network": params.network.model_copy(update={"channels": (8, 8)})})


def small_denoiser() -> TrainDenoiser:
    params = PARAMS.train_denoiser
    network = params.network.model_copy(update={"channels": 8, "head_channels": 8})
    return params.model_copy(update={"network": network})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    autoencoder = build_autoencoder(small_autoencoder().network)
    autoencoder.latent_std.fill_(3)
    save_autoencoder(tmp_path, autoencoder, AutoencoderRecord(small_autoencoder(), TRAINED_WITH))
    return tmp_path


def test_an_autoencoder_comes_back_with_its_whitening_and_ready_for_inference(saved):
    loaded = load_autoencoder(saved)
    assert loaded.latent_std.tolist() == [3] * 4
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in load_file(saved / "model.safetensors").items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_the_identity_autoencoder_comes_back(tmp_path):
    changes = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}
    params = small_autoencoder()
    params = params.model_copy(update={"network": params.network.model_copy(update=changes)})
    save_autoencoder(tmp_path, build_autoencoder(params.network), AutoencoderRecord(params, TRAINED_WITH))
    assert load_autoencoder(tmp_path).config == params.network


def test_a_denoiser_comes_back_with_what_sampling_has_to_know(tmp_path):
    params = small_denoiser()
    network = Denoiser(params.network, 4, LABELS)
    trained = TrainedDenoiser(params, SHAPE, LABELS, PROMPTS, "small", TRAINED_WITH, network)
    torch.nn.init.normal_(trained.network.body.head.conv.weight)
    save_denoiser(tmp_path, trained)
    loaded = load_denoiser(tmp_path)
    assert (loaded.params, loaded.vocabulary, loaded.prompts, loaded.autoencoder) == (params, LABELS, PROMPTS, "small")
    batch = (
        torch.randn(1, 4, 3, 4, 4),
        torch.rand(1, 3),
        torch.tensor([1]),
        Condition(torch.tensor([2]), Prompts.of_labels(2)),
    )
    assert torch.equal(loaded.network(*batch), trained.network(*batch))
    (tmp_path / "model.safetensors").unlink()
    assert read_denoiser_record(tmp_path) == DenoiserRecord(params, SHAPE, LABELS, PROMPTS, "small", TRAINED_WITH)


def test_it_is_on_record_how_many_examples_a_step_saw_and_in_which_arithmetic():
    params = small_denoiser()
    training = params.training.model_copy(update={"batch_size": 3, "accumulate": 5})
    two = Machine(accelerator="cpu", devices=2, precision="bf16-mixed")
    assert trained_with(training, two) == {"examples_a_step": 30, "arithmetic": "bfloat16"}


def test_a_tensor_too_few_or_too_many_or_of_another_shape_is_an_error(saved):
    weights = load_file(saved / "model.safetensors")
    name = "encoder.last.weight"
    for wrong in (
        {k: v for k, v in weights.items() if k != name},
        {**weights, "another": torch.zeros(1)},
        {**weights, name: weights[name][:1].clone()},
    ):
        save_file(wrong, saved / "model.safetensors")
        with pytest.raises(ArtefactError, match=r"tensor (encoder.last.weight|another)"):
            load_autoencoder(saved)


def test_weights_of_a_version_whose_parts_had_other_names_are_one_line_with_the_remedy(tmp_path):
    params = small_denoiser()
    network = Denoiser(params.network, 4, LABELS)
    trained = TrainedDenoiser(params, SHAPE, LABELS, PROMPTS, "small", TRAINED_WITH, network)
    save_denoiser(tmp_path, trained)
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("head.conv", "last"): tensor for name, tensor in weights.items()}
    save_file(renamed, tmp_path / "model.safetensors")
    with pytest.raises(ArtefactError, match=r"of an earlier version, .*: run `lvdm train_denoiser \S+` again"):
        load_denoiser(tmp_path)


def test_a_truncated_file_is_an_error(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtefactError, match="is damaged"):
        load_autoencoder(saved)


@pytest.mark.parametrize("missing", ["model.safetensors", "params.json"])
def test_a_missing_file_is_an_error_that_names_it(saved, missing):
    (saved / missing).unlink()
    with pytest.raises(ArtefactError, match=missing):
        load_autoencoder(saved)


def test_a_denoiser_without_its_autoencoder_says_which_stage_makes_it(tmp_path):
    params = small_denoiser()
    trained = DenoiserRecord(params, SHAPE, LABELS, PROMPTS, "1234", TRAINED_WITH)
    with pytest.raises(ArtefactError, match="small: not there; run `lvdm train_autoencoder small` first"):
        trained.check_autoencoder(tmp_path / "small")
    (tmp_path / "small").mkdir()
    with pytest.raises(ArtefactError, match="not the autoencoder that the denoiser was trained with"):
        trained.check_autoencoder(tmp_path / "small")


def test_a_record_of_an_earlier_version_is_one_line_with_the_remedy(saved):
    (saved / "params.json").write_text(json.dumps({"autoencoder": {}}))
    with pytest.raises(ArtefactError, match=r"expected the keys .* earlier version: run `lvdm train_autoencoder \S+`"):
        load_autoencoder(saved)


def test_a_separate_interpolator_comes_back_beside_its_predictor_or_its_lack_is_an_error(tmp_path):
    params = small_denoiser().model_copy(update={"separate_interpolator": True})
    networks = [Denoiser(params.network, 4, LABELS) for _ in range(2)]
    for mean, network in enumerate(networks):
        torch.nn.init.normal_(network.body.head.conv.weight, mean=mean)
    save_denoiser(tmp_path, TrainedDenoiser(params, SHAPE, LABELS, PROMPTS, "small", TRAINED_WITH, *networks))
    loaded = load_denoiser(tmp_path)
    for network, again in zip(networks, (loaded.network, loaded.interpolator), strict=True):
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert not loaded.interpolator.training
    (tmp_path / "interpolator.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"interpolator\.safetensors: not there; run"):
        load_denoiser(tmp_path)


def test_the_folder_of_an_autoencoder_is_no_denoiser(saved):
    with pytest.raises(ArtefactError, match="train_autoencoder"):
        load_denoiser(saved)


def test_a_wrong_value_in_params_json_is_an_error_that_names_it(saved):
    path = saved / "params.json"
    document = json.loads(path.read_text())
    document["train_autoencoder"]["network"]["time_factor"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(ParamsError, match=r"network\.time_factor"):
        load_autoencoder(saved)
