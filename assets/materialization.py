"""A stage's report as Dagster shows it: plottable numbers, pictures, links, versions and checks."""

import base64
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg

from assets.catalog import PAGES, SERVED
from assets.runner import StageFailed, StageRun, StageRunner
from lvdm.report import Report

Results = Iterator[dg.AssetCheckResult | dg.MaterializeResult]
Metadata = Mapping[str, dg.MetadataValue]


def materialise(
    context: dg.AssetExecutionContext,
    runner: StageRunner,
    stage: str,
    beside: Callable[[StageRun], Metadata] = lambda run: {},
) -> Results:
    """Runs the stage for the partition at hand and yields its checks and its materialization.

    What is shown is what `beside` makes of the run, and below it what every stage has.

    Raises:
        dagster.Failure: the stage failed; the message is its own line of what to mend.
    """
    name = context.partition_key if context.has_partition_key and context.assets_def.partitions_def else ""
    try:
        run = runner.run(stage, name, context.log.info)
    except StageFailed as failure:
        if failure.report:
            yield from check_results(failure.report)
        raise dg.Failure(description=str(failure), allow_retries=False) from failure
    yield dg.MaterializeResult(
        metadata={**beside(run), **metadata(run)},
        data_version=dg.DataVersion("+".join(run.outputs.values())),
        check_results=list(check_results(run.report)),
    )


def metadata(run: StageRun) -> dict[str, dg.MetadataValue]:
    """Links, pictures, numbers by their own keys (Dagster plots these), and the hashes of the outputs."""
    report = run.report
    values: dict[str, dg.MetadataValue] = {title: link(path) for title, path in report.links.items()}
    values |= {title: dg.MetadataValue.md(inline_picture(path)) for title, path in report.pictures.items()}
    if report.summary:
        values["summary"] = dg.MetadataValue.md(report.summary)
    values |= {key: dg.MetadataValue.float(value) for key, value in report.metrics.items()}
    if report.cost:
        seconds = {"wall seconds": report.cost.wall_seconds, "GPU seconds": report.cost.gpu_seconds}
        values |= {title: dg.MetadataValue.float(value) for title, value in seconds.items()}
    values["hashes"] = dg.MetadataValue.json(run.outputs)
    values["skipped, nothing changed"] = dg.MetadataValue.bool(run.skipped)
    return values


def link(path: Path) -> dg.MetadataValue:
    """What a browser opens where it can (see pipelines/ui.py), else the path to copy."""
    if path.suffix and path.is_relative_to(SERVED):
        return dg.MetadataValue.url(f"{PAGES}/{path.relative_to(SERVED).as_posix()}")
    return dg.MetadataValue.path(path)


def inline_picture(path: Path) -> str:
    """Markdown that shows a PNG or GIF without a server."""
    kind = path.suffix.removeprefix(".")
    return f"![{path.stem}](data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()})"


def check_results(report: Report) -> Iterator[dg.AssetCheckResult]:
    """The gates of data and results as asset checks; Dagster shows the latest of any partition, so they say whose."""
    whose = f"{report.name}: " if report.name else ""
    for check in report.checks:
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.critical else dg.AssetCheckSeverity.WARN,
            description=f"{whose}{check.description}",
            metadata={"unexpected": check.unexpected, "examples": dg.MetadataValue.json(list(check.examples))},
        )
