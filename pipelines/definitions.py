"""The Dagster definitions: `dagster dev` in the project's folder opens them.

Loading this module imports neither torch nor great_expectations; the stages do, in processes of their own.
"""

import dagster as dg

import assets.autoencoder
import assets.data
import assets.diffusion
import assets.evaluation
from assets.catalog import ROOT
from pipelines.jobs import Leg, everything, nightly
from pipelines.resources import DvcRunner
from pipelines.schedules import every_night

ASSETS = dg.load_assets_from_modules([assets.data, assets.autoencoder, assets.diffusion, assets.evaluation])
RESOURCES = {"runner": DvcRunner(root=str(ROOT))}

defs = dg.Definitions(
    assets=ASSETS,
    resources=RESOURCES,
    jobs=[everything, nightly],
    schedules=[every_night],
)


def materialize_leg(leg: Leg, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Materializes the assets of one leg as one run that `instance` remembers."""
    return dg.materialize(
        ASSETS,
        selection=dg.AssetSelection.assets(*leg.assets),
        partition_key=leg.partition,
        instance=instance,
        resources=RESOURCES,
        raise_on_error=False,
    )
