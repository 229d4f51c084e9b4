"""The group `trust`: what the night measured, with a check an experiment, and which experiments are promoted, and why.

The night is an asset of its own, so that its numbers over time are of fresh seeds alone.
"""

import datetime
import json

import dagster as dg

from assets.catalog import EXPERIMENTS, PARAMS
from assets.materialization import Results
from assets.runner import StageFailed, StageRunner
from lvdm.nightly.night import NightFailed, check_none_failed


def check_of(experiment: str) -> str:
    """The name of the check of an experiment: an identifier, another one for each (lvdm.params sees to that)."""
    return f"{experiment.replace('-', '_')}_in_its_interval"


@dg.asset(
    description="`lvdm night`: promoted and changed experiments sampled with a fresh seed, held against their history.",
    group_name="trust",
    kinds={"pytorch"},
    deps=["denoiser", "autoencoder", "validated"],
    check_specs=[
        dg.AssetCheckSpec(
            check_of(name),
            asset="night",
            description=f"no metric of {name} is worse than in the nights before by more than the intervals allow",
        )
        for name in EXPERIMENTS.get_partition_keys()
    ],
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron=f"0 {(PARAMS.night.hour + 7) % 24} * * *",
        lower_bound_delta=datetime.timedelta(hours=8),
        timezone="UTC",
    ),
    pool="gpu",
)
def night(context: dg.AssetExecutionContext, runner: dg.ResourceParam[StageRunner]) -> Results:
    try:
        outcomes = runner.night(context.log.info)
    except StageFailed as failure:
        raise dg.Failure(description=str(failure), allow_retries=False) from failure
    by_name = {outcome.experiment: outcome for outcome in outcomes}
    for name in EXPERIMENTS.get_partition_keys():
        outcome = by_name.get(name)
        said = outcome.line() if outcome else "not in params.yaml any more: reload the definitions"
        yield dg.AssetCheckResult(check_name=check_of(name), passed=bool(outcome and outcome.passed), description=said)
    numbers = {f"{o.experiment} {key}": value for o in outcomes for key, value in (o.metrics or {}).items()}
    yield dg.MaterializeResult(
        metadata={"what was done": dg.MetadataValue.md("\n".join(f"- {outcome.line()}" for outcome in outcomes))}
        | {"measured": dg.MetadataValue.int(sum(outcome.did == "measured" for outcome in outcomes))}
        | {key: dg.MetadataValue.float(value) for key, value in numbers.items()}
    )
    try:
        check_none_failed(outcomes)
    except NightFailed as failure:
        raise dg.Failure(description=str(failure), allow_retries=False) from failure


promotion = dg.AssetSpec(
    "promotion",
    description="Which experiments are trusted, by whom and why. The job `promote` promotes one; commit its file.",
    group_name="trust",
    kinds={"git"},
    partitions_def=EXPERIMENTS,
)  # made by no run of assets: whoever materializes all of them promotes nothing


class Reason(dg.Config):
    """Who promotes, and why: given in the launchpad."""

    why: str
    by: str = ""


@dg.op(description="`lvdm promote`: an experiment that passes the gates is trusted from now on.")
def promote_experiment(context: dg.OpExecutionContext, config: Reason, runner: dg.ResourceParam[StageRunner]) -> None:
    try:
        path = runner.promote(context.partition_key, config.why, config.by)
    except StageFailed as failure:
        raise dg.Failure(description=str(failure), allow_retries=False) from failure
    said = json.loads(path.read_text())
    context.log_event(
        dg.AssetMaterialization(
            promotion.key,
            partition=context.partition_key,
            metadata={key: dg.MetadataValue.text(said[key]) for key in ("why", "by", "date", "commit")}
            | {"file": dg.MetadataValue.path(path), "evidence": dg.MetadataValue.json(said)},
        )
    )
