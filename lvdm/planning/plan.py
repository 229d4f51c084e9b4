"""The plan of a machine: for each stage that computes, what it needs at the parameters at hand, and what would fit.

Where there is a GPU, short runs are measured; elsewhere the memory of training is counted, as on a GPU in bf16-mixed
without compiling, and no time is given. Times are of the steps alone, without saving, validation and compiling.
Not here: the arithmetic (needs.py), the runs (trials.py, work.py).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.denoiser import Denoiser
from lvdm.models.inference import ready
from lvdm.models.layers import recompute
from lvdm.params import Params, TrainAutoencoder, TrainDenoiser, Training
from lvdm.planning import trials, work
from lvdm.planning.needs import Line, Need, Setting, seconds_a_step, suggested
from lvdm.training.fit import Batch, Task
from lvdm.workspace import Workspace

KEPT_A_PARAMETER = 22.0  # bytes: weight, gradient, two moments and average in fp32, and the weight in bfloat16
HALF = 0.5  # activations are bfloat16; those that are counted are fp32
LAUNCHES = 2.0  # a pass costs as much as so many examples more: relative, where no time is measured


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
        return Row(self.stage, self.name, as_set, need.bytes.at(as_set.batch_size), seconds, better)


def trainings(params: Params, workspace: Workspace) -> Iterator[Trained]:
    """The needs of every training, those that are alike measured once.

    Raises:
        LvdmError: a network that a loss or a prompt needs is not there.
    """
    known: dict[Any, dict[bool, Need]] = {}
    measured = workspace.machine.device.type == "cuda"
    for name in params.autoencoders:
        settings = params.autoencoder(name)
        if settings.network.kind == "identity":
            continue
        key: Any = (settings.network, settings.objective, settings.training.batch_size)
        if key not in known:
            known[key] = (
                autoencoder_needs(settings, params, workspace) if measured else _counted_autoencoder(settings, params)
            )
        yield Trained("train_autoencoder", name, settings.training, known[key], settings.training.steps, measured)
    for name in params.experiments:
        train, latent = params.experiment(name).train_denoiser, latent_shape(params, name)
        key = (train.network, train.window, train.training.batch_size, latent)
        if key not in known:
            known[key] = (denoiser_needs if measured else _counted_denoiser)(train, latent, workspace)
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
    network = params.autoencoder(params.experiment(experiment).autoencoder).network
    side = params.clips.size // network.space_factor
    return network.latent_channels, side, side


def _measured(task: Callable[[int], Task], example: Batch, batch_size: int, workspace: Workspace) -> dict[bool, Need]:
    """From the batch size that is set and half of it; what does not fit is tried at smaller sizes."""
    needs = {}
    for again in (False, True):
        machine, size = workspace.machine.model_copy(update={"recompute": again}), batch_size
        points: list[tuple[int, trials.Trial]] = []
        while len(points) < 2:
            try:
                points.append((size, trials.train(partial(task, size), work.Noise(example), machine)))
            except torch.OutOfMemoryError:
                points.clear()
            size = size // 2 if size > 1 else 2
            gc.collect()
            if machine.device.type == "cuda":
                torch.cuda.empty_cache()
        (size, one), (other_size, other) = points
        memory = Line.through(size, one.bytes, other_size, other.bytes)
        needs[again] = Need(memory, Line.through(size, one.seconds, other_size, other.seconds))
    return needs


def _counted_autoencoder(settings: TrainAutoencoder, params: Params) -> dict[bool, Need]:
    """Of the autoencoder alone, without optional terms."""
    with torch.device("meta"):
        network, clip = build_autoencoder(settings.network), work.clip_of(params.clips)["clip"][None]
    return _counted(network, lambda: network.reconstruct(network.moments(clip)[0]))


def _counted_denoiser(train: TrainDenoiser, latent: work.LatentShape, workspace: Workspace) -> dict[bool, Need]:
    known = work.vocabulary(train.network, workspace)
    with torch.device("meta"):
        network, z = Denoiser(train.network, latent[0], known), work.windows(train, latent)["latent"][None]
        given = z, torch.zeros(1, train.window), torch.ones(1, dtype=torch.int64)
        condition = work.AnyPrompt(known).condition({"latent": z})
    return _counted(network, lambda: network(*given, condition))


def _counted(network: nn.Module, forward: Callable[[], Tensor]) -> dict[bool, Need]:
    """What is kept for the backward pass of one example, on the device meta: shapes alone."""
    needs = {}
    parameters = KEPT_A_PARAMETER * sum(p.numel() for p in network.parameters())
    for again in (False, True):
        if again:
            recompute(network)
        slower = 4 / 3 if again else 1.0
        activations = Line(parameters, HALF * kept_bytes(network, forward))
        needs[again] = Need(activations, Line(LAUNCHES * slower, slower))
    return needs


def kept_bytes(network: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward one, each storage once, parameters left out."""
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)


def sampling_rows(params: Params, workspace: Workspace) -> Iterator[tuple[str, str, trials.Trial]]:
    """One guided pass over a whole batch of windows, and one chunk decoded, of every experiment; measured."""
    from lvdm.making import DECODED_AT_ONCE

    seen = set()
    for name in params.experiments:
        experiment, latent = params.experiment(name), latent_shape(params, name)
        network = params.autoencoder(experiment.autoencoder).network
        key = (experiment.train_denoiser.network, experiment.sample.batch_size, network, latent)
        if key in seen:
            continue
        seen.add(key)
        machine, device = workspace.machine, workspace.machine.device
        passes, train = 2 if experiment.sample.guidance else 1, experiment.train_denoiser
        denoiser = ready(Denoiser(train.network, latent[0], work.vocabulary(train.network, workspace)), machine, device)
        batch = passes * experiment.sample.batch_size
        run = work.denoising(denoiser, train, latent, batch, workspace)
        yield name, f"a pass over {batch} windows", trials.call(run, device)
        autoencoder = ready(build_autoencoder(network), machine, device)
        chunk = work.decoding(autoencoder, latent, DECODED_AT_ONCE, workspace)
        yield name, f"decoding {DECODED_AT_ONCE * network.time_factor} frames", trials.call(chunk, device)


def memories(found: Sequence[Trained], gigabytes: Sequence[int]) -> list[str]:
    """In Markdown: the fastest setting of every training on GPUs of these sizes."""
    lines = [f"| | {' | '.join(f'{size} GB' for size in gigabytes)} |", "|---" * (len(gigabytes) + 1) + "|"]
    for one in found:
        examples = one.training.batch_size * one.training.accumulate
        cells = [suggested(one.needs, examples, size * 1e9) for size in gigabytes]
        said = " | ".join("does not fit" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {one.stage} {one.name} | {said} |")
    return lines
