"""The group `evaluation`: the metrics of each experiment, and the leaderboard over all of them."""

import dagster as dg

from assets.catalog import made_by
from assets.materialization import Results, materialise
from assets.numbers import answers, measurements
from assets.runner import StageRunner
from lvdm.evaluation.gate import DRIFT


@dg.asset(
    **made_by(
        "evaluate",
        "In the plots over partitions read `score of ...`: of each partition Dagster shows the highest value that ever "
        "was, and of a score higher is better for every metric.",
    ),
    group_name="evaluation",
    kinds={"pytorch", "dvc"},
    deps=["samples", "validated", "manifest"],
    check_specs=[
        dg.AssetCheckSpec(name=DRIFT, asset="metrics", description="long videos drift no further than allowed")
    ],
    pool="gpu",
)
def metrics(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "evaluate", beside=measurements)


@dg.asset(
    **made_by("compare", "Which experiment is best, by how much, on which data, made by which commit: see `answers`."),
    group_name="evaluation",
    kinds={"python", "dvc"},
    deps=["manifest", "validated", "autoencoder", "latents", "denoiser", "samples", "metrics"],
)
def leaderboard(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "compare", beside=answers)
