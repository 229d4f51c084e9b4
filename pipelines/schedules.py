"""What runs by the clock: at night, every experiment is evaluated and the leaderboard refreshed."""

import dagster as dg

from assets.catalog import EXPERIMENTS
from pipelines.jobs import nightly

IN_PROGRESS = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dg.schedule(
    job=nightly,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Evaluates every experiment at 02:00 UTC; a night on which the last one still runs is skipped.",
)
def every_night(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | list[dg.RunRequest]:
    busy = context.instance.get_runs(dg.RunsFilter(job_name=nightly.name, statuses=IN_PROGRESS), limit=1)
    if busy:
        return dg.SkipReason(f"run {busy[0].run_id[:8]} of an earlier night is still in progress")
    night = f"{context.scheduled_execution_time:%Y-%m-%d}"
    return [dg.RunRequest(run_key=f"{night}-{name}", partition_key=name) for name in EXPERIMENTS.get_partition_keys()]
