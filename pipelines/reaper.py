"""Ends the runs whose process is gone, so that what was killed can be started again.

Dagster notices a step that dies, but not the death of a whole run (SIGKILL, power loss): that stays in progress for
ever and keeps its slot of the pool, for which the next run then waits. One host alone is looked after.
"""

import os
from collections.abc import Iterator

import dagster as dg
import psutil
from dagster import DagsterEventType

from lvdm.orphan import DIES_WITH

IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def reap(instance: dg.DagsterInstance) -> list[str]:
    """Reports dead runs as failed and frees their slots; returns their ids."""
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)) if _is_dead(run, instance)]
    for run in dead:
        instance.report_run_failed(run, "its process died without a word; start it again, it goes on where it was")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


@dg.executor(
    name="multiprocess",
    config_schema=dg.multiprocess_executor.get_config_field(),
    requirements=dg.multiple_process_executor_requirements(),
)
def reaping_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Each step in a process of its own, as Dagster has it, once dead runs have given up the slots they hold.

    Else a run in a terminal, beside which no sensor looks after anything, would wait for them for ever. Steps end with
    this process, which alone knows what becomes of them (`DvcRunner` sees to that).
    """
    reap(context.instance)
    os.environ[DIES_WITH] = str(os.getpid())
    create = dg.multiprocess_executor.executor_creation_fn
    assert create is not None
    return create(context)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, and frees their slots of the pool.",
)
def reap_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    reaped = reap(context.instance)
    return dg.SkipReason(f"ended {', '.join(run[:8] for run in reaped)}" if reaped else "no dead runs")


def _is_dead(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether processes of the run are on record and none of them lives."""
    processes = list(_processes(run, instance))
    return bool(processes) and not any(_lives(pid, seen) for pid, seen in processes)


def _processes(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Iterator[tuple[int, float]]:
    """The processes that said they work on the run, each with the time at which it was seen alive."""
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None:
            yield int(str(pid.value)), entry.timestamp


def _lives(pid: int, seen: float) -> bool:
    """A process that began later has only taken over the number."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= seen + 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
