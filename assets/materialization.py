"""A stage's report as Dagster shows it: plottable numbers, pictures, links, versions and checks."""

import base64
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg

from assets.runner import StageFailed, StageRun, StageRunner
from lvdm.workspace import Report

Results = Iterator[dg.AssetCheckResult | dg.MaterializeResult]
Metadata = Mapping[str, dg.MetadataValue]


def materialise(
    context: dg.AssetExecutionContext,
    runner: StageRunner,
    stage: str,
    beside: Callable[[StageRun], Metadata] = lambda run: {},
) -> Results:
    """Runs the stage for the partition at hand and yields its checks and its materialization.

    What is shown is what every stage has, and what `beside` makes of the run.

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
        metadata={**metadata(run), **beside(run)},
        data_version=dg.DataVersion("+".join(run.outputs.values())),
        check_results=list(check_results(run.report)),
    )


def metadata(run: StageRun) -> dict[str, dg.MetadataValue]:
    """Numbers by their own keys (Dagster plots these), pictures inline, links and the hashes of the outputs."""
    report = run.report
    values: dict[str, dg.MetadataValue] = {key: dg.MetadataValue.float(value) for key, value in report.metrics.items()}
    values |= {title: dg.MetadataValue.md(inline_picture(path)) for title, path in report.pictures.items()}
    if report.summary:
        values["summary"] = dg.MetadataValue.md(report.summary)
    if report.cost:
        seconds = {"wall seconds": report.cost.wall_seconds, "GPU seconds": report.cost.gpu_seconds}
        values |= {title: dg.MetadataValue.float(value) for title, value in seconds.items()}
    values |= {title: dg.MetadataValue.path(path) for title, path in report.links.items()}
    values |= {f"hash {path}": dg.MetadataValue.text(value) for path, value in run.outputs.items()}
    values["skipped, nothing changed"] = dg.MetadataValue.bool(run.skipped)
    return values


def inline_picture(path: Path) -> str:
    """Markdown that shows a PNG or GIF without a server."""
    kind = path.suffix.removeprefix(".")
    return f"![{path.stem}](data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()})"


def check_results(report: Report) -> Iterator[dg.AssetCheckResult]:
    """The gates of data and results as asset checks."""
    for check in report.checks:
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.critical else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata={"unexpected": check.unexpected, "examples": dg.MetadataValue.json(list(check.examples))},
        )
