"""What training says of itself: tables for DVC, numbers and a picture for Dagster."""

from __future__ import annotations

import pandas as pd
import torch

from lvdm import reports
from lvdm.workspace import Workspace

TRAINING = [{"step": step, "loss": 1.0 / step, "error": 2.0 / step} for step in (1, 2, 3)]


def test_training_and_validation_are_curves_of_their_own_and_the_last_of_each_is_in_the_report(tmp_path):
    workspace = Workspace(tmp_path)
    history = [TRAINING[0], TRAINING[1] | {"validation_loss": 0.9}, TRAINING[2] | {"validation_loss": 0.7}]
    report = reports.of_train_denoiser("a", torch.nn.Linear(1, 1), history, workspace)
    assert pd.read_csv(workspace.curve("train_denoiser", "a")).to_dict("records") == TRAINING
    held_out = pd.read_csv(workspace.curve("train_denoiser_held_out", "a"))
    assert held_out.to_dict("list") == {"step": [2, 3], "validation_loss": [0.9, 0.7]}
    assert report.metrics == {"parameters": 2, "loss": 1 / 3, "error": 2 / 3, "validation_loss": 0.7}
    assert report.pictures["loss curve"].is_file()


def test_a_run_without_validation_has_an_empty_curve_of_it(tmp_path):
    workspace = Workspace(tmp_path)
    reports.of_train_denoiser("a", torch.nn.Linear(1, 1), TRAINING, workspace)
    assert workspace.curve("train_denoiser_held_out", "a").read_text() == "step\n"
