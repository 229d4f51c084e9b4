"""The group `diffusion`: the denoisers and what they make, a partition an entry of `experiments:`."""

import dagster as dg

from assets.catalog import made_by, of_autoencoder
from assets.materialization import Results, materialise
from assets.runner import StageRunner


@dg.asset(
    **made_by("train_denoiser"),
    group_name="diffusion",
    kinds={"pytorch", "dvc"},
    deps=[of_autoencoder("latents")],
    pool="gpu",
)
def denoiser(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "train_denoiser")


@dg.asset(
    **made_by("sample"),
    group_name="diffusion",
    kinds={"pytorch", "dvc"},
    deps=["denoiser", of_autoencoder("autoencoder")],
    pool="gpu",
)
def samples(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "sample")
