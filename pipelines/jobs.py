"""The jobs: everything brought up to date in one action, and what the night measures.

A Dagster run covers one partition of one partitions definition, so "everything" is a row of runs: the data, each
autoencoder, each experiment, the leaderboard. Each stage decides through DVC whether there is anything to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from assets.catalog import AUTOENCODERS, EXPERIMENTS


@dataclass(frozen=True)
class Leg:
    """One run of the row."""

    assets: tuple[str, ...]
    partition: str | None = None


def legs() -> Iterator[Leg]:
    """The runs that bring every stage of every entry up to date, in order."""
    yield Leg(("manifest", "validated"))
    for name in AUTOENCODERS.get_partition_keys():
        yield Leg(("autoencoder", "latents"), name)
    for name in EXPERIMENTS.get_partition_keys():
        yield Leg(("denoiser", "samples", "metrics"), name)
    yield Leg(("leaderboard",))


@dg.op(
    description="Materializes every asset of every entry, one run a partition; what did not change is skipped by DVC.",
)
def bring_everything_up_to_date(context: dg.OpExecutionContext) -> None:
    from pipelines.definitions import materialize_leg

    for leg in legs():
        context.log.info(f"{', '.join(leg.assets)}{f' of {leg.partition}' if leg.partition else ''}")
        if not materialize_leg(leg, context.instance).success:
            raise dg.Failure(f"{', '.join(leg.assets)} failed: see that run", allow_retries=False)


@dg.job(
    description="One action that brings every stage of every experiment up to date.",
    executor_def=dg.in_process_executor,
)
def everything() -> None:
    bring_everything_up_to_date()


nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.assets("samples", "metrics", "leaderboard"),
    description="Samples and evaluates one experiment, then refreshes the leaderboard.",
    tags={"dagster/max_runtime": str(6 * 3600)},
)
