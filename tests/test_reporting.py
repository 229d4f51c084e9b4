"""What training says of itself: tables for DVC, numbers and a picture for Dagster."""

from __future__ import annotations

import pandas as pd

from lvdm import reporting
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import DenoiserNetwork
from lvdm.training.denoiser import TrainedNetworks
from lvdm.workspace import Workspace

TRAINING = [{"step": step, "loss": 1.0 / step, "error": 2.0 / step} for step in (1, 2, 3)]
SMALL = {"channels": 2, "channel_multipliers": (1,), "num_blocks": 1, "attention_levels": (), "head_channels": 2}
NETWORK = Denoiser(DenoiserNetwork(**SMALL, temporal_convolution=False, condition="none"), 1, Vocabulary())
PARAMETERS = sum(parameter.numel() for parameter in NETWORK.parameters())


def test_training_and_validation_are_curves_of_their_own_and_the_last_of_each_is_in_the_report(tmp_path):
    workspace = Workspace(tmp_path)
    history = [TRAINING[0], TRAINING[1] | {"validation_loss": 0.9}, TRAINING[2] | {"validation_loss": 0.7}]
    report = reporting.of_train_denoiser("a", TrainedNetworks(NETWORK, None, history), workspace)
    assert pd.read_csv(workspace.curve("train_denoiser", "a")).to_dict("records") == TRAINING
    held_out = pd.read_csv(workspace.curve("train_denoiser_held_out", "a"))
    assert held_out.to_dict("list") == {"step": [2, 3], "validation_loss": [0.9, 0.7]}
    assert report.metrics == {"parameters": PARAMETERS, "loss": 1 / 3, "error": 2 / 3, "validation_loss": 0.7}
    assert report.pictures["loss curve"].is_file()


def test_a_run_without_validation_has_an_empty_curve_of_it(tmp_path):
    workspace = Workspace(tmp_path)
    reporting.of_train_denoiser("a", TrainedNetworks(NETWORK, None, TRAINING), workspace)
    assert workspace.curve("train_denoiser_held_out", "a").read_text() == "step\n"


def test_a_separate_interpolator_counts_and_has_columns_of_its_own_beside_those_of_the_predictor(tmp_path):
    workspace = Workspace(tmp_path)
    history = [row | {"interpolator_loss": 5.0, "interpolator_validation_loss": 6.0} for row in TRAINING]
    report = reporting.of_train_denoiser("a", TrainedNetworks(NETWORK, NETWORK, history), workspace)
    curve = pd.read_csv(workspace.curve("train_denoiser", "a"))
    held_out = pd.read_csv(workspace.curve("train_denoiser_held_out", "a"))
    assert list(curve.columns) == ["step", "loss", "error", "interpolator_loss"]
    assert list(held_out.columns) == ["step", "interpolator_validation_loss"]
    assert report.metrics["parameters"] == 2 * PARAMETERS
    assert report.metrics["interpolator_validation_loss"] == 6.0
