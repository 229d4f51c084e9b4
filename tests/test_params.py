"""params.yaml: what is wrong with it is one line that names the field, what was expected and what was got."""

from __future__ import annotations

import copy
import math
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from lvdm import presets
from lvdm.errors import ParamsError
from lvdm.machine import Machine, cores, load_machine
from lvdm.params import load_params, parse_params
from lvdm.section import parse

ROOT = Path(__file__).parents[1]
KINDS = "folder, frame_folders, ucf101, sky_timelapse, faceforensics, mead, taichi_hd"
DOCUMENT = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path: str, value: object) -> dict:
    """The committed params.yaml with one field set."""
    document = copy.deepcopy(DOCUMENT)
    *parents, key = path.split(".")
    section = document
    for parent in parents:
        section = section[parent]
    section[key] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("sample.stpes", 3, "sample.stpes: unknown key: expected steps, got 'stpes'"),
        ("sample.steps", "many", "sample.steps: expected a valid integer, unable to parse string as an integer, got"),
        ("sample.steps", 0, "sample.steps: expected greater than 0, got 0"),
        ("sample", 3, "sample: expected keys and their values, got 3"),
        ("sample.guidance", math.inf, "sample.guidance: expected a finite number, got inf"),
        (
            "experiments.perturbed.sample.guidence",
            1,
            "experiments.perturbed.sample.guidence: unknown key: expected guid",
        ),
        ("experiments.perturbed.sampel", {}, "experiments.perturbed.sampel: unknown key: expected sample"),
        ("experiments.perturbed.autoencoder", "big", "experiments.perturbed.autoencoder: expected one of small, got"),
        ("experiments.Big Run", {"autoencoder": "small", "train_denoiser": {}, "sample": {}}, "got 'Big Run'"),
        (
            "experiments",
            {name: {"autoencoder": "small", "train_denoiser": {}, "sample": {}} for name in ("a-b", "a_b")},
            "experiments: expected names that differ by more than - and _, got 'a-b and a_b'; rename one",
        ),
        ("train_denoiser.strides", [2, 4], "train_denoiser: expected strides that begin with 1 and rise"),
        (
            "train_autoencoder.objective.adversarial",
            {"channels": 8, "start": 900, "weight": 0.5},
            "adversarial.start below training.steps",
        ),
        ("train_denoiser.objective.prediction", "eps", "at zero terminal SNR eps says nothing"),
        ("validate.min_fps", 500, "validate: expected"),
        ("train_denoiser.strides", [1, 2], "so that a gap is a window: [1, 4] with window 5, not [1, 2]"),
        (
            "train_denoiser.objective.tasks",
            {"predict": 0.5, "interpolate": 0.3, "independent": 0.2},
            "predict + interpolate + independent below 1",
        ),
        (
            "train_denoiser.objective.tasks.interpolate",
            0,
            "experiments.perturbed: expected train_denoiser.objective.tasks.interpolate",
        ),
        (
            "train_denoiser.objective.tasks.predict",
            0,
            "experiments.perturbed: expected train_denoiser.objective.tasks.predict above",
        ),
        (
            "experiments.perturbed.train_denoiser",
            {"separate_interpolator": True, "objective": {"tasks": {"predict": 0}}},
            "experiments.perturbed: expected train_denoiser.objective.tasks.predict above 0",
        ),
        (
            "experiments.perturbed.train_denoiser",
            {"separate_interpolator": True, "objective": {"tasks": {"interpolate": 0}}},
            "objective.tasks.interpolate above 0 and several strides with separate_interpolator",
        ),
        (
            "experiments.perturbed.train_denoiser",
            {"separate_interpolator": True, "strides": [1]},
            "objective.tasks.interpolate above 0 and several strides with separate_interpolator",
        ),
        (
            "train_denoiser.objective.drop_condition",
            0,
            "experiments.perturbed: expected train_denoiser.objective.drop_condition above",
        ),
        ("experiments.perturbed.sample", {"scheme": "autoregressive", "refine_strength": 0.5}, "no gaps to refine"),
        (
            "experiments.perturbed",
            {"autoencoder": "small", "train_denoiser": {"strides": [1]}, "sample": {"refine_strength": 0.5}},
            "experiments.perturbed: expected sample.refine_strength of 1 with one of strides or scheme",
        ),
        ("train_denoiser.window", 2, "train_denoiser: expected objective.max_given below window 2, not 3"),
        (
            "experiments.perturbed",
            {"autoencoder": "small", "sample": {}},
            "train_denoiser: missing; give it a value, or {} ",
        ),
        (
            "sample.overlap",
            4,
            "expected sample.overlap of at most 3, which is train_denoiser.objective.max_given, not 4",
        ),
        (
            "sample.perturbation_level",
            0.5,
            "perturbation_level of at most 0.25, which is train_denoiser.objective.perturbation.max_level, not 0.5",
        ),
        ("train_denoiser.objective.raise_given", 0, "expected train_denoiser.objective.raise_given above 0"),
        ("train_denoiser.network.condition", "none", "train_denoiser: expected objective.drop_condition of 0 with"),
        (
            "experiments.perturbed.train_denoiser",
            {"network": {"condition": "none"}, "objective": {"drop_condition": 0}},
            "experiments.perturbed: expected sample.condition_guidance of 0, not 0.5, with train_denoiser.network",
        ),
        (
            "experiments.perturbed.sample",
            {"guidance": -0.8, "condition_guidance": -0.5},
            "experiments.perturbed.sample: expected guidance + condition_guidance of at least -1, not -1.3",
        ),
        (
            "experiments.perturbed.train_denoiser",
            {"network": {"temporal_convolution": False, "attention_levels": []}},
            "train_denoiser: expected network.temporal_convolution or network.attention_levels",
        ),
        ("evaluate.num_clips", 1, "evaluate.num_clips: expected greater than or equal to 2, got 1"),
        (
            "evaluate.num_clips",
            33,
            "sample.num_clips of perturbed: expected at least 33, which evaluate.protocol small measures, got 32",
        ),
        (
            "experiments.unperturbed.sample",
            {"num_clips": 31, "perturbation_level": 0},
            "sample.num_clips of unperturbed",
        ),
        (
            "evaluate.protocol",
            "stylegan-v",
            "evaluate: expected no line num_clips: protocol stylegan-v fixes it at 2048",
        ),
        (
            "evaluate",
            {"protocol": "lvdm", "metrics": ["fvd"], "max_drift": 1},
            "sample.num_clips of perturbed: expected at least 2048, which evaluate.protocol lvdm measures, got 32",
        ),
        (
            "train_autoencoder.objective.equivariance",
            {"factors": [2, 4, 2], "weight": 0.25},
            "train_autoencoder.objective.equivariance.factors: expected each value once",
        ),
        ("clips.size", 60, "clips.size: expected a multiple of 8 for autoencoder small: space_factor 8, got 60"),
        ("clips.frames", 1, "clips.frames: expected greater than or equal to 2, got 1"),  # nothing moves in one
        ("clips.size", 65, "clips.size: expected a multiple of 2, got 65"),  # H.264 would pad it
        ("clips.frames", 18, "clips.frames: expected a multiple of 4 for autoencoder small: time_factor 4, got 18"),
        ("ingest.layout", {"kind": "mead", "views": ["top", "top"]}, "ingest.layout.views: expected each value once"),
        ("ingest.layout", {"kind": "ucf"}, f"ingest.layout.kind: expected one of {KINDS}, got 'ucf'"),
        ("ingest.layout", {}, f"ingest.layout.kind: expected one of {KINDS}"),
        ("ingest.layout", "ucf101", "ingest.layout: expected keys and their values, got 'ucf101'"),
        ("ingest.layout", {"kind": "frame_folders"}, "ingest.layout.fps: missing"),
        (
            "ingest.layout",
            {"kind": "frame_folders", "fsp": 3},
            "ingest.layout.fsp: unknown key: expected fps, got 'fsp'",
        ),
        ("sample.fps", 0.001, "sample.fps: expected greater than or equal to 0.1, got 0.001"),
        ("train_denoiser.network.condition", "text", "train_denoiser.network: expected a text encoder under text with"),
        ("train_denoiser.network.text", {"encoder": "minilm"}, "expected a text encoder under text with condition"),
        (
            "experiments.perturbed.train_denoiser",
            {"network": {"condition": "text", "text": {"encoder": "minilm"}, "attention_levels": []}},
            "expected attention_levels with condition: text",
        ),
        (
            "experiments.perturbed.train_denoiser",
            {"network": {"condition": "text", "text": {"encoder": "clip"}}},
            "expected a folder with clip and t5, and none with minilm",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(path, value, says):
    with pytest.raises(ParamsError) as caught:
        parse_params(changed(path, value))
    message = str(caught.value)
    assert says in message
    assert message.startswith("params.yaml: ")
    assert "\n" not in message


@pytest.mark.parametrize(("side", "possible"), [(64, True), (72, False)])
def test_the_latent_of_a_clip_is_divided_by_what_the_objective_scales_it_by(side, possible):
    document = changed("train_autoencoder.objective.equivariance", {"factors": [4, 2], "weight": 0.25})
    document["clips"]["size"] = side
    expected = "clips.size: expected a multiple of 32 for autoencoder small: space_factor 8 times equivariance at 4"
    with nullcontext() if possible else pytest.raises(ParamsError, match=re.escape(expected)):
        parse_params(document)


def test_an_expectation_is_switched_off_as_the_comment_says(tmp_path):
    """A bare `off` is false to YAML 1.1."""
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("severities: {}", "severities: {no_drift: off}")
    )
    assert load_params(tmp_path / "params.yaml").validate_.severity("no_drift") == "off"


def test_a_missing_section_is_named():
    document = copy.deepcopy(DOCUMENT)
    del document["clips"]
    with pytest.raises(ParamsError, match=r"params.yaml: clips: missing; .*lvdm preset"):
        parse_params(document)


def test_an_experiment_is_the_shared_values_with_its_own_in_their_place():
    params = parse_params(changed("experiments.perturbed.sample", {"guidance": 0.7}))
    experiment = params.experiment("perturbed")
    assert experiment.sample.guidance == 0.7
    assert experiment.sample.steps == params.sample.steps
    assert params.experiment("unperturbed").train_denoiser.objective.perturbation.max_level == 0
    assert experiment.train_denoiser.objective.schedule == params.train_denoiser.objective.schedule


def test_parameters_are_frozen():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.sample.steps = 1


@pytest.mark.parametrize("name", ["reference", *presets.DATASETS])
def test_every_preset_is_a_whole_params_yaml_at_the_papers_size(name, tmp_path):
    (tmp_path / "params.yaml").write_text(presets.render(name))
    params = load_params(tmp_path / "params.yaml")
    assert (params.clips.frames, params.clips.size) == (16, 256)
    network = params.train_denoiser.network
    assert (network.channels, network.channel_multipliers, network.num_blocks) == (256, (1, 2, 3, 4), 3)
    assert params.train_denoiser.separate_interpolator == (name == "reference")  # which the official code trains


@pytest.mark.parametrize("name", ["sprites", "ablation"])
def test_the_presets_for_one_gpu_are_a_whole_params_yaml_whose_source_is_there(name, tmp_path):
    (tmp_path / "params.yaml").write_text(presets.render(name))
    assert (ROOT / load_params(tmp_path / "params.yaml").ingest.source / "recipe.yaml").is_file()


def test_the_ablation_crosses_every_factor_with_every_other_and_needs_four_trainings():
    params = parse_params(yaml.safe_load(presets.render("ablation")))
    cells = [params.experiment(name) for name in params.experiments if name != "pixels"]
    crossed = {
        (
            cell.train_denoiser.objective.perturbation,
            cell.sample.guidance,
            (cell.sample.scheme, cell.sample.refine_strength),
        )
        for cell in cells
    }
    assert len(crossed) == len(cells) == 18
    assert [len({cell[i] for cell in crossed}) for i in range(3)] == [3, 2, 3]
    assert len({params.experiment(name).train_denoiser for name in params.experiments}) == 4


def test_a_file_that_is_not_yaml_or_not_there_is_one_line(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    for text, says in (
        ("a: 1\nb: [", "params.yaml, line 2: not YAML: "),
        ("a: 1\n\tb: 2", "params.yaml, line 2: not YAML: .*character"),
        ("a:\n- b: 1\n  c: 2\n  b: 3", "params.yaml, line 4: b: there twice; keep one"),
        ("a:\n  2024: {}", "params.yaml, line 2: a key: expected text, got '2024'; put a name into quotes"),
        ("a: {{source}}", "params.yaml, line 1: a key: expected a word; quote what is in braces"),
        ("a: 2020-13-45", "params.yaml: not YAML: month must be in"),
        ("", "params.yaml: the file: expected keys and their values"),
    ):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(ParamsError, match=says):
            load_params(tmp_path / "params.yaml")


def test_a_misspelt_key_is_named_rather_than_the_one_that_is_missing_for_it():
    document = changed("train_autoencoder.training.batch_sise", 4)
    del document["train_autoencoder"]["training"]["batch_size"]
    with pytest.raises(ParamsError, match="batch_sise: unknown key: expected batch_size, got 'batch_sise'"):
        parse_params(document)


def test_a_cpu_is_fed_by_no_process_of_its_own_unless_asked():
    assert [Machine(accelerator="cpu", data_workers=asked).loaders for asked in ("auto", 0, 3)] == [0, 0, 3]


def test_a_job_on_a_part_of_a_machine_has_the_cores_of_its_part(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 9}, raising=False)
    assert cores() == 3


def test_a_machine_has_defaults_and_refuses_unknown_keys(tmp_path):
    assert load_machine(tmp_path / "machine.yaml") == Machine()
    (tmp_path / "machine.yaml").write_text("devices: 8\nprecison: 32-true\n")
    with pytest.raises(ParamsError, match=r"machine.yaml: precison: unknown key: expected precision"):
        load_machine(tmp_path / "machine.yaml")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("devices: 0", "devices: expected 'auto' or greater than 0, got 0"),
        (
            "data_workers: some",
            "data_workers: expected 'auto' or a valid integer, unable to parse string as an integer",
        ),
        ("devices: 0\ndata_workers: 0", "devices: expected 'auto' or greater than 0, got 0"),
        ("strategy: dp", "strategy: expected 'auto', 'ddp' or 'fsdp', got 'dp'"),
    ],
)
def test_what_a_machine_cannot_have_is_said_with_all_that_it_may(setting, says, tmp_path):
    (tmp_path / "machine.yaml").write_text(setting)
    with pytest.raises(ParamsError, match=f"^machine.yaml: {re.escape(says)}"):
        load_machine(tmp_path / "machine.yaml")


def test_the_readme_says_all_that_a_machine_is_set_by():
    text = (ROOT / "README.md").read_text().split("`machine.yaml` says")[1].split("```yaml\n")[1].split("```")[0]
    document = yaml.safe_load(text)
    assert document.keys() == Machine.model_fields.keys()
    parse(Machine, document, file="machine.yaml")
