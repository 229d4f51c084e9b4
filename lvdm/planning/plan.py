"""The plan of a machine: for each stage that computes, what it needs at the parameters at hand, and what would fit.

Where there is a GPU, short runs are measured; elsewhere the memory of training is counted, as on a GPU in bf16-mixed
without compiling, and no time is given. Times are of the steps alone, without saving, validation and compiling.
Not here: the arithmetic (needs.py), the runs (trials.py, work.py), the counting (counting.py).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lvdm.diffusion.sampling import VideoRequest, rows_of_calls
from lvdm.making import DECODED_AT_ONCE, as_request, num_chunks, samples_to_make
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.condition import Prompt
from lvdm.models.denoiser import Denoiser
from lvdm.models.inference import ready
from lvdm.params import Params, TrainAutoencoder, TrainDenoiser, Training
from lvdm.planning import counting, trials, work
from lvdm.planning.needs import Line, Need, Setting, seconds_a_step, suggested
from lvdm.planning.work import without_zeros
from lvdm.training.autoencoder import check_strategy
from lvdm.training.task import Batch, Task
from lvdm.workspace import Workspace

NOTHING_FITS = Need(Line(math.inf, 0.0), Line(0.0, 0.0))


@dataclass(frozen=True)
class Row:
    """A stage of an entry; `seconds` are of the whole stage, and None where nothing was measured."""

    stage: str
    name: str
    setting: Setting
    bytes: float
    seconds: float | None
    better: Setting | None  # the fastest that fits; None if none does


@dataclass(frozen=True)
class Trained:
    """The training of an entry: needs without and with recomputing, and how many steps there are."""

    stage: str
    name: str
    training: Training
    needs: dict[bool, Need]
    steps: int
    measured: bool

    def row(self, as_set: Setting, memory: float) -> Row:
        need = self.needs[as_set.recompute]
        seconds = self.steps * seconds_a_step(need, as_set) if self.measured else None
        examples = as_set.batch_size * as_set.accumulate
        better = suggested(self.needs, examples, memory)
        return Row(self.stage, self.name, as_set, need.peak(as_set), seconds, better)


def trainings(params: Params, workspace: Workspace) -> Iterator[Trained]:
    """The needs of every training, those that are alike measured once.

    Raises:
        LvdmError: a network that a loss or a prompt needs is not there, or the machine cannot train so.
    """
    known: dict[Any, dict[bool, Need]] = {}
    measured = workspace.machine.device.type == "cuda"
    for name in params.autoencoders:
        settings = params.autoencoder(name)
        if settings.network.kind == "identity":
            continue
        check_strategy(settings.objective, workspace.machine)
        key: Any = (settings.network, settings.objective, settings.training.batch_size)
        if key not in known:
            known[key] = (
                autoencoder_needs(settings, params, workspace)
                if measured
                else counting.counted_autoencoder(settings, params)
            )
        yield Trained("train_autoencoder", name, settings.training, known[key], settings.training.steps, measured)
    for name in params.experiments:
        train, latent = params.experiment(name).train_denoiser, latent_shape(params, name)
        key = (train.network, train.window, train.training.batch_size, latent)
        if key not in known:
            known[key] = (denoiser_needs if measured else counting.counted_denoiser)(train, latent, workspace)
        networks = 2 if train.separate_interpolator else 1
        yield Trained("train_denoiser", name, train.training, known[key], networks * train.training.steps, measured)


def autoencoder_needs(settings: TrainAutoencoder, params: Params, workspace: Workspace) -> dict[bool, Need]:
    """Measured, without (False) and with recomputing (True)."""
    task = partial(work.autoencoder_task, settings, workspace)
    return _measured(task, work.clip_of(params.clips), settings.training.batch_size, workspace)


def denoiser_needs(train: TrainDenoiser, latent: work.LatentShape, workspace: Workspace) -> dict[bool, Need]:
    """Measured, without (False) and with recomputing (True)."""
    task = partial(work.denoiser_task, train, latent, workspace)
    return _measured(task, work.windows(train, latent), train.training.batch_size, workspace)


def latent_shape(params: Params, experiment: str) -> work.LatentShape:
    """c h w."""
    return params.autoencoder(params.experiment(experiment).autoencoder).network.latent_shape(params.clips.size)


def _measured(task: Callable[[int], Task], example: Batch, batch_size: int, workspace: Workspace) -> dict[bool, Need]:
    def tried(again: bool, size: int) -> trials.Trial:
        machine = workspace.machine.model_copy(update={"recompute": again})
        return trials.train(partial(task, size), work.Repeated(example), machine)

    return {again: need(partial(tried, again), batch_size) for again in (False, True)}


def _tried(trial: Callable[[], trials.Trial]) -> trials.Trial | None:
    """None if it does not fit."""
    try:
        return trial()
    except torch.OutOfMemoryError:
        return None
    finally:
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


def need(tried: Callable[[int], trials.Trial], batch_size: int) -> Need:
    """From the batch size that is set and half of it; what does not fit is tried at smaller sizes, down to one."""
    points: list[tuple[int, trials.Trial]] = []
    sizes = [2, 1] if batch_size == 1 else [batch_size >> halvings for halvings in range(batch_size.bit_length())]
    for size in sizes:
        if (trial := _tried(partial(tried, size))) is not None:
            points.append((size, trial))
        if len(points) == 2:
            break
    else:  # at most one example fits: two are taken to need twice as much
        if not points:
            return NOTHING_FITS
        points = [*points, (0, trials.Trial(0.0, 0.0))]
    (size, one), (other_size, other) = points
    memory = Line.through(size, one.bytes, other_size, other.bytes)
    return Need(memory, Line.through(size, one.seconds, other_size, other.seconds), one.gradients)


@dataclass(frozen=True)
class Made:
    """Inference of an entry: bytes at the peak, and seconds of all of `what`; `smaller` is what makes it fit."""

    stage: str
    name: str
    what: str
    bytes: float
    seconds: float
    smaller: str


def made(params: Params, workspace: Workspace) -> Iterator[Made]:
    """Encoding of a chunk for every autoencoder, and all that every experiment samples, measured."""
    machine, device = workspace.machine, workspace.machine.device
    for name in params.autoencoders:
        network, frames = params.autoencoder(name).network, params.encode_latents.chunk_frames
        autoencoder = without_zeros(build_autoencoder(network)).to(device).eval()  # encoding compiles nothing
        trial = _tried(partial(trials.call, work.encoding(autoencoder, params.clips.size, frames, workspace), device))
        what = f"{frames} frames in one of at most {max(1, machine.loaders)} processes, but for reading them"
        needed = (trial.bytes, trial.seconds) if trial else (math.inf, 0.0)
        yield Made("encode_latents", name, what, *needed, "lower encode_latents.chunk_frames")
    for name in params.experiments:
        yield sampled(params, workspace, name)


def sampled(params: Params, workspace: Workspace, name: str) -> Made:
    """All that an experiment samples, measured by passes of its networks."""
    machine, device = workspace.machine, workspace.machine.device
    experiment, latent = params.experiment(name), latent_shape(params, name)
    train, sample = experiment.train_denoiser, experiment.sample
    known = work.vocabulary(train.network, workspace)
    networks = [  # both are there, and one computes
        ready(without_zeros(Denoiser(train.network, latent[0], known)), machine, device)
        for _ in range(2 if train.separate_interpolator else 1)
    ]
    calls, latents = calls_and_latents(params, name)
    needed = need(partial(_a_call, networks[0], train, latent, workspace), max(calls))
    config = params.autoencoder(experiment.autoencoder).network
    autoencoder = ready(without_zeros(build_autoencoder(config)), machine, device)
    trial = _tried(partial(trials.call, work.decoding(autoencoder, latent, DECODED_AT_ONCE, workspace), device))
    chunk = trial or trials.Trial(math.inf, 0.0)
    seconds = sum(needed.seconds.at(rows) for rows in calls) + latents / DECODED_AT_ONCE * chunk.seconds
    what = f"{sample.num_clips} clips and {sample.num_long_videos} long videos, but for writing them"
    denoising = needed.bytes.at(max(calls))
    smaller = "lower sample.batch_size" if denoising >= chunk.bytes else "make clips.size smaller"
    return Made("sample", name, what, max(denoising, chunk.bytes), seconds, smaller)


def _a_call(
    denoiser: Denoiser, train: TrainDenoiser, latent: work.LatentShape, workspace: Workspace, size: int
) -> trials.Trial:
    return trials.call(work.denoising(denoiser, train, latent, size, workspace), workspace.machine.device)


def calls_and_latents(params: Params, name: str) -> tuple[list[int], int]:
    """What an experiment samples: the rows of every call of its denoiser, and how many latents are decoded, those
    that fill the last chunk of a video included.
    """
    experiment, requests = params.experiment(name), requests_of(params, name)
    calls = rows_of_calls(requests, experiment.train_denoiser, experiment.sample)
    return calls, sum(num_chunks(asked) * min(DECODED_AT_ONCE, asked.num_latents) for asked in requests)


def requests_of(params: Params, name: str) -> list[VideoRequest]:
    """The latents that an experiment samples; if it is prompted, of one prompt for all."""
    experiment = params.experiment(name)
    factor = params.autoencoder(experiment.autoencoder).network.time_factor
    prompts = () if experiment.train_denoiser.network.condition == "none" else (Prompt("any"),)
    return [as_request(asked, ("any",), factor) for asked in samples_to_make(params, name, prompts)]


def memories(found: Sequence[Trained], gigabytes: Sequence[int]) -> list[str]:
    """In Markdown: the fastest setting of every training on GPUs of these sizes."""
    lines = [f"| | {' | '.join(f'{size} GB' for size in gigabytes)} |", "|---" * (len(gigabytes) + 1) + "|"]
    for one in found:
        examples = one.training.batch_size * one.training.accumulate
        cells = [suggested(one.needs, examples, size * 1e9) for size in gigabytes]
        said = " | ".join("does not fit" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {one.stage} {one.name} | {said} |")
    return lines
