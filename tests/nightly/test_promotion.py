"""An experiment is promoted only through every gate, and the file says who, what and why."""

from __future__ import annotations

import datetime
import json
import os

import pytest

from lvdm.errors import ArtefactError, ParamsError
from lvdm.nightly.history import Entry, append, history_of
from lvdm.nightly.promotion import PromotionRefused, promote, promoted, promotion_of
from lvdm.params import Params
from lvdm.report import Check, Report
from lvdm.workspace import Workspace, atomic_file
from tests.comparison.conftest import VALUES, result

DATE = datetime.date(2026, 1, 2)


def promote_perturbed(params: Params, workspace: Workspace, why: str = "sharper") -> dict:
    path = promote("perturbed", params, workspace, why=why, by="Ada", date=DATE)
    return json.loads(path.read_text())


def test_the_file_says_who_what_and_why(workspace: Workspace, params: Params) -> None:
    assert promoted(workspace) == []
    said = promote_perturbed(params, workspace)
    assert (said["by"], said["why"], said["date"], said["commit"]) == ("Ada", "sharper", "2026-01-02", "abc123")
    assert said["metrics"]["fd_tn2"] == {"value": 2.0, "interval": [1.8, 2.2]}
    assert said["gates"] == ["lineage", "artefacts", "parameters", "checks", "night"]
    assert {"artifacts/denoiser/perturbed", "artifacts/manifest.parquet", "metrics/perturbed.json"} <= set(
        said["files"]
    )
    assert promoted(workspace) == ["perturbed"]


def test_what_a_killed_promotion_left_promotes_nothing(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_file(promotion_of("perturbed", workspace)) as beside:
        beside.write_text("{")
        assert promoted(workspace) == []
        raise KeyboardInterrupt


def test_every_gate_that_is_not_passed_is_named_and_nothing_is_written(workspace: Workspace, params: Params) -> None:
    evaluated = workspace.report("evaluate", "perturbed") / "provenance.json"
    provenance = evaluated.read_text()
    Report("evaluate", "perturbed", {}, checks=(Check("drift", False, True, "it drifts", 1, ()),)).write(workspace)
    evaluated.write_text(provenance)
    night = Entry("2026-01-01", "w", 1, "abc", {}, {}, reasons=("fd_tn2 left its interval: 9 tonight",))
    append(history_of("perturbed", workspace), night)
    now = params.model_copy(update={"clips": params.clips.model_copy(update={"stride": 2})})
    with pytest.raises(PromotionRefused) as refused:
        promote_perturbed(now, workspace)
    for reason in (
        "parameters: params.yaml has changed since",
        "checks: evaluate perturbed: drift failed: it drifts",
        "night: 2026-01-01: fd_tn2 left its interval: 9 tonight",
    ):
        assert reason in str(refused.value)
    assert promoted(workspace) == []


def test_numbers_changed_by_hand_are_not_promoted(workspace: Workspace, params: Params) -> None:
    result(VALUES["perturbed"] | {"fd_tn2": 0.1}).write(workspace.metrics("perturbed"))
    with pytest.raises(PromotionRefused, match="lineage: the chain from its numbers to the raw data is broken"):
        promote_perturbed(params, workspace)


def test_bytes_that_are_not_those_that_were_measured_are_not_promoted(workspace: Workspace, params: Params) -> None:
    """The records still agree with each other; only the files tell."""
    workspace.denoiser("perturbed").write_text("weights by hand")
    workspace.latents("small").unlink()
    with pytest.raises(PromotionRefused) as refused:
        promote_perturbed(params, workspace)
    assert "artefacts: artifacts/denoiser/perturbed is not what was measured; `dvc checkout`" in str(refused.value)
    assert "artifacts/latents/small is not there" in str(refused.value)
    assert "lineage" not in str(refused.value)
    assert promoted(workspace) == []


def test_where_nobody_knows_who_promotes_a_line_says_how_to_say_it(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as a number without an account."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    with pytest.raises(PromotionRefused, match="knows who you are; say it with --by"):
        promote("perturbed", params, workspace, why="sharper", by="", date=DATE)
    assert promoted(workspace) == []


def test_what_is_not_there_or_has_no_reason_is_one_line(workspace: Workspace, params: Params) -> None:
    with pytest.raises(PromotionRefused, match="expected a reason; say it with --why"):
        promote_perturbed(params, workspace, why=" ")
    with pytest.raises(ParamsError, match="expected one of perturbed, unperturbed, got 'nobody'"):
        promote("nobody", params, workspace, why="x", by="", date=DATE)
    workspace.metrics("perturbed").unlink()
    with pytest.raises(ArtefactError, match="run `lvdm evaluate perturbed` first"):
        promote_perturbed(params, workspace)
