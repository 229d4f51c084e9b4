"""What `lvdm plan` says, over what is found: within 15 % is the goal.

    python -m benchmarks.plan                # the preset `reference` on a GPU
    python -m benchmarks.plan --size tiny    # on a CPU

Memory: of training, counted without a GPU, over what a step takes; as set and at half of the batch, in bfloat16,
nothing compiled. On a CPU what torch allocates is measured by its profiler. Time: of a training, told by its first
steps, over later ones; of sampling, told by single passes, over the making of videos. All without the optional terms
of the autoencoder's loss. Not here: the counting and the measuring, which are `lvdm plan`'s own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import untrained
from benchmarks.sampling import Maker
from lvdm.machine import Machine
from lvdm.params import Params, parse_params
from lvdm.planning import counting, plan, trials, work
from lvdm.planning.needs import GIB, Need
from lvdm.planning.trials import now
from lvdm.training.task import Batch, Task
from lvdm.workspace import Workspace

BEFORE, LATER = 20, 50  # steps
SAMPLE = {"steps": 20, "num_clips": 32, "num_long_videos": 1, "long_frames": 256}
PARTS = ("memory", "steps", "sampling")
TINY_SAMPLE = SAMPLE | {"steps": 2, "num_clips": 2, "long_frames": 64}


@dataclass(frozen=True)
class Said:
    """What the plan says of some work, and what is found: in GiB or in seconds."""

    work: str
    said: float
    found: float


def asked(params: Params, sample: dict[str, int]) -> Params:
    """The same without the optional terms of the autoencoder's loss, and with less to sample."""
    document = params.model_dump(mode="json", by_alias=True)
    document["train_autoencoder"]["objective"] |= {"perceptual": None, "adversarial": None, "equivariance": None}
    document["sample"] |= sample
    document["evaluate"] |= {"num_clips": sample["num_clips"]}
    return parse_params(document)


def memory_rows(params: Params, workspace: Workspace) -> Iterator[Said]:
    """Of a step of each training, without recomputing and with, at each batch size."""
    autoencoder, experiment = _names(params)
    settings, train = params.autoencoder(autoencoder), params.experiment(experiment).train_denoiser
    latent = plan.latent_shape(params, experiment)

    def rows(what: str, batch_size: int, counted: dict[bool, Need], measured: dict[bool, Need]) -> Iterator[Said]:
        for again in (False, True):
            for size in (batch_size, max(1, batch_size // 2)):
                said, found = (need[again].bytes.at(size) / GIB for need in (counted, measured))
                yield Said(f"{what}, {size}{', recomputed' if again else ''}", said, found)

    yield from rows(
        "autoencoder",
        settings.training.batch_size,
        counting.counted_autoencoder(settings, params),
        plan.autoencoder_needs(settings, params, workspace),
    )
    yield from rows(
        "denoiser",
        train.training.batch_size,
        counting.counted_denoiser(train, latent, workspace),
        plan.denoiser_needs(train, latent, workspace),
    )


def step_rows(params: Params, workspace: Workspace) -> Iterator[Said]:
    """The time of a step of each training."""
    autoencoder, experiment = _names(params)
    settings, train = params.autoencoder(autoencoder), params.experiment(experiment).train_denoiser
    clips, windows = settings.training.batch_size, train.training.batch_size
    of_autoencoder = partial(work.autoencoder_task, settings, workspace, clips)
    yield _steps(f"autoencoder, a step of {clips}", of_autoencoder, work.clip_of(params.clips), workspace.machine)
    latent = plan.latent_shape(params, experiment)
    of_denoiser = partial(work.denoiser_task, train, latent, workspace, windows)
    yield _steps(f"denoiser, a step of {windows}", of_denoiser, work.windows(train, latent), workspace.machine)


def _steps(what: str, build: Callable[[], Task], example: Batch, machine: Machine) -> Said:
    said = trials.train(build, work.Repeated(example), machine).seconds
    return Said(what, said, trials.seconds_a_step(build(), work.Repeated(example), machine, BEFORE, LATER))


def sampling_rows(params: Params, workspace: Workspace) -> Iterator[Said]:
    """The time of all that an experiment samples, when all is compiled, which a single step of each window sees to."""
    _, name = _names(params)
    said = plan.sampled(params, workspace, name)
    maker, requests = Maker(params, workspace.machine, plain=False), plan.requests_of(params, name)
    experiment = params.experiment(name)
    train, sample = experiment.train_denoiser, experiment.sample
    maker.videos(train, sample.model_copy(update={"steps": 1}), requests)
    start = now(workspace.machine.device)
    maker.videos(train, sample, requests)
    yield Said(f"sampling of {said.what}", said.seconds, now(workspace.machine.device) - start)


def _names(params: Params) -> tuple[str, str]:
    """The first autoencoder and the first experiment."""
    return next(iter(params.autoencoders)), next(iter(params.experiments))


def printed(unit: str, rows: Iterable[Said]) -> list[float]:
    """Each row as it comes; returns what was said over what was found."""
    ratios = list[float]()
    print(f"| {unit} | said | found | said / found |", "|---" * 4 + "|", sep="\n", flush=True)
    for row in rows:
        ratios.append(row.said / row.found)
        print(f"| {row.work} | {row.said:.3g} | {row.found:.3g} | {ratios[-1]:.2f} |", flush=True)
    return ratios


def main(arguments: list[str] | None = None) -> list[float]:
    """Prints both tables; returns what was said over what was found, row for row."""
    options = untrained.parser(__doc__)
    options.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    args = options.parse_args(arguments)
    params, ratios = asked(untrained.params_of(args), TINY_SAMPLE if args.size == "tiny" else SAMPLE), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        if "memory" in args.part:
            eager = Workspace(Path(folder), Machine(precision="bf16-mixed"))
            ratios += printed("GiB", memory_rows(params, eager))
        as_run = Workspace(Path(folder), untrained.machine_of(args, devices=1))
        if "steps" in args.part:
            ratios += printed("seconds", step_rows(params, as_run))
        if "sampling" in args.part:
            ratios += printed("seconds", sampling_rows(params, as_run))
    return ratios


if __name__ == "__main__":
    main()
