"""`python -m pipelines.everything`: brings every stage of every experiment up to date, through Dagster and DVC.

The same as the job `everything`, for a terminal: `make demo` is this.
"""

import argparse
import os
import sys
import time

import dagster as dg

from lvdm.errors import LvdmError
from lvdm.workspace import Workspace


def main() -> int:
    """Runs the legs in order; returns 0, or 1 at the first that failed, or if params.yaml or machine.yaml is wrong."""
    argparse.ArgumentParser("python -m pipelines.everything", description=__doc__).parse_args()
    try:  # the definitions read both when they are imported
        from assets.catalog import ROOT
        from pipelines.definitions import run_leg
        from pipelines.jobs import legs
    except LvdmError as error:
        print(f"lvdm: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("DAGSTER_HOME", str(ROOT))
    row, start = list(legs()), time.monotonic()
    with dg.DagsterInstance.get() as instance:
        for number, leg in enumerate(row, 1):
            print(f"[{number}/{len(row)}] {leg} ({time.monotonic() - start:.0f} s so far)", flush=True)
            result = run_leg(leg, instance, echo=True)
            if not result.success:
                print(f"failed: {leg}: {_reason(result)}", file=sys.stderr)
                return 1
    print(f"everything is up to date after {time.monotonic() - start:.0f} s")
    print(_where(Workspace.at(ROOT)))
    return 0


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """The first failed step's own words."""
    failed = [event for event in result.all_events if event.is_step_failure]
    return failed[0].step_failure_data.error_display_string.strip() if failed else "see the run in the UI"


def _where(workspace: Workspace) -> str:
    """Where what was made lies, and how to look at it."""
    places = {
        "videos": workspace.samples("<experiment>"),
        "report": workspace.leaderboard / "index.html",
        "metrics": workspace.metrics("<experiment>"),
        "data report": workspace.data_report / "index.html",
    }
    lines = [f"  {title:<12}{os.path.relpath(path)}" for title, path in places.items()]
    return "\n".join([*lines, f"  {'the UI':<12}make ui, then open http://127.0.0.1:3000"])


if __name__ == "__main__":
    sys.exit(main())
