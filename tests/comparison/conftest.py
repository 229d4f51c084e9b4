"""A workspace in which two experiments were run and measured, with all that their stages leave on record."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lvdm.comparison.leaderboard import write_leaderboard
from lvdm.cost import Cost
from lvdm.data.video import write_video
from lvdm.evaluation.metrics import METRICS
from lvdm.evaluation.result import Estimate, Result, better
from lvdm.graph import STAGES, Stage
from lvdm.params import Params, load_params
from lvdm.pictures import draw_curves, draw_reconstructions
from lvdm.provenance import Provenance, hashes
from lvdm.report import Check, Report
from lvdm.workspace import Workspace

PROTOCOL: dict[str, str | int] = {"num_clips": 64, "clip_frames": 16, "split": "test", "real_set": "4fe1"}
FLOOR = {"fd_tn2": 0.5, "kd_efflite0": 0.01, "static_gap": 0.001}
VALUES = {
    "perturbed": {"fd_tn2": 2.0, "kd_efflite0": 0.3, "static_gap": 0.2},
    "unperturbed": {"fd_tn2": 3.5, "kd_efflite0": 0.2, "static_gap": 0.2},
}
COST = Cost(12.5, 25.0, "a GPU", 3_000_000_000, after_killed=False)


def result(values: dict[str, float], **protocol: str | int) -> Result:
    along = ("mean", "first", "last", "change", "slope_per_1000_frames")
    drift = {"tn2": {f"{side}_{key}": 1.2 for side in ("fake", "real") for key in along}}
    drift["joins"] = {"fake": 1.37, "fake_low": 1.1, "fake_high": 1.6, "real": 1.0}
    drift["similarity_10"] = {"fake": 0.71, "real": 0.7}
    return Result(
        estimates={key: estimate(key, value) for key, value in values.items()},
        measured={"motion": {"real": 4.0, "fake": 3.0}},
        protocol=PROTOCOL | protocol,
        not_available={"fvd": "needs I3D; `lvdm weights --install i3d=PATH`"},
        drift=drift,
        memorisation={"tn2": {"fake": 3.5, "held_out": 3.0, "nearer": 0.4, "copies": 0.125, "searched": 64.0}},
    )


def estimate(key: str, value: float) -> Estimate:
    interval = (0.9 * value, 1.1 * value)
    splits = {"train": 0.95 * value, "test": value}
    return Estimate(value, FLOOR[key], interval, 64, 64, 64, better(key), METRICS[key].features, "none", splits)


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def workspace(measured_once: Path, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(measured_once, tmp_path / "project")
    return Workspace(tmp_path / "project")


@pytest.fixture(scope="session")
def written(measured_once: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The leaderboard folder of that. To be read only."""
    root = tmp_path_factory.mktemp("written") / "project"
    shutil.copytree(measured_once, root)
    write_leaderboard(params, Workspace(root))
    return Workspace(root).leaderboard


@pytest.fixture(scope="session")
def measured_once(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two experiments that were run and measured. To be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("measured"))
    picture = workspace.root / "loss.png"
    draw_curves(picture, {"loss": ([1, 2], [2.0, 1.0])}, title="Loss", x_label="step", y_label="")
    for name, values in VALUES.items():
        moving = torch.randint(0, 255, (8, 32, 32, 3), dtype=torch.uint8).numpy()
        for place in ("long/0000.mp4", "clips/0000.mp4"):
            write_video(workspace.samples(name) / place, [moving], 8.0)
        result(values).write(workspace.metrics(name))
        Report("evaluate", name, values, {"drift <&>": picture}, cost=COST).write(workspace)
        curve = workspace.curve("evaluate", name)
        curve.parent.mkdir(parents=True, exist_ok=True)
        head = "curve,frame,fake,fake_low,fake_high,real"
        curve.write_text(f"{head}\ntn2,0,1.1,1.0,1.2,1.0\ntn2,16,1.3,1.1,1.5,1.0\ntn2,32,1.4,,,nan\n")
    frames = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8).numpy()
    draw_reconstructions(workspace.root / "reconstructions.png", frames, frames)
    shown = {"input, reconstruction, error": workspace.root / "reconstructions.png"}
    Report("train_autoencoder", "small", {"psnr": 20.0}, shown, cost=COST).write(workspace)
    Report("ingest", "", {"videos": 30.0, "hours": 0.05}, {"videos shown": picture}).write(workspace)
    checks = (Check("decodable", True, True, "", 0, ()), Check("bright", False, False, "", 2, ("a.mp4",)))
    links = {"data report": workspace.data_report / "index.html", "quarantine": workspace.quarantine}
    workspace.data_report.mkdir()
    links["data report"].write_text("<!doctype html><title>Data</title>")
    Report("validate", "", {"accepted": 28.0, "rejected": 2.0}, links=links, checks=checks).write(workspace)
    for stage in STAGES.values():
        for name in stage.names(params) if stage.verb != "compare" else ():
            record(workspace, stage, name, params)
    return workspace.root


def record(workspace: Workspace, stage: Stage, name: str, params: Params) -> None:
    """Leaves what the runner of stages would leave: the provenance, and outputs of some bytes where there are none."""
    for path in stage.outputs(workspace, params, name):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{stage.verb} {name} {path.name}")
    inputs = hashes(stage.inputs(workspace, params, name), workspace)
    replace(Provenance.of(stage, params, workspace, name, inputs), commit="abc123").write(workspace)
