"""A plan predicts what is then measured, and suggests the fastest setting that fits."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import yaml

from lvdm import presets
from lvdm.__main__ import main
from lvdm.diffusion.long_video import plan_long_video
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.making import as_request, samples_to_make
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.denoiser import Denoiser
from lvdm.models.layers import Blocks, recompute
from lvdm.params import Params, parse_params
from lvdm.planning import counting, plan, report, trials, work
from lvdm.planning.needs import GIB, Larger, Line, Need, Setting, settings, suggested, usable
from lvdm.planning.report import duration, of_machine
from lvdm.training.autoencoder import train_autoencoder
from lvdm.workspace import Workspace
from tests.test_making import tiny

NEEDS = {  # bytes and seconds of a pass
    False: Need(Line(10 * GIB, 2 * GIB), Line(1.0, 1.0)),
    True: Need(Line(10 * GIB, 0.5 * GIB), Line(1.0, 1.4)),
}


def gpu(gibibytes: float) -> float:
    """Memory of which tensors can have so much."""
    return next(size * GIB / 64 for size in range(64 * 200) if usable(size * GIB / 64) >= gibibytes * GIB)


def test_a_line_goes_through_its_points_and_neither_falls_nor_begins_below_zero():
    line = Line.through(8, 20.0, 4, 12.0)
    assert (line.at(8), line.at(4), line.at(16)) == (20.0, 12.0, 36.0)
    assert Line.through(8, 5.0, 4, 6.0).at(100) == 5.0
    assert Line.through(8, 20.0, 4, 5.0).at(1) == 20.0 / 8


def test_what_is_there_at_one_time_or_another_needs_the_larger_of_the_two():
    assert [Larger(Line(10.0, 1.0), Line(0.0, 3.0)).at(size) for size in (1, 5, 8)] == [11.0, 15.0, 24.0]


def test_every_setting_passes_the_examples_of_a_step_exactly():
    found = list(settings(12))
    assert {s.batch_size * s.accumulate for s in found} == {12}
    assert [s.batch_size for s in found if not s.recompute] == [12, 6, 4, 3, 2, 1]
    assert [str(s) for s in found[:2]] == [
        "batch_size: 12, accumulate: 1",
        "batch_size: 12, accumulate: 1, recompute: true",
    ]


@pytest.mark.parametrize(
    ("gibibytes", "expected"),
    [
        (42, Setting(16, 1, False)),  # 10 + 16 x 2
        (41, Setting(8, 2, False)),  # two passes of 1 + 8 seconds, against 1 + 16 x 1.4 of one that recomputes
        (17, Setting(2, 8, False)),  # eight of 1 + 2, against two of 1 + 8 x 1.4: 24 seconds, against 24.4
        (13, Setting(4, 4, True)),  # four of 1 + 4 x 1.4 are 26.4 seconds, sixteen of 1 + 1 are 32
        (10.4, None),
    ],
)
def test_the_fastest_setting_that_fits_is_suggested(gibibytes, expected):
    assert suggested(NEEDS, 16, gpu(gibibytes)) == expected


def test_gradients_that_are_summed_over_passes_need_their_own_room():
    summed = {again: replace(need, gradients=2 * GIB) for again, need in NEEDS.items()}
    fits = [suggested(summed, 16, gpu(gibibytes)) for gibibytes in (42, 28, 26.5)]
    assert fits == [Setting(16, 1, False), Setting(8, 2, False), Setting(4, 4, False)]  # 10 + 2 + 8 x 2 would be 28


def test_a_row_is_of_the_setting_as_it_is_and_of_the_one_that_passes_as_many_examples_fastest(params):
    as_set, training = Setting(4, 4, False), params.experiment("perturbed").train_denoiser.training
    trained = plan.Trained("train_denoiser", "perturbed", training, NEEDS, 10, measured=True)
    row = trained.row(as_set, gpu(17))
    assert (row.bytes, row.seconds, row.better) == (18 * GIB, 10 * 4 * (1 + 4), Setting(2, 8, False))
    assert replace(trained, measured=False).row(as_set, gpu(17)).seconds is None


def test_without_a_gpu_every_training_is_counted_and_none_is_timed(params, workspace):
    first, *lines = of_machine(params, workspace, None)
    assert first.startswith("no GPU here")
    names = [f"train_autoencoder {name}: " for name in params.autoencoders]
    names += [f"train_denoiser {name}: " for name in params.experiments]
    assert [line.startswith(name) for line, name in zip(lines, names, strict=True)] == [True] * len(names)
    assert all(line.endswith(" GiB; fits") for line in lines)


def test_what_cannot_be_trained_under_fsdp_is_said_by_the_plan_as_by_the_training(tmp_path):
    document, machine = tiny(), Machine(accelerator="cpu", strategy="fsdp")
    document["train_autoencoder"]["objective"]["adversarial"] = {"channels": 8, "start": 0, "weight": 0.5}
    params = parse_params(document)
    (name,) = params.autoencoders
    with pytest.raises(ParamsError, match=r"^machine\.yaml: strategy fsdp with an adversarial term; ") as planning:
        list(of_machine(params, Workspace(tmp_path, machine), None))
    with pytest.raises(ParamsError) as training:
        train_autoencoder(work.Repeated(work.clip_of(params.clips)), params.autoencoder(name), machine, tmp_path)
    assert str(planning.value) == str(training.value)


def test_a_part_of_the_memory_is_left_to_cuda_and_to_gaps():
    assert usable(24e9) == pytest.approx(0.94 * 24e9 - 0.75 * 1024**3)


@pytest.mark.parametrize(("seconds", "said"), [(20.0, "20 s"), (10920.0, "3 h 02 min"), (324000.0, "3 d 18 h")])
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said


@pytest.fixture(scope="module")
def params() -> Params:
    document = tiny()
    document["clips"]["size"] = 64
    document["train_denoiser"]["training"]["batch_size"] = 8
    return parse_params(document)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("plan"), Machine(accelerator="cpu"))


def test_memory_is_predicted_within_15_percent_for_a_batch_that_was_not_tried(params, workspace, monkeypatch):
    monkeypatch.setattr(trials, "BEFORE", 1)
    monkeypatch.setattr(trials, "TIMED", 2)
    monkeypatch.setattr(trials, "LONG_ENOUGH", 0.0)
    train, latent = params.experiment("perturbed").train_denoiser, plan.latent_shape(params, "perturbed")
    needs = plan.denoiser_needs(train, latent, workspace)
    task, examples = (
        partial(work.denoiser_task, train, latent, workspace, 24),
        work.Repeated(work.windows(train, latent)),
    )
    measured = trials.train(task, examples, workspace.machine)
    assert needs[False].bytes.at(24) == pytest.approx(measured.bytes, rel=0.15)
    assert needs[False].seconds.at(24) > 0
    assert needs[True].bytes.each < 0.7 * needs[False].bytes.each


@pytest.mark.parametrize(("at_least", "timed"), [(0.0, 2), (25.0, 6)])
def test_steps_are_timed_until_they_are_long_enough(params, workspace, monkeypatch, at_least, timed):
    """By a clock that goes five seconds a step, and is asked no more often than it must be: a GPU is waited for."""
    train, latent = params.experiment("perturbed").train_denoiser, plan.latent_shape(params, "perturbed")
    task, examples = work.denoiser_task(train, latent, workspace, 2), work.Repeated(work.windows(train, latent))
    first, asked = 3, list[int]()

    def clock(_: torch.device) -> float:
        asked.append(task.trainer.global_step)
        return 5.0 * task.trainer.global_step

    monkeypatch.setattr(trials, "now", clock)
    assert trials.seconds_a_step(task, examples, workspace.machine, first, 2, at_least) == 5.0
    assert asked == [*range(first, first + timed + 1, 2)]


def test_what_does_not_fit_is_tried_at_smaller_sizes_and_one_example_that_fits_alone_is_taken_to_be_all_of_it():
    def tried(limit: int, size: int) -> trials.Trial:
        if size > limit:
            raise torch.OutOfMemoryError
        return trials.Trial(10.0 + 2 * size, 1.0 + size)

    for limit, batch_size in ((16, 16), (5, 16), (2, 16), (2, 1)):
        need = plan.need(partial(tried, limit), batch_size)
        assert need == Need(Line(10.0, 2.0), Line(1.0, 1.0))
    assert plan.need(partial(tried, 1), 16).bytes == Line(0.0, 12.0)
    assert suggested({False: plan.need(partial(tried, 0), 16)}, 16, 141e9) is None


@pytest.mark.parametrize(
    ("gibibytes", "size", "says"),
    [
        (42, 16, "42 GiB, 3 min for all steps; fits"),
        (60, 4, "18 GiB, 3 min for all steps; fits; faster: batch_size: 16, accumulate: 1"),
        (17, 4, "18 GiB, 3 min for all steps; does not fit; set: batch_size: 2, accumulate: 8"),
        (10.4, 4, "18 GiB, 3 min for all steps; does not fit, and no setting on one GPU does: more GPUs with strategy"),
    ],
)
def test_a_line_says_whether_it_fits_and_what_would(params, gibibytes, size, says):
    training = params.experiment("perturbed").train_denoiser.training
    trained = plan.Trained("train_denoiser", "perturbed", training, NEEDS, 10, measured=True)
    row = trained.row(Setting(size, 16 // size, False), gpu(gibibytes))
    assert report._line(row, gpu(gibibytes)).startswith(f"train_denoiser perturbed: {row.setting}: {says}")


def test_what_fits_nowhere_has_no_numbers(params):
    training = params.experiment("perturbed").train_denoiser.training
    trained = plan.Trained("train_denoiser", "perturbed", training, {False: plan.NOTHING_FITS}, 10, measured=True)
    row = trained.row(Setting(4, 4, False), gpu(80))
    assert report._line(row, gpu(80)).startswith(
        "train_denoiser perturbed: batch_size: 4, accumulate: 4: does not fit,"
    )


def test_what_is_counted_without_a_gpu_grows_with_what_is_kept(params, workspace):
    """Kept by hand: x of two tensors is what multiplying them keeps."""
    layer = torch.nn.Linear(3, 5, device="meta")
    x = torch.empty(7, 3, device="meta")
    assert counting.kept_bytes(layer, lambda: layer(x).square()) == 4 * 7 * (3 + 5)


def test_of_what_is_computed_again_the_largest_block_is_there_at_a_time():
    """Of each layer its input, 3 x 7 or 5 x 7 numbers; the square keeps what no block does."""
    blocks = Blocks([torch.nn.Conv3d(3, 5, 1, device="meta"), torch.nn.Conv3d(5, 5, 1, device="meta")])
    x = torch.empty(1, 3, 1, 1, 7, device="meta", requires_grad=True)
    assert counting.kept_in_a_block(blocks, lambda: blocks(x).square()) == 4 * 7 * 5


def test_what_is_counted_is_22_bytes_a_parameter_or_18_and_a_block_and_half_of_what_fp32_keeps(params, workspace):
    train, latent = params.experiment("perturbed").train_denoiser, plan.latent_shape(params, "perturbed")
    needs = counting.counted_denoiser(train, latent, workspace)
    with torch.device("meta"):
        known = work.vocabulary(train.network, workspace)
        network, z = Denoiser(train.network, latent[0], known), work.windows(train, latent)["latent"][None]
        given = z, torch.zeros(1, train.window), torch.ones(1, dtype=torch.int64)
        condition = work.AnyPrompt(known).condition({"latent": z})

    def forward() -> torch.Tensor:
        return network(*given, condition)

    p, block = sum(parameter.numel() for parameter in network.parameters()), counting.kept_in_a_block(network, forward)
    whole = counting.kept_bytes(network, forward)
    recompute(network)
    part = counting.kept_bytes(network, forward)
    assert part < whole
    clip = torch.empty(1, 3, params.clips.frames, params.clips.size, params.clips.size, device="meta")
    with torch.device("meta"):
        autoencoder = build_autoencoder(params.autoencoder(params.experiment("perturbed").autoencoder).network)
    c, *sides = (autoencoder.encode(clip).shape[i] for i in (1, 3, 4))
    assert latent == (c, *sides)
    assert [needs[again].seconds.at(4) for again in (False, True)] == [6, 8], "computing again takes a third more"
    for n in (1, 1000):
        assert needs[False].bytes.at(n) == 22 * p + n * whole / 2
        assert needs[True].bytes.at(n) == max(22 * p + n * part / 2, 18 * p + n * (part + block) / 2)


@pytest.mark.parametrize(("condition", "passes"), [("label", {False: 2, True: 3}), ("none", {False: 1, True: 2})])
def test_sampling_takes_every_window_through_every_step_in_the_passes_that_guide_it(condition, passes):
    """Away from the prompt, and where frames are given away from these too."""
    document = tiny()
    document["train_denoiser"]["network"]["condition"] = condition
    if condition == "none":
        document["train_denoiser"]["objective"]["drop_condition"] = 0.0
        document["sample"]["condition_guidance"] = 0.0
    params = parse_params(document)
    sample, train = params.experiment("perturbed").sample, params.experiment("perturbed").train_denoiser
    requests = [as_request(asked, (), 4) for asked in samples_to_make(params, "perturbed", ())]
    planned = [
        plan_long_video(r.num_latents, train.window, train.strides, sample.overlap, sample.scheme) for r in requests
    ]
    windows = [window for each in planned for windows in each.rounds for window in windows]
    calls, latents = plan.calls_and_latents(params, "perturbed")
    assert sample.guidance and len({any(window.given) for window in windows}) == 2
    assert sum(calls) == sample.steps * sum(passes[any(window.given)] for window in windows)
    assert max(calls) == passes[True] * sample.batch_size
    assert latents == sum(min(8, r.num_latents) * math.ceil(r.num_latents / 8) for r in requests)


def test_sampling_and_encoding_are_measured_for_every_entry(params, workspace):
    found = list(plan.made(params, workspace))
    assert [one.stage for one in found] == ["encode_latents"] + ["sample"] * len(params.experiments)
    assert all(one.bytes > 0 and one.seconds > 0 for one in found)


def test_what_does_not_fit_is_a_line_and_those_after_it_come(params, workspace, monkeypatch):
    def full(*_: object, **__: object) -> trials.Trial:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trials, "call", full)
    found = list(plan.made(params, workspace))
    assert [one.stage for one in found] == ["encode_latents"] + ["sample"] * len(params.experiments)
    assert all(one.bytes == math.inf for one in found)
    assert [one.smaller for one in found[:2]] == ["lower encode_latents.chunk_frames", "lower sample.batch_size"]


def test_encoding_is_measured_as_the_stage_does_it_which_compiles_nothing(params, tmp_path):
    from torch._dynamo.utils import counters

    counters.clear()
    first = next(plan.made(params, Workspace(tmp_path, Machine(accelerator="cpu", compile=True))))
    assert first.stage == "encode_latents"
    assert not counters["frames"]


def test_the_command_says_what_fits_at_the_papers_sizes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    document = yaml.safe_load(presets.render("ucf101"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    assert main(["--root", str(tmp_path), "plan", "--memory", "8", "24"]) == 0
    *_, perturbed, _ = capsys.readouterr().out.splitlines()
    assert perturbed.startswith("| train_denoiser perturbed | does not fit | batch_size: 16, accumulate: 1")


def test_short_steps_of_a_trial_are_timed_for_long_enough(params, workspace, monkeypatch):
    asked = list[tuple[object, ...]]()
    monkeypatch.setattr(trials, "seconds_a_step", lambda *given: asked.append(given[3:]) or 2.0)
    trial = trials.train(lambda: torch.nn.Linear(3, 2), work.Repeated({}), workspace.machine)
    assert (trial.seconds, trial.gradients) == (2.0, 4 * (3 * 2 + 2))
    assert asked == [(trials.BEFORE, trials.TIMED, trials.LONG_ENOUGH)]
