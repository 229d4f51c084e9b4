"""The job of promotion: its asset says who, what and why; a gate that is not passed stops the run in words."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import dagster as dg
import pytest

from assets.nightly import Reason, promotion
from lvdm.nightly.promotion import promotion_of
from lvdm.workspace import Workspace
from pipelines.jobs import promote
from pipelines.resources import DvcRunner
from tests.comparison import conftest as comparison

measured_once, params, workspace = comparison.measured_once, comparison.params, comparison.workspace
ROOT = Path(__file__).parents[2]


def materialize(workspace: Workspace, why: str) -> dg.ExecuteInProcessResult:
    shutil.copyfile(ROOT / "params.yaml", workspace.root / "params.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        return promote.execute_in_process(
            instance=instance,
            partition_key="perturbed",
            resources={"runner": DvcRunner(root=str(workspace.root))},
            run_config=dg.RunConfig(ops={"promote_experiment": Reason(why=why, by="Ada")}),
            raise_on_error=False,
        )


def test_what_passes_the_gates_is_promoted_and_the_asset_says_by_whom_and_why(workspace: Workspace) -> None:
    result = materialize(workspace, "sharper")
    assert result.success
    (event,) = result.asset_materializations_for_node("promote_experiment")
    assert (event.asset_key, event.partition) == (promotion.key, "perturbed")
    said = json.loads(promotion_of("perturbed", workspace).read_text())
    assert (said["by"], said["why"], said["commit"]) == ("Ada", "sharper", "abc123")
    for key in ("by", "why", "date", "commit"):
        assert event.metadata[key].value == said[key]
    assert event.metadata["evidence"].value == said
    assert Path(event.metadata["file"].value) == promotion_of("perturbed", workspace)


@pytest.mark.parametrize(("why", "reason"), [("", "say it with --why"), ("sharper", "the chain .* is broken")])
def test_what_does_not_is_not_and_the_run_says_why(workspace: Workspace, why: str, reason: str) -> None:
    comparison.result(comparison.VALUES["unperturbed"]).write(workspace.metrics("perturbed"))  # by hand
    result = materialize(workspace, why)
    assert not result.success
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    assert re.search(reason, failed.step_failure_data.error_display_string)
    assert not promotion_of("perturbed", workspace).exists()
