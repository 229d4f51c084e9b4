"""What runs by the clock: at night, what is promoted or changed is measured anew. Nothing is trained by the clock.

Runs that are in progress are not disturbed: dagster.yaml lets one run work at a time, so the night waits its turn.
"""

import dagster as dg

from assets.catalog import PARAMS
from pipelines.jobs import nightly
from pipelines.reaper import IN_PROGRESS

UNFINISHED = [dg.DagsterRunStatus.QUEUED, *IN_PROGRESS]


@dg.schedule(
    job=nightly,
    cron_schedule=f"0 {PARAMS.night.hour} * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The night begins at `night.hour` of params.yaml, UTC, unless the night before is still at work.",
)
def every_night(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | dg.RunRequest:
    busy = context.instance.get_runs(dg.RunsFilter(job_name=nightly.name, statuses=UNFINISHED), limit=1)
    if busy:
        return dg.SkipReason(f"run {busy[0].run_id[:8]} of an earlier night is still in progress")
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}")
