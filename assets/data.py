"""The group `data`: what videos there are, and which of them may be used.

The expectations of Great Expectations are checks of `validated`; a critical one that fails blocks what comes after.
"""

import dagster as dg

from assets.catalog import PARAMS, made_by
from assets.materialization import Results, materialise
from assets.runner import StageRunner
from lvdm.data.contract import Contract

EXPECTATIONS = [
    dg.AssetCheckSpec(
        name=expectation.name,
        asset="validated",
        description=f"{expectation.severity}: {expectation.description}",
        blocking=expectation.critical,
    )
    for expectation in Contract(PARAMS.validate_, PARAMS.clips).all()
]


@dg.asset(**made_by("ingest"), group_name="data", kinds={"python", "dvc"})
def manifest(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "ingest")


@dg.asset(
    **made_by("validate"), group_name="data", kinds={"python", "dvc"}, deps=["manifest"], check_specs=EXPECTATIONS
)
def validated(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "validate")
