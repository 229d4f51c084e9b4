"""Training on two devices: Lightning starts the command again for the second, and one artefact comes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import separate_run
import several_gpus_run
import torch
import yaml
from safetensors.torch import load_file
from sharded_run import STEPS, run
from small_run import MACHINE, Noise, small_params

from lvdm.data.ingest import build_manifest
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.orphan import DIES_WITH
from lvdm.params import load_params
from lvdm.section import parse
from lvdm.training.autoencoder import train_autoencoder
from lvdm.workspace import Workspace, lives

ROOT = Path(__file__).parents[2]
IDENTITY = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}
ENTRIES = {
    "first": {"train_autoencoder": {}},
    "pixels": {"train_autoencoder": {"network": IDENTITY}},  # without training, and in the middle
    "adversarial": {
        "train_autoencoder": {
            "training": {"seed": 1},
            "objective": {"adversarial": {"channels": 8, "start": 2, "weight": 0.5}},
        }
    },
}


def write_project(root: Path, batch_size: int, machine: dict[str, object]) -> None:
    """A folder whose autoencoders can be trained: parameters, machine, twelve videos and their manifest."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clips"] |= {"frames": 8, "size": 32}
    document["train_autoencoder"]["network"]["channels"] = [8]
    short = {"steps": 4, "batch_size": batch_size, "warmup_steps": 4, "validate_every": 4}
    document["train_autoencoder"]["training"] |= short
    document |= {"autoencoders": ENTRIES, "experiments": {}}
    recipe = yaml.safe_load((ROOT / "builtin" / "recipe.yaml").read_text())
    recipe |= {"num_videos": 12, "frames": 16, "num_long_videos": 2, "long_frames": 24, "size": 32}
    (root / "builtin").mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(document))
    (root / "machine.yaml").write_text(yaml.safe_dump({"accelerator": "cpu", **machine}))
    (root / "builtin" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    workspace = Workspace.at(root)
    build_manifest(load_params(root / "params.yaml").ingest, workspace)
    shutil.copyfile(workspace.manifest, workspace.validated)


def trained(root: Path) -> str:
    """Trains every autoencoder of a project, in one command; returns what it printed."""
    command = [sys.executable, "-m", "lvdm", "--root", str(root), "train_autoencoder"]
    environment = {**os.environ, DIES_WITH: str(os.getpid())}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_two_devices_make_one_artefact_an_entry_and_it_is_that_of_one_device_with_the_whole_batch(tmp_path):
    write_project(tmp_path / "two", 2, {"devices": 2, "strategy": "ddp"})
    write_project(tmp_path / "one", 4, {"devices": 1})
    printed = trained(tmp_path / "two")
    assert len(printed.splitlines()) == len(trained(tmp_path / "one").splitlines())
    two, one = Workspace.at(tmp_path / "two"), Workspace.at(tmp_path / "one")
    assert sorted(folder.name for folder in two.autoencoder("first").parent.iterdir()) == sorted(ENTRIES)
    assert [path for path in (two.root / ".lvdm" / "scratch").rglob("*") if path.is_file()] == []
    for name in ENTRIES:
        assert (two.report("train_autoencoder", name) / "provenance.json").is_file()
        (of_two,) = (load_file(path) for path in two.autoencoder(name).glob("*.safetensors"))
        (of_one,) = (load_file(path) for path in one.autoencoder(name).glob("*.safetensors"))
        assert of_two.keys() == of_one.keys()
        for key, tensor in of_one.items():
            if key not in ("latent_mean", "latent_std"):
                torch.testing.assert_close(of_two[key], tensor, atol=1e-4, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the means")
def test_a_process_that_waits_beside_one_that_was_killed_ends_too(tmp_path):
    """It would hold its GPU, and the next run would not fit beside it."""
    command = [sys.executable, str(Path(__file__).with_name("waiting_run.py")), str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL) as process:
        pid, deadline = tmp_path / "pid", time.monotonic() + 120
        while not pid.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    waiting = int(pid.read_text())
    while lives(waiting) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(waiting)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    """The folder in which the runs of sharded_run.py were made; its first one went on from the state of one device."""
    folder = tmp_path_factory.mktemp("sharded")
    separate_run.write_cache(folder)
    run(folder, 3, 4, MACHINE)
    command = [sys.executable, str(Path(__file__).with_name("sharded_run.py")), str(folder)]
    environment = {**os.environ, DIES_WITH: str(os.getpid()), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder


def assert_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert weights.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(weights[key], tensor, atol=1e-4, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


def test_a_run_goes_on_from_one_device_to_two_that_shard_it_and_back_with_the_weights_of_one(sharded, tmp_path):
    of_several = {steps: load_file(sharded / f"{steps}") for steps in STEPS}
    of_several[12] = run(sharded, 12, 4, MACHINE)[0].state_dict()
    for steps, weights in of_several.items():
        assert_close(weights, run(tmp_path / f"{steps}", steps, 4, MACHINE)[0].state_dict())


def test_before_a_step_no_process_waits_to_be_told_something(sharded):
    """Lightning tells all whether the first is to end; a GPU would never be launched ahead of. Here 3 and 4 steps."""
    told = {(sharded / f"{steps}.told").read_text() for steps in STEPS}
    assert len(told) == 1


def test_two_devices_train_the_predictor_and_the_interpolator_of_one(sharded):
    one = separate_run.run(sharded, "one")
    assert_close(load_file(sharded / "predictor"), one.network.state_dict())
    assert_close(load_file(sharded / "interpolator"), one.interpolator.state_dict())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_sharding_runs_on_a_gpu_and_ends_with_the_weights_of_one_that_is_not_sharded(tmp_path):
    sharded, plain = (
        run(tmp_path / strategy, 6, 4, Machine(accelerator="gpu", devices=1, strategy=strategy, precision="32-true"))
        for strategy in ("fsdp", "auto")
    )
    for name, tensor in plain[0].state_dict().items():
        torch.testing.assert_close(sharded[0].state_dict()[name], tensor, atol=1e-4, rtol=1e-3)


TWO_GPUS = [  # and how far, of the norm of all weights, rounding takes them from those of one GPU
    ({"strategy": "ddp", "precision": "32-true"}, 1e-6),
    ({"strategy": "fsdp", "precision": "32-true"}, 1e-6),
    ({"strategy": "ddp", "precision": "16-mixed"}, 1e-3),
    ({"strategy": "fsdp", "precision": "bf16-mixed"}, 2e-3),
    ({"strategy": "ddp", "precision": "bf16-mixed", "compile": True}, 2e-3),
]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
@pytest.mark.parametrize(("machine", "rounding"), TWO_GPUS, ids=lambda value: str(value))
def test_two_gpus_end_with_the_weights_of_one(tmp_path, machine, rounding):
    script = str(Path(__file__).with_name("several_gpus_run.py"))
    two = Machine(accelerator="gpu", devices=2, **machine).model_dump_json()
    environment = {**os.environ, DIES_WITH: str(os.getpid()), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script, str(tmp_path), two], cwd=ROOT, env=environment, check=True, timeout=300)
    one = Machine(accelerator="gpu", devices=1, precision=machine["precision"])
    with torch.backends.cudnn.flags(allow_tf32=False):
        expected = run(tmp_path / "one", several_gpus_run.STEPS, 4, one)[0].state_dict()
    weights = load_file(tmp_path / "weights")
    of_two, of_one = (torch.cat([w[key].flatten().cpu() for key in expected]) for w in (weights, expected))
    distance = ((of_two - of_one).norm() / of_one.norm()).item()
    print(f"{machine}: {distance:.1e}")
    assert distance < rounding


@pytest.mark.parametrize(
    ("devices", "strategy", "by_ddp"), [(1, "auto", False), (2, "auto", True), (1, "ddp", True), (2, "fsdp", False)]
)
def test_gradients_are_exchanged_by_ddp_where_several_devices_share_no_weights(devices, strategy, by_ddp):
    assert Machine(accelerator="cpu", devices=devices, strategy=strategy).by_ddp == by_ddp


@pytest.mark.parametrize("setting", [{"precision": "16-mixed"}, {"compile": True}])
def test_what_sharding_cannot_do_is_one_line(setting):
    with pytest.raises(ParamsError, match=r"^machine\.yaml: the file: expected .* with strategy fsdp"):
        parse(Machine, {"strategy": "fsdp", **setting}, file="machine.yaml")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ParamsError, match=r"machine\.yaml: accelerator: expected cpu or auto"):
        train_autoencoder(Noise(), small_params(), Machine(accelerator="gpu"), tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_more_gpus_than_there_are_is_one_line(tmp_path):
    with pytest.raises(ParamsError, match=r"^machine\.yaml: ") as caught:
        train_autoencoder(Noise(), small_params(), Machine(accelerator="gpu", devices=99), tmp_path)
    assert "\n" not in str(caught.value)
