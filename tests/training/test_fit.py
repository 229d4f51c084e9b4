"""A run is a function of its configuration, however often it is killed."""

from __future__ import annotations

import errno
import io
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from small_run import MACHINE, Noise, adversarial, small_params, small_run

from lvdm.errors import ArtefactError, LvdmError
from lvdm.machine import Machine
from lvdm.models.autoencoder import build_autoencoder
from lvdm.training import callbacks
from lvdm.training.autoencoder import AutoencoderTraining, train_autoencoder
from lvdm.training.fit import fit, initialised, next_port
from lvdm.training.task import learning_rate_factor


def start(scratch: Path, *arguments: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("small_run.py")), str(scratch), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("kills", "starts"),
    [([SIGKILL, SIGTERM], ()), ([SIGKILL], (3,)), ([SIGKILL], (40,))],
    ids=["plain", "adversarial", "before"],
)
def test_a_run_that_was_killed_ends_with_the_bits_of_one_that_was_not(tmp_path, kills, starts):
    steps = 120
    killed = tmp_path / "killed"
    for kill in kills:
        process = start(killed, steps, *starts)
        seen = (killed / "run.ckpt").stat().st_mtime_ns if (killed / "run.ckpt").exists() else 0
        wait_for(killed / "run.ckpt", process)
        while process.poll() is None and (killed / "run.ckpt").stat().st_mtime_ns == seen:
            time.sleep(0.001)
        process.send_signal(kill)
        process.communicate()
        assert process.returncode == -kill
        state = torch.load(killed / "run.ckpt", weights_only=True)
        assert 0 < state["global_step"] < max(starts, default=steps) or starts == (3,)
    resumed, resumed_history = small_run(killed, *map(adversarial, starts), steps=steps)
    whole, whole_history = small_run(tmp_path / "whole", *map(adversarial, starts), steps=steps)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert resumed_history == whole_history
    assert [row["step"] for row in whole_history] == list(range(1, steps + 1))


def test_a_run_that_ended_gives_its_result_again_without_a_step(tmp_path):
    first, history = small_run(tmp_path)
    before = (tmp_path / "run.ckpt").read_bytes()
    again, history_again = small_run(tmp_path)
    assert (tmp_path / "run.ckpt").read_bytes() == before
    assert history_again == history
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_state_whose_steps_saw_other_examples_is_refused_and_left(tmp_path):
    """As of a run on another number of devices: its next step would see examples twice, or leave some out."""
    small_run(tmp_path, steps=1)
    before = (tmp_path / "run.ckpt").read_bytes()
    says = f"^{tmp_path}: a killed run of 2 examples a step; .* are 4 now; train on as many devices as it did, or "
    with pytest.raises(ArtefactError, match=says):
        small_run(tmp_path, steps=2, batch_size=4)
    assert (tmp_path / "run.ckpt").read_bytes() == before
    small_run(tmp_path, steps=2, batch_size=1, accumulate=2)


@pytest.mark.parametrize("size", [0, 5_000, -1])
def test_a_state_that_the_disk_damaged_is_one_line(tmp_path, size):
    small_run(tmp_path, steps=1)
    (tmp_path / "run.ckpt").write_bytes((tmp_path / "run.ckpt").read_bytes()[:size])
    with pytest.raises(ArtefactError, match=r"run\.ckpt: damaged: .*; remove it, and training begins anew$"):
        small_run(tmp_path, steps=1)


def test_a_state_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    small_run(tmp_path, steps=1)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "run.ckpt")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(PermissionError):
        small_run(tmp_path, steps=1)


def test_another_seed_is_another_run(tmp_path):
    one, other = (small_run(tmp_path / str(seed), seed=seed, steps=3)[0] for seed in (0, 1))
    assert not torch.equal(one.encoder.first.weight, other.encoder.first.weight)


def test_the_trace_has_at_most_200_rows_and_ends_at_the_last_step(tmp_path):
    _, history = small_run(tmp_path, steps=401)
    assert len(history) <= 200
    assert history[-1]["step"] == 401
    assert set(history[0]) == {"step", "loss", "reconstruction", "kl"}


def test_the_export_is_the_moving_average_in_closed_form(tmp_path):
    """After n steps: w_0 times the product of all d_i, plus the sum of (1 - d_i) w_i times the product of later d_j."""
    decay, steps = 0.5, 4
    weights = [raw_weight(tmp_path / str(n), n) for n in range(1, steps + 1)]
    start = initial_weight()
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, steps + 1)]
    expected = start * math.prod(decays)
    for i, weight in enumerate(weights):
        expected = expected + weight * (1 - decays[i]) * math.prod(decays[i + 1 :])
    averaged, _ = small_run(tmp_path / "averaged", steps=steps, ema_decay=decay, warmup_steps=0, decay="constant")
    torch.testing.assert_close(averaged.encoder.first.weight, expected, atol=1e-6, rtol=0)


def raw_weight(scratch: Path, steps: int) -> torch.Tensor:
    """The weight after `steps` steps, without averaging."""
    run, _ = small_run(scratch, steps=steps, ema_decay=0.0, warmup_steps=0, decay="constant")
    return run.encoder.first.weight


def initial_weight() -> torch.Tensor:
    params = small_params()
    return initialised(lambda: build_autoencoder(params.network), params.training.seed).encoder.first.weight.detach()


def test_a_run_that_diverges_says_so(tmp_path):
    with pytest.raises(LvdmError, match=r"lower training\.learning_rate"):
        small_run(tmp_path, learning_rate=1e20, warmup_steps=0)


def test_a_run_writes_its_state_and_nothing_else_and_says_one_line_every_5_percent(tmp_path):
    process = start(tmp_path / "scratch", 40)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["run.ckpt"]
    lines = err.splitlines()
    assert out == "" and len(lines) == 20, err
    assert all(line.startswith("step ") and "it/s eta" in line for line in lines)


def test_a_line_says_the_loss_the_rate_since_the_line_before_and_what_is_left_at_that_rate(
    tmp_path, caplog, monkeypatch
):
    """On a clock that stands still but between two lines: 4 steps take 2 seconds, and then 320."""
    moments = iter([0.0, 2.0, 322.0])
    monkeypatch.setattr(callbacks, "LINES_OF_PROGRESS", 3)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: next(moments, 323.0)))
    with caplog.at_level("INFO", "lvdm"):
        _, history = small_run(tmp_path, steps=12)
    losses = [f"{history[step - 1]['loss']:.3g}" for step in (4, 8, 12)]
    assert [message for message in caplog.messages if message.startswith("step")] == [
        f"step 4/12 loss {losses[0]} 2.0 it/s eta 00:04",
        f"step 8/12 loss {losses[1]} 0.0 it/s eta 05:20",
        f"step 12/12 loss {losses[2]} 4.0 it/s eta 00:00",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_goes_on_from_where_the_run_was_to_its_end_and_says_the_loss(tmp_path, monkeypatch, caplog):
    small_run(tmp_path, steps=3, decay="constant")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.clear()
    with caplog.at_level("INFO", "lvdm"):
        _, history = small_run(tmp_path, steps=5, decay="constant")
    shown = [line for line in terminal.getvalue().split("\r") if "step" in line]
    assert " 3/5 " in shown[0]
    assert " 5/5 " in shown[-1] and f"loss={history[-1]['loss']:.3g}" in shown[-1] and shown[-1].endswith("\n")
    assert not any(message.startswith("step") for message in caplog.messages)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine_or_stays():
    training = small_params(steps=100, warmup_steps=10).training
    cosine = learning_rate_factor(training)
    assert [cosine(0), cosine(10), cosine(55), cosine(100)] == pytest.approx([1 / 11, 1, 0.5, 0])
    assert learning_rate_factor(training.model_copy(update={"decay": "constant"}))(99) == 1


HELD_OUT = [Noise()[1000 + i] for i in range(5)]


class Mortal(Noise):
    """Kills the run that asks for clip 22."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 22:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_a_step_is_the_same_in_one_batch_or_accumulated_over_two(tmp_path):
    whole, history = small_run(tmp_path / "whole", steps=8, batch_size=4)
    halves, history_of_halves = small_run(tmp_path / "halves", steps=8, batch_size=2, accumulate=2)
    for name, tensor in whole.named_parameters():
        torch.testing.assert_close(halves.get_parameter(name), tensor, atol=1e-6, rtol=0)
    assert [row["step"] for row in history_of_halves] == list(range(1, 9))
    for row, row_of_halves in zip(history, history_of_halves, strict=True):
        assert row_of_halves == pytest.approx(row, rel=1e-4)


@pytest.mark.parametrize("precision", ["16-mixed", "32-true"])  # float16 has the scale of its gradients to go on with
def test_a_run_that_accumulates_and_validates_goes_on_where_it_was_killed(tmp_path, precision):
    params, machine = small_params(steps=8, accumulate=2, checkpoint_every=1, validate_every=3), at(precision)
    with pytest.raises(KeyboardInterrupt), pytest.warns(match="Detected KeyboardInterrupt"):
        train_autoencoder(Mortal(), params, machine, tmp_path / "killed", held_out=HELD_OUT)
    assert torch.load(tmp_path / "killed" / "run.ckpt", weights_only=True)["global_step"] == 5
    resumed, resumed_history = train_autoencoder(Noise(), params, machine, tmp_path / "killed", held_out=HELD_OUT)
    if precision == "16-mixed":
        state = torch.load(tmp_path / "killed" / "run.ckpt", weights_only=True)
        assert state["MixedPrecision"]["_growth_tracker"] == 8  # of its scale: the steps since it last changed
    whole, whole_history = train_autoencoder(Noise(), params, machine, tmp_path / "whole", held_out=HELD_OUT)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
    assert resumed_history == whole_history
    assert [row["step"] for row in whole_history if "validation_reconstruction" in row] == [3, 6, 8]


def test_validation_is_of_the_averaged_weights_and_changes_nothing(tmp_path):
    params = small_params(steps=4, validate_every=2)
    validated, history = train_autoencoder(Noise(), params, MACHINE, tmp_path / "validated", held_out=HELD_OUT)
    plain, _ = small_run(tmp_path / "plain", steps=4)
    assert all(torch.equal(a, b) for a, b in zip(validated.parameters(), plain.parameters(), strict=True))
    with torch.no_grad():
        expected = AutoencoderTraining(validated, params, held_out=HELD_OUT).validate()
    assert history[-1]["validation_reconstruction"] == pytest.approx(expected["reconstruction"])


def test_validation_does_not_depend_on_the_batch(tmp_path):
    autoencoder, _ = small_run(tmp_path, steps=1)
    with torch.no_grad():
        one, two, all_ = (
            AutoencoderTraining(autoencoder, small_params(batch_size=size), held_out=HELD_OUT).validate()
            for size in (1, 2, 5)
        )
    assert one == pytest.approx(two, rel=1e-5) and one == pytest.approx(all_, rel=1e-5)


def test_a_run_without_held_out_examples_says_that_it_is_not_validated(tmp_path, caplog):
    with caplog.at_level("INFO", "lvdm"):
        _, history = small_run(tmp_path, steps=1, validate_every=1)
    assert "no held-out examples: training goes without validation" in caplog.messages
    assert set(history[0]) == {"step", "loss", "reconstruction", "kl"}


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "32-true"])
def test_weights_and_their_average_stay_in_float32_at_any_precision(tmp_path, precision):
    trained, history = train_autoencoder(Noise(), small_params(steps=8), at(precision), tmp_path)
    exact, exact_history = small_run(tmp_path / "exact", steps=8)
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    assert history[-1]["loss"] == pytest.approx(exact_history[-1]["loss"], rel=2e-2)
    assert torch.equal(trained.encoder.first.weight, exact.encoder.first.weight) == (precision == "32-true")


def at(precision: Literal["16-mixed", "bf16-mixed", "32-true"]) -> Machine:
    return Machine(accelerator="cpu", precision=precision)


def test_what_is_computed_in_training_is_of_the_precision_asked_for_on_a_cpu_too(tmp_path):
    """Lightning takes bfloat16 for 16-mixed on a CPU, while encoding and sampling there are in float16."""
    for precision, dtype in (("16-mixed", torch.float16), ("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        network = build_autoencoder(small_params().network)
        seen: list[torch.dtype] = []
        network.encoder.last.register_forward_hook(lambda *call, seen=seen: seen.append(call[-1].dtype))
        params = small_params(steps=1)
        fit(AutoencoderTraining(network, params), Noise(), at(precision), tmp_path / precision)
        assert seen == [dtype]


def test_with_scaled_gradients_of_float16_the_unscaled_ones_are_clipped(tmp_path, monkeypatch):
    norms: dict[str, list[float]] = {"16-mixed": [], "32-true": []}
    clip = torch.nn.utils.clip_grad_norm_
    for precision, seen in norms.items():
        monkeypatch.setattr(
            torch.nn.utils, "clip_grad_norm_", lambda *given, seen=seen: seen.append(clip(*given).item())
        )
        params = small_params(steps=4, accumulate=2, gradient_clip=1e-3)
        train_autoencoder(Noise(), params, at(precision), tmp_path / precision)
    assert len(norms["16-mixed"]) == 4
    assert norms["16-mixed"] == pytest.approx(norms["32-true"], rel=0.02)


@pytest.mark.parametrize(("accumulate", "same"), [(1, False), (2, True)])
def test_gradients_that_are_summed_over_batches_have_memory_of_their_own(tmp_path, monkeypatch, accumulate, same):
    seen: list[list[torch.Tensor]] = []

    def look(task: AutoencoderTraining, optimizer: torch.optim.Optimizer) -> None:
        seen.append([p.grad for p in task.parameters()])  # kept, so that no other takes their place

    monkeypatch.setattr(AutoencoderTraining, "on_before_optimizer_step", look)
    small_run(tmp_path, steps=3, accumulate=accumulate)
    assert len(seen) == 3
    assert all((a is b) == same for step in seen[1:] for a, b in zip(seen[0], step, strict=True))


def test_runs_after_one_another_meet_at_ports_that_no_program_is_given_by_chance():
    for first in (29_500, 32_768, 36_198, 60_999):
        second, third = next_port(first), next_port(next_port(first))
        assert 1024 < second < 32_768 and third == second + 1 and second != first
