"""A predictor and an interpolator: each trained on its own tasks, as if there were no other, however often killed."""

from __future__ import annotations

import multiprocessing
import signal
import time

import pytest
import torch
from separate_run import PROMPTS, run, run_alone, separate_params, write_cache
from small_run import MACHINE
from torch import nn

from lvdm.data.latent_windows import LatentWindows, held_out_windows
from lvdm.diffusion.frame_conditions import draw_frame_conditions
from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, sample_videos
from lvdm.models.condition import Prompts
from lvdm.params import parse_params
from lvdm.planning.plan import trainings
from lvdm.training.denoiser import interpolator_params, predictor_params, train_denoiser, train_networks
from lvdm.workspace import Workspace
from tests.test_making import tiny

ENDS = torch.tensor([True, False, False, False, True])


def test_the_predictor_has_the_mix_without_interpolation_and_the_interpolator_nothing_else():
    params = separate_params()
    tasks = params.objective.tasks.model_copy(update={"predict": 0.3, "interpolate": 0.25, "independent": 0.15})
    params = params.model_copy(update={"objective": params.objective.model_copy(update={"tasks": tasks})})
    predictor, interpolator = predictor_params(params), interpolator_params(params)
    mix = predictor.objective.tasks
    assert (mix.predict, mix.interpolate, mix.independent) == pytest.approx((0.4, 0.0, 0.2))
    generators = [generator_of(i) for i in range(300)]
    predicted = draw_frame_conditions(predictor.objective, 5, generators).given
    interpolated = draw_frame_conditions(interpolator.objective, 5, generators).given
    assert not predicted[:, -1].any()
    assert predicted[:, 0].float().mean().item() == pytest.approx(0.4, abs=0.1)
    assert (interpolated == ENDS).all()
    assert predictor.strides == params.strides == (1, 4)
    assert interpolator.strides == (1,)  # gaps between key frames are filled at the finer strides


def test_each_network_is_the_one_that_its_own_tasks_and_windows_give(tmp_path):
    cache, params = write_cache(tmp_path), separate_params()

    def apart(name: str, settings):
        windows = LatentWindows(cache, 5, settings.strides, settings.training.seed, PROMPTS.example)
        held_out = held_out_windows(cache, 5, settings.strides, 3, PROMPTS.example)
        return train_denoiser(windows, settings, 2, PROMPTS, MACHINE, tmp_path / name, held_out)

    trained = train_networks(cache, params, PROMPTS, MACHINE, tmp_path / "both")
    predictor, history = apart("predictor", predictor_params(params))
    interpolator, its_history = apart("interpolator", interpolator_params(params))
    assert_equal(trained.network, predictor)
    assert_equal(trained.interpolator, interpolator)
    assert not torch.equal(predictor.body.head.conv.weight, interpolator.body.head.conv.weight)
    for row, one, other in zip(trained.history, history, its_history, strict=True):
        assert row == one | {f"interpolator_{key}": value for key, value in other.items() if key != "step"} | {
            "step": one["step"]
        }
    assert "interpolator_validation_loss" in trained.history[-1]

    joint = train_networks(cache, separate_params(separate=False), PROMPTS, MACHINE, tmp_path / "joint")
    network, history = apart("one", separate_params(separate=False))
    assert_equal(joint.network, network)
    assert joint.interpolator is None and joint.history == history


def test_a_run_killed_in_either_network_ends_with_the_bits_of_one_that_was_not(tmp_path):
    write_cache(tmp_path)
    context = multiprocessing.get_context("forkserver")  # a real process a run, without importing torch each time
    context.set_forkserver_preload(["lvdm.training.denoiser"])
    for name in ("predictor", "interpolator"):
        process = context.Process(target=run_alone, args=(tmp_path, "killed", 24))
        process.start()
        state = tmp_path / "killed" / name / "run.ckpt"
        while process.is_alive() and not state.exists():
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert 0 < torch.load(state, weights_only=True)["global_step"] < 24
    assert torch.load(tmp_path / "killed/predictor/run.ckpt", weights_only=True)["global_step"] == 24
    resumed, whole = (run(tmp_path, scratch, steps=24, validate_every=10) for scratch in ("killed", "whole"))
    assert_equal(resumed.network, whole.network)
    assert_equal(resumed.interpolator, whole.interpolator)
    assert resumed.history == whole.history


def test_a_plan_has_the_steps_of_both(tmp_path):
    document = tiny()
    document["train_denoiser"]["separate_interpolator"] = True
    *_, trained = trainings(parse_params(document), Workspace(tmp_path, MACHINE))
    assert trained.steps == 2 * trained.training.steps


@pytest.mark.parametrize("training", [0, 1])
def test_neither_makes_a_video_while_it_trains(tmp_path, training):
    both = [nn.Linear(1, 1).train(number == training) for number in range(2)]
    spec, sample = DenoiserSpec(separate_params(), Prompts.of_labels(0), (2, 4, 4)), parse_params(tiny()).sample
    videos = sample_videos(both[0], spec, sample, [VideoRequest(0, None, 5)], tmp_path, interpolator=both[1])
    with pytest.raises(AssertionError, match="a denoiser samples in eval mode"):
        next(videos)


def assert_equal(network: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
