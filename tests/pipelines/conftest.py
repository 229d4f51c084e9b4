"""A project of its own for the tests of orchestration: this tree's files, tiny numbers, a Git repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from lvdm.params import merged

ROOT = Path(__file__).parents[2]
TINY_RECIPE = {"num_videos": 30, "frames": 40, "num_long_videos": 2, "long_frames": 64, "size": 32}
TRAINING = {"steps": 6, "batch_size": 2, "warmup_steps": 1, "checkpoint_every": 2, "validate_every": 6}
TINY = {
    "clips": {"frames": 8, "size": 32},
    "train_autoencoder": {
        "network": {"channels": [8, 8, 8]},
        "training": TRAINING,
    },
    "train_denoiser": {
        "window": 3,
        "strides": [1, 2],
        "network": {"channels": 16, "head_channels": 8},
        "objective": {"max_given": 2},
        "training": TRAINING,
    },
    "sample": {"steps": 2, "num_clips": 6, "num_long_videos": 1, "long_frames": 32},
    "evaluate": {"num_clips": 6},
}


@dataclass(frozen=True)
class Project:
    """A checkout with commands that run in it."""

    root: Path

    def run(self, *command: str, status: int | None = 0, **environment: str) -> str:
        """Runs a command of the environment's bin folder; returns what it printed."""
        bin_folder = Path(sys.executable).parent
        result = subprocess.run(
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            env=os.environ
            | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "DAGSTER_HOME": str(self.root)}
            | environment,
        )
        output = result.stdout + result.stderr
        assert status is None or result.returncode == status, output
        return output

    def link_weights(self) -> None:
        """The pretrained networks of this tree, as if they had been installed."""
        for network in (ROOT / "weights").glob("*.pth"):
            (self.root / "weights" / network.name).symlink_to(network)

    def edit(self, changes: dict, file: str = "params.yaml") -> None:
        path = self.root / file
        document = merged(yaml.safe_load(path.read_text()), changes)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def drop(self, experiment: str) -> None:
        """Takes an experiment out of params.yaml, which makes a test of the others shorter."""
        path = self.root / "params.yaml"
        document = yaml.safe_load(path.read_text())
        del document["experiments"][experiment]
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def ran(self, *command: str, **environment: str) -> list[str]:
        """The stages that a dvc command ran."""
        lines = self.run(*command, **environment).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def checkout(root: Path) -> Project:
    """This tree's files in a new Git repository at `root`, with tiny numbers; the weights are shared by a link."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    project = Project(root)
    project.link_weights()
    project.edit(TINY)
    project.edit(TINY_RECIPE, "builtin/recipe.yaml")
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "test@example.invalid")
    project.run("git", "config", "user.name", "test")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "a project")
    return project


@pytest.fixture(scope="session")
def materialized(tmp_path_factory, worker_id) -> Project:
    """A project on which the whole pipeline has run once, through Dagster and DVC: the demo in small. To be read only.

    The first process of the tests that asks for it makes it; the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    project = Project(shared / "materialized")
    with FileLock(shared / "materialized.lock"):
        if not project.root.exists():
            made = checkout(tmp_path_factory.mktemp("checkout"))
            assert "everything is up to date" in made.run(sys.executable, "-m", "pipelines.everything")
            made.root.rename(project.root)
    return project


@pytest.fixture
def copy(materialized, tmp_path) -> Project:
    """A copy of the finished project that a test may change and run commands in."""
    root = tmp_path / "copy"
    shutil.copytree(materialized.root, root, symlinks=True)
    return Project(root)
