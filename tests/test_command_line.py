"""The command line: help that teaches, one line for what is wrong, the exit status that scripts read."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

from lvdm.__main__ import main
from lvdm.errors import RefusedBySystem
from lvdm.graph import STAGES
from lvdm.orphan import DIES_WITH
from lvdm.report import Report

ROOT = Path(__file__).parents[1]


def lvdm(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lvdm", *arguments], cwd=cwd, capture_output=True, text=True)


def test_help_names_every_stage_in_order():
    text = lvdm("--help").stdout
    places = [text.index(f"\n    {verb}") for verb in STAGES]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", STAGES)
def test_the_help_of_a_stage_says_what_it_reads_and_writes_and_shows_its_parameters(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert "artifacts/" in text
    assert f"dvc repro {verb}" in text
    assert all(f"{section}:" in text for section in STAGES[verb].sections)


@pytest.mark.parametrize(("autoencoder", "experiment"), [("a", "e"), ("same", "same"), ("latents", "denoiser")])
def test_the_help_of_a_stage_has_a_place_for_the_entries_whatever_they_are_called(
    tmp_path, capsys, autoencoder, experiment
):
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["autoencoders"] = {autoencoder: {"train_autoencoder": {}}}
    document["experiments"] = {experiment: {"autoencoder": autoencoder, "train_denoiser": {}, "sample": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    for verb, said in (
        ("train_autoencoder", "writes  artifacts/autoencoder/<autoencoder>"),
        ("train_denoiser", "reads   artifacts/latents/<autoencoder>\nwrites  artifacts/denoiser/<experiment>\n"),
    ):
        with pytest.raises(SystemExit, match="0"):
            main(["--root", str(tmp_path), verb, "--help"])
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("root", ["--root={}", "--root {}"])
def test_the_help_of_a_stage_is_that_of_the_folder_that_is_named(root, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("source: builtin", "source: mine"))
    with pytest.raises(SystemExit, match="0"):
        main([*root.format(tmp_path).split(), "ingest", "--help"])
    text = capsys.readouterr().out
    assert "source: mine" in text and "artifacts/" in text and str(tmp_path) not in text


def test_the_short_form_of_an_option_of_a_stage_is_not_taken_for_root(tmp_path, capsys):
    assert main(["--root", str(tmp_path), "train_denoiser", "--r"]) == 1
    assert "params.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["lineage", "diff", "data", "night", "promote", "preset", "plan", "weights"])
def test_the_help_of_every_other_command_says_what_it_does_before_its_arguments(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    usage, says, *_ = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(f"usage: lvdm {command}") and says.endswith(".")


def test_a_night_without_experiments_says_so(tmp_path, capsys):
    document = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"experiments": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    assert main(["--root", str(tmp_path), "night"]) == 0
    assert capsys.readouterr().out == "params.yaml has no experiments: nothing to measure\n"


def test_what_is_wrong_is_one_line_and_exit_status_1(tmp_path):
    result = lvdm("--root", str(tmp_path), "ingest")
    assert result.returncode == 1
    assert result.stderr.startswith("lvdm: ")
    assert result.stderr.count("\n") == 1


def test_a_file_that_the_system_does_not_let_be_written_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    limited = ["prlimit", "--fsize=0", sys.executable, "-m", "lvdm", "--root", str(tmp_path), "ingest"]
    result = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "lvdm: File too large; raise the limit on the size of a file and run this again\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left", "a"), "a: No space left; free some space and run this again"),
        (OSError(errno.EROFS, "Read-only", "a", None, "b"), "b: Read-only; let it be written to and run this again"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a"), "a: Is a directory; move the folder away"),
        (FileExistsError(errno.EEXIST, "File exists", "a"), "a: File exists; move the file away"),
        (SafetensorError("I/O error: No space left (os error 28)"), "I/O error: No space left (os error 28); free"),
    ],
)
def test_what_a_full_or_closed_disk_answers_is_mended_by_a_person(error, says):
    assert says in str(RefusedBySystem.of(error))
    assert RefusedBySystem.of(OSError(errno.EPIPE, "Broken pipe")) is None


@pytest.mark.parametrize(
    ("odd", "says"),
    [("artifacts", "File exists"), ("machine.yaml/", "Is a directory"), ("params.yaml/", "Is a directory")],
)
def test_a_file_where_a_folder_belongs_and_a_folder_where_a_file_does_are_one_line(tmp_path, capsys, odd, says):
    shutil.copytree(ROOT / "builtin", tmp_path / "builtin")
    if odd != "params.yaml/":
        shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / odd).mkdir() if odd.endswith("/") else (tmp_path / odd).touch()
    assert main(["--root", str(tmp_path), "ingest"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"lvdm: {tmp_path / odd}: {says}; move the ")


def test_a_gpu_that_is_out_of_memory_is_one_line_and_what_is_no_refusal_is_a_traceback(capsys, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of ..")

    monkeypatch.setattr("lvdm.__main__.run_stage", refuse)
    assert main(["--root", str(ROOT), "ingest"]) == 1
    said = "lvdm: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"
    assert capsys.readouterr().err.startswith(said)
    monkeypatch.setattr("lvdm.__main__.run_stage", lambda *_, **__: {}[0])
    with pytest.raises(KeyError):
        main(["--root", str(ROOT), "ingest"])


@pytest.mark.parametrize(("devices", "each_by_itself"), [(1, False), (2, True)])
def test_on_several_devices_each_training_of_many_is_a_command_of_its_own(
    tmp_path, monkeypatch, devices, each_by_itself
):
    """Else the processes beside the first begin with the first entry, whichever that one is at."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["autoencoders"] |= {"other": {"train_autoencoder": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (tmp_path / "machine.yaml").write_text(f"accelerator: cpu\ndevices: {devices}\n")
    here, commands = list[str](), list[list[str]]()

    def started(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
        commands.append(command[3:])
        assert env[DIES_WITH] == str(os.getpid())
        return subprocess.CompletedProcess(command, returncode=-signal.SIGKILL if "other" in command else 0)

    monkeypatch.setattr("lvdm.__main__.run_stage", lambda *asked, **_: here.append(asked[3]) or Report("", "", {}))
    monkeypatch.setattr(subprocess, "run", started)
    arguments = ["--root", str(tmp_path), "train_autoencoder"]
    names = [*document["autoencoders"]]
    if not each_by_itself:
        assert main(arguments) == 0 and here == names
        return
    with pytest.raises(SystemExit, match="137"):  # as a shell says of a command that was killed
        main([*arguments, "--resume"])
    assert commands == [[*arguments, name, "--resume"] for name in names] and here == []
    assert main([*arguments, "other"]) == 0 and here == ["other"]


def test_an_interrupted_stage_says_so_in_one_line(tmp_path):
    for file in ("params.yaml", "builtin/recipe.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    command = [sys.executable, "-m", "lvdm", "--root", str(tmp_path), "ingest"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background of a script it is not
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        assert "rendering: video" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert [line for line in said if "rendering: video" not in line] == ["lvdm: interrupted; run this again to go on"]


def test_a_stage_before_its_inputs_names_the_stage_that_makes_them(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    result = lvdm("--root", str(tmp_path), "train_denoiser", "perturbed")
    assert result.returncode == 1
    assert "latents/small: not there; run `lvdm encode_latents small` first" in result.stderr


def test_resume_is_of_stages_that_leave_a_state_and_refused_where_there_is_none(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for folder in ("denoiser/perturbed", "autoencoder/small"):
        (tmp_path / "artifacts" / folder).mkdir(parents=True)
    result = lvdm("--root", str(tmp_path), "sample", "perturbed", "--resume")
    assert result.returncode == 1
    assert "sample perturbed: no killed run to resume; run it without --resume" in result.stderr
    assert lvdm("evaluate", "perturbed", "--resume").returncode == 2


def test_an_unknown_entry_is_answered_with_the_known_ones():
    result = lvdm("sample", "nobody")
    assert result.returncode == 1
    assert "expected one of perturbed, unperturbed, got 'nobody'" in result.stderr


@pytest.mark.parametrize("command", [["sample"], ["sample", "--frames", "16"], ["evaluate"]])
def test_a_stage_over_no_entries_says_so_and_is_not_taken_for_done(command, tmp_path, capsys):
    document = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"experiments": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    assert main(["--root", str(tmp_path), *command]) == 1
    assert capsys.readouterr().err == f"lvdm: params.yaml: experiments: expected an entry to {command[0]}\n"


def test_whoever_reads_only_the_first_line_of_what_is_printed_gets_no_traceback(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    command = [sys.executable, "-u", "-m", "lvdm", "--root", str(tmp_path), "weights"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_preset_prints_a_params_yaml():
    assert lvdm("preset", "ucf101").stdout.startswith("# UCF-101 at the paper's sizes")


@pytest.mark.parametrize(("chosen", "got"), [(None, "passive"), ("active", "active")])
def test_threads_do_not_spin_while_they_wait_unless_asked_to(chosen, got, monkeypatch, capsys):
    """Torch reads it when it is loaded: later is too late."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    main(["preset", "sprites"])
    assert os.environ["OMP_WAIT_POLICY"] == got
