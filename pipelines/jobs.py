"""The jobs: everything brought up to date in one action, its parts, and the night.

A Dagster run covers one partition of one partitions definition, so "everything" is a row of runs: the data, each
autoencoder, each experiment, the leaderboard. Each stage decides through DVC whether there is anything to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from assets.catalog import AUTOENCODERS, EXPERIMENTS, PARAMS
from assets.nightly import promote_experiment

prepare_data = dg.define_asset_job(
    "prepare_data",
    selection=dg.AssetSelection.assets("manifest", "validated"),
    description="Ingests and validates the videos.",
)
build_autoencoder = dg.define_asset_job(
    "build_autoencoder",
    selection=dg.AssetSelection.assets("autoencoder", "latents"),
    description="Trains one autoencoder and encodes every video with it.",
)
run_experiment = dg.define_asset_job(
    "run_experiment",
    selection=dg.AssetSelection.assets("denoiser", "samples", "metrics"),
    description="Trains, samples and evaluates one experiment.",
)
refresh_leaderboard = dg.define_asset_job(
    "refresh_leaderboard",
    selection=dg.AssetSelection.assets("leaderboard"),
    description="Ranks all experiments that have metrics.",
)
evaluate_experiment = dg.define_asset_job(
    "evaluate_experiment",
    selection=dg.AssetSelection.assets("samples", "metrics"),
    description="Samples and evaluates one experiment with the denoiser that it has.",
)
nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.assets("night"),
    description="Measures what is promoted or changed with fresh seeds, and holds it against its history.",
    tags={
        "dagster/max_runtime": str(round(PARAMS.night.max_hours * 3600)),
        "dagster/max_retries": "0",  # or what was ended for its time would have it once more; the next night goes on
    },
)


@dg.job(
    partitions_def=EXPERIMENTS,
    executor_def=dg.in_process_executor,
    description="Promotes one experiment, if it passes the gates: choose it as partition, say why in the launchpad.",
)
def promote() -> None:
    promote_experiment()


@dataclass(frozen=True)
class Leg:
    """One run of the row."""

    job: str
    partition: str | None = None

    def __str__(self) -> str:
        return f"{self.job} {self.partition or ''}".strip()


def legs() -> Iterator[Leg]:
    """The runs that bring every stage of every entry up to date, in order."""
    yield Leg(prepare_data.name)
    for name in AUTOENCODERS.get_partition_keys():
        yield Leg(build_autoencoder.name, name)
    for name in EXPERIMENTS.get_partition_keys():
        yield Leg(run_experiment.name, name)
    yield Leg(refresh_leaderboard.name)


@dg.op(description="Runs the jobs for every entry, in order, up to the first that fails.")
def bring_everything_up_to_date(context: dg.OpExecutionContext) -> None:
    for leg in legs():
        _run(leg, context)


def _run(leg: Leg, context: dg.OpExecutionContext) -> None:
    from pipelines.definitions import run_leg  # the definitions hold these jobs, so they load them first

    context.log.info(str(leg))
    result = run_leg(leg, context.instance)
    if not result.success:
        raise dg.Failure(f"{leg} failed: see run {result.run_id}", allow_retries=False)


@dg.job(
    description="One action that brings every stage of every experiment up to date.",
    executor_def=dg.in_process_executor,
)
def everything() -> None:
    bring_everything_up_to_date()
