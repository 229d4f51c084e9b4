"""A step of either network is measured, its gradients are those of the plain path, and Lightning's share is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import networks, training, untrained


def test_steps_are_measured_as_a_bare_loop_and_through_lightning_with_the_gradients_of_the_plain_path():
    arguments = ["--size", "tiny", "--batch", "2", "--seconds", "0.02", "--no-compile"]
    bare, through, autoencoder = training.main(arguments)
    assert (bare.work, autoencoder.work) == ("denoiser step B=2", "autoencoder step B=2")
    assert bare.error is not None and bare.error < 1e-5
    assert autoencoder.error is not None and autoencoder.error < 1e-5
    assert through.work.startswith("the same through Lightning (")
    assert through.ours is not None and through.ours.seconds > 0


def test_a_step_costs_at_least_three_passes_of_multiply_adds_and_the_optimisers_bytes():
    """Backward has two products for each forward one, but for the first layer, whose input needs no gradient."""
    params = untrained.params_of(untrained.parser("").parse_args(["--size", "tiny"]))
    forward, step = networks.least("denoiser", params, 4), training.least("denoiser", params, 4)
    assert 2.9 < step.flops / forward.flops <= 3
    assert step.bytes > forward.bytes


def test_sizes_that_the_networks_do_not_divide_are_refused_in_one_line():
    with pytest.raises(SystemExit, match=r"^params.yaml: clips.size: expected a multiple of 8 [^\n]*, got 36$"):
        training.main(["--size", "tiny", "--side", "36"])


def test_the_plain_step_clips_nothing_and_leaves_the_optimiser_as_torch_has_it(monkeypatch):
    """As the official code does: the rival of a ratio has no handicap."""
    given, clipped = [], []
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *args, **kwargs: given.append(kwargs) or adamw(*args, **kwargs))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: clipped.append(args))
    network = nn.Linear(2, 2)
    training.plain_stepping(network, lambda: network(torch.ones(1, 2)).square().sum())()
    assert given == [{"lr": 1e-6, "betas": (0.9, 0.99)}]
    assert not clipped
