"""What is measured is what the first experiment of a params.yaml would train and sample."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks import untrained
from lvdm.params import load_params

ROOT = Path(__file__).parents[2]


def test_what_the_first_experiment_changes_is_measured(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["autoencoders"]["wide"] = {"train_autoencoder": {"network": {"channels": [64, 96]}}}
    changes = {"train_denoiser": {"network": {"num_blocks": 2}}, "sample": {"steps": 3}}
    document["experiments"] = {"first": {"autoencoder": "wide", **changes}, **document["experiments"]}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    params = untrained.params_of(untrained.parser("").parse_args(["--size", str(path), "--side", "32"]))
    asked = load_params(path).experiment("first")
    assert (params.train_denoiser, params.sample) == (asked.train_denoiser, asked.sample)
    assert params.train_autoencoder.network.channels == (64, 96)
    assert params.clips.size == 32
    assert params.experiment("first") == asked and list(params.experiments) == ["first"]
