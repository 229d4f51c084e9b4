"""The group `data`: what videos there are, and which of them may be used."""

import dagster as dg

from assets.catalog import made_by
from assets.materialization import materialise
from assets.runner import StageRunner


@dg.asset(**made_by("ingest"), group_name="data", kinds={"python", "dvc"})
def manifest(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]):
    yield from materialise(context, runner, "ingest")


@dg.asset(**made_by("validate"), group_name="data", kinds={"python", "dvc"}, deps=["manifest"])
def validated(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]):
    yield from materialise(context, runner, "validate")
