"""The group `evaluation`: the metrics of each experiment, and the leaderboard over all of them.

Over time Dagster plots what was measured when, over partitions the highest value that a number ever had: there look at
`score ...`, of which higher is better for every metric.
"""

import dagster as dg

from assets.catalog import made_by
from assets.materialization import Results, materialise
from assets.numbers import leaderboard_table, scores
from assets.runner import StageRunner
from lvdm.evaluation.gate import DRIFT


@dg.asset(
    **made_by("evaluate"),
    group_name="evaluation",
    kinds={"pytorch", "dvc"},
    deps=["samples", "validated", "manifest"],
    check_specs=[
        dg.AssetCheckSpec(name=DRIFT, asset="metrics", description="long videos drift no further than allowed")
    ],
    pool="gpu",
)
def metrics(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "evaluate", beside=scores)


@dg.asset(
    **made_by("compare"),
    group_name="evaluation",
    kinds={"python", "dvc"},
    deps=["manifest", "validated", "autoencoder", "latents", "denoiser", "samples", "metrics"],
)
def leaderboard(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "compare", beside=leaderboard_table)
