"""The Dagster definitions: `dagster dev` in the project's folder opens them.

Loading this module imports neither torch nor great_expectations; the stages do, in processes of their own.
"""

import dagster as dg

from assets.autoencoder import autoencoder, latents
from assets.catalog import ROOT
from assets.data import manifest, validated
from assets.diffusion import denoiser, samples
from assets.evaluation import leaderboard, metrics
from assets.nightly import night, promotion
from pipelines import jobs
from pipelines.reaper import reap, reap_dead_runs, reaping_executor
from pipelines.resources import DvcRunner
from pipelines.schedules import every_night

defs = dg.Definitions(
    assets=[manifest, validated, autoencoder, latents, denoiser, samples, metrics, leaderboard, night, promotion],
    resources={"runner": DvcRunner(root=str(ROOT))},
    jobs=[
        jobs.everything,
        jobs.prepare_data,
        jobs.build_autoencoder,
        jobs.run_experiment,
        jobs.evaluate_experiment,
        jobs.refresh_leaderboard,
        jobs.nightly,
        jobs.promote,
    ],
    schedules=[every_night],
    sensors=[reap_dead_runs],
    executor=reaping_executor,
)


def run_leg(leg: jobs.Leg, instance: dg.DagsterInstance, *, echo: bool = False) -> dg.ExecuteInProcessResult:
    """Runs one leg in this process, as a run that `instance` remembers; `echo` tells a terminal how it goes."""
    reap(instance)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return defs.resolve_job_def(leg.job).execute_in_process(
        instance=instance,
        partition_key=leg.partition,
        resources={"runner": DvcRunner(root=str(ROOT), echo=echo)},
        tags={"dagster/max_retries": "0"},  # whoever started the row starts it again
        run_config=quiet if echo else None,
        raise_on_error=False,
    )
