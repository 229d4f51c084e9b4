"""The group `autoencoder`: the video autoencoders and their latent caches, a partition an entry of `autoencoders:`."""

import dagster as dg

from assets.catalog import made_by
from assets.materialization import Results, materialise
from assets.runner import StageRunner


@dg.asset(
    **made_by("train_autoencoder"),
    group_name="autoencoder",
    kinds={"pytorch", "dvc"},
    deps=["validated", "manifest"],
    pool="gpu",
)
def autoencoder(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "train_autoencoder")


@dg.asset(
    **made_by("encode_latents"),
    group_name="autoencoder",
    kinds={"pytorch", "dvc"},
    deps=["autoencoder", "validated", "manifest"],
    pool="gpu",
)
def latents(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    yield from materialise(context, runner, "encode_latents")
