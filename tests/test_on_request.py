"""Videos on request: of a prompt or a label, resumable, and without a trace in the pipeline."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from lvdm import making
from lvdm.__main__ import main
from lvdm.data.inspection import probe
from lvdm.fingerprints import fingerprint
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.checkpoint import AutoencoderRecord, TrainedDenoiser, save_autoencoder, save_denoiser, trained_with
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.models.text import find_text_encoder
from lvdm.params import load_params
from lvdm.workspace import Workspace
from tests.data.conftest import s3, server
from tests.models.tiny_encoders import write_encoder

__all__ = ["s3", "server"]

ROOT = Path(__file__).parents[1]
TEXT = {"encoder": "t5", "folder": "encoder"}
CONDITIONS = {
    "none": {"network": {"condition": "none"}, "objective": {"drop_condition": 0.0}},
    "label": {"network": {"condition": "label"}},
    "always": {"network": {"condition": "label"}, "objective": {"drop_condition": 0.0}},
    "text": {"network": {"condition": "text", "text": TEXT}},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with an experiment a condition, whose denoisers are random, and the text encoder in reach."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clips"]["size"] = 16
    document["train_autoencoder"]["network"]["channels"] = [8]
    document["train_denoiser"]["network"] |= {"channels": 8, "head_channels": 8}
    document["sample"] |= {"steps": 2, "long_frames": 20}
    document["experiments"] = {
        name: {
            "autoencoder": "small",
            "train_denoiser": train_denoiser,
            "sample": {"guidance": 0.0, "condition_guidance": 0.0} if "objective" in train_denoiser else {},
        }
        for name, train_denoiser in CONDITIONS.items()
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (tmp_path / "machine.yaml").write_text("accelerator: cpu\n")
    write_encoder("t5", tmp_path / "encoder")
    params, workspace = load_params(tmp_path / "params.yaml"), Workspace.at(tmp_path)
    torch.manual_seed(0)
    settings = params.autoencoder("small")
    workspace.autoencoder("small").mkdir(parents=True)
    record = AutoencoderRecord(settings, trained_with(settings.training, workspace.machine))
    save_autoencoder(workspace.autoencoder("small"), build_autoencoder(settings.network), record)
    for name in CONDITIONS:
        save_random_denoiser(name, params, workspace)
    return tmp_path


def save_random_denoiser(name: str, params, workspace: Workspace) -> None:
    train, vocabulary = params.experiment(name).train_denoiser, Vocabulary()
    if train.network.condition == "label":
        vocabulary = Vocabulary(labels=("blue circle", "red square"))
    if name == "text":
        encoder = find_text_encoder(train.network.text, workspace)
        vocabulary = Vocabulary((), encoder.fingerprint, 8)
    denoiser = Denoiser(train.network, 4, vocabulary)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    made_for = fingerprint(files=[workspace.autoencoder("small")])
    workspace.denoiser(name).mkdir(parents=True)
    shape = params.autoencoder("small").network.latent_shape(params.clips.size)
    record = train, shape, vocabulary, (), made_for, trained_with(train.training, workspace.machine)
    save_denoiser(workspace.denoiser(name), TrainedDenoiser(*record, denoiser))


def lvdm(root: Path, *arguments: str) -> int:
    return main(["--root", str(root), "sample", *arguments])


def test_a_prompt_becomes_a_video_of_the_frames_asked_for_and_its_path_is_printed(root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    before = fingerprint(files=[root / "artifacts"])
    assert lvdm(root, "--prompt", "a red square moves", "--frames", "37", "--seed", "5", "--count", "2") == 0
    printed = capsys.readouterr().out.splitlines()
    hashed = fingerprint("a red square moves", None)[:6]
    assert printed == [f"videos/text-a-red-square-moves-37-frames-seed-{seed}-{hashed}.mp4" for seed in (5, 6)]
    assert [probe(root / path).frames for path in printed] == [37, 37]
    assert (root / printed[0]).read_bytes() != (root / printed[1]).read_bytes()
    assert fingerprint(files=[root / "artifacts"]) == before
    assert not list((root / ".lvdm" / "scratch").rglob("*.safetensors"))


def made(root: Path, name: str, *arguments: str) -> bytes:
    """The one video that a request of `name` makes in a new folder."""
    folder = root / "out" / str(len(list(root.glob("out/*"))))
    assert lvdm(root, name, "--frames", "8", "--out", str(folder), *arguments) == 0
    (path,) = folder.iterdir()
    return path.read_bytes()


def test_videos_on_s3_are_those_of_a_folder_and_overwrite_nothing(root, s3, capsys):
    arguments = ["label", "--label", "red square"]
    local = made(root, *arguments)
    arguments += ["--frames", "8", "--out", "s3://raw/made"]
    assert lvdm(root, *arguments) == lvdm(root, *arguments) == 0
    first, again = capsys.readouterr().out.splitlines()[-2:]
    assert first == again and first.startswith("s3://raw/made/label-red-square-8-frames-seed-0-")
    key = first.removeprefix("s3://raw/")
    assert s3.get_object(Bucket="raw", Key=key)["Body"].read() == local
    s3.put_object(Bucket="raw", Key=key, Body=b"of another")
    assert lvdm(root, *arguments) == 1
    assert "is there already, with another content" in capsys.readouterr().err
    assert s3.get_object(Bucket="raw", Key=key)["Body"].read() == b"of another"


def test_prompts_and_labels_make_different_videos_and_the_same_request_the_same(root):
    text = [made(root, "text", "--prompt", prompt) for prompt in ("a red square", "a blue square", "a red square")]
    label = [made(root, "label", "--label", label) for label in ("red square", "blue circle")]
    assert text[0] == text[2] != text[1]
    assert label[0] != label[1]
    assert made(root, "text") not in text  # without a prompt, nothing is asked for
    assert made(root, "none")


def test_a_video_is_that_of_its_seed_however_many_are_made(root):
    alone = made(root, "label", "--label", "red square", "--seed", "1")
    folder = root / "several"
    arguments = ["--label", "red square", "--frames", "8", "--count", "3", "--out", str(folder)]
    assert lvdm(root, "label", *arguments) == 0
    (path,) = folder.glob("label-red-square-8-frames-seed-1-*.mp4")
    assert path.read_bytes() == alone


def test_no_two_requests_write_the_same_file(root):
    requests = [
        ["text"],
        *(["text", "--prompt", said] for said in ("红色方块", "蓝色方块", "a", "A", "a" * 81, "a" * 82)),
    ]
    for request in [*requests, ["none"], ["label"], ["label", "--label", "red square"]]:
        assert lvdm(root, *request, "--frames", "1", "--out", str(root / "out")) == 0
    assert len(list((root / "out").iterdir())) == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none", "--prompt", "a"], "--prompt: the denoiser of none was trained with condition: none"),
        (["label", "--prompt", "a"], "condition: label; ask with --label"),
        (["text", "--label", "a"], "condition: text; ask with --prompt"),
        (["label", "--label", "a"], "--label: expected one of blue circle, red square, got 'a'"),
        (["text", "--frames", "8", "--out", __file__], "--out: expected a folder, or the name of one"),
        (["always", "--frames", "8"], "nothing asked for: the denoiser of always was not trained for that (drop_cond"),
        (["text", "--frames", "8", "--out", "red.mp4"], "--out: expected a folder: each video in it is named"),
        (["text", "--seed", "1"], "lvdm sample --seed: expected --prompt, --label or --frames beside it"),
        (["text", "--frames", "8", "--resume"], "lvdm sample --resume: expected no --prompt, --label or --frames"),
    ],
)
def test_what_a_denoiser_cannot_be_asked_is_one_line(root, arguments, says, capsys):
    assert lvdm(root, *arguments) == 1
    error = capsys.readouterr().err
    assert says in error and error.startswith("lvdm: ") and error.count("\n") == 1
    assert not (root / "videos").exists()


def test_a_request_does_not_go_on_from_what_another_left(root, monkeypatch):
    scratches = []
    monkeypatch.setattr(making, "made", lambda *given: scratches.append(given[-1]) or iter(()))
    for said in ("a red square", "a blue square", "a red square"):
        assert lvdm(root, "text", "--prompt", said, "--frames", "8") == 0
    assert scratches[0] == scratches[2] != scratches[1]


def test_a_killed_request_goes_on_and_makes_the_same_file(root):
    arguments = ["--prompt", "a red square", "--frames", "400"]
    assert lvdm(root, "text", *arguments, "--out", str(root / "whole")) == 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lvdm.on_request"])
    process = context.Process(target=lvdm, args=(root, "text", *arguments))
    process.start()
    while process.is_alive() and len(batches_kept(root)) < 2:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and batches_kept(root)
    assert not list((root / "videos").glob("*.mp4"))
    assert lvdm(root, "text", *arguments) == 0
    (continued,), (whole,) = (root / "videos").iterdir(), (root / "whole").iterdir()
    assert continued.read_bytes() == whole.read_bytes()


def batches_kept(root: Path) -> list[Path]:
    return [path for path in (root / ".lvdm" / "scratch").rglob("*.safetensors") if not path.name.startswith(".")]
