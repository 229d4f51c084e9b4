"""The Dagster definitions: `dagster dev` in the project's folder opens them.

Loading this module imports neither torch nor great_expectations; the stages do, in processes of their own.
"""

import dagster as dg

from assets.autoencoder import autoencoder, latents
from assets.catalog import ROOT
from assets.data import manifest, validated
from assets.diffusion import denoiser, samples
from assets.evaluation import leaderboard, metrics
from pipelines.jobs import Leg, everything, nightly
from pipelines.resources import DvcRunner
from pipelines.schedules import every_night

ASSETS = [manifest, validated, autoencoder, latents, denoiser, samples, metrics, leaderboard]

defs = dg.Definitions(
    assets=ASSETS,
    resources={"runner": DvcRunner(root=str(ROOT))},
    jobs=[everything, nightly],
    schedules=[every_night],
)


def materialize_leg(leg: Leg, instance: dg.DagsterInstance, *, echo: bool = False) -> dg.ExecuteInProcessResult:
    """Materializes the assets of one leg as one run that `instance` remembers; `echo` tells a terminal how it goes."""
    return dg.materialize(
        ASSETS,
        selection=dg.AssetSelection.assets(*leg.assets),
        partition_key=leg.partition,
        instance=instance,
        resources={"runner": DvcRunner(root=str(ROOT), echo=echo)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}} if echo else None,
        raise_on_error=False,
    )
