"""The folder that people look at: one page without a network, and the same in other forms."""

from __future__ import annotations

import csv
import html.parser
import json

import pytest

from lvdm.comparison.leaderboard import write_leaderboard
from lvdm.comparison.page import judge
from lvdm.comparison.ranking import rank_experiments
from lvdm.params import Params
from lvdm.workspace import Workspace
from tests.comparison.conftest import VALUES, result


class Links(html.parser.HTMLParser):
    """Every address that a page would load, and its open elements."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for key, value in attrs if key in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_from_elsewhere_and_shows_everything(workspace: Workspace, params: Params) -> None:
    write_leaderboard(params, workspace)
    page = (workspace.leaderboard / "index.html").read_text()
    links = Links()
    links.feed(page)
    assert links.open == []
    assert all(address.startswith(("data:", "#")) for address in links.addresses)
    assert sum(address.startswith("data:video/mp4") for address in links.addresses) == 4
    assert sum(address.startswith("data:image/png") for address in links.addresses) == 2
    for text in (
        "perturbed",
        "real against real",
        "lvdm weights --install i3d=PATH",
        "max_level",
        "drift &lt;&amp;&gt;",
    ):
        assert text in page
    assert "Every hash leads back to the raw data." in page


def test_a_broken_chain_is_shown_and_not_hidden(workspace: Workspace, params: Params) -> None:
    result(VALUES["perturbed"] | {"fd_tn2": 0.1}).write(workspace.metrics("perturbed"))
    write_leaderboard(params, workspace)
    page = (workspace.leaderboard / "index.html").read_text()
    assert "The chain is broken" in page
    assert "evaluate perturbed has made other bytes here since" in page
    assert "BROKEN" in (workspace.leaderboard / "leaderboard.md").read_text()


def test_a_video_too_large_for_a_page_is_named(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvdm.comparison.page.MAX_VIDEO_BYTES", 10)
    write_leaderboard(params, workspace)
    page = (workspace.leaderboard / "index.html").read_text()
    assert "data:video" not in page
    assert "artifacts/samples/perturbed/long/0000.mp4 is too large" in page


def test_all_forms_hold_the_same_numbers(workspace: Workspace, params: Params) -> None:
    write_leaderboard(params, workspace)
    document = json.loads((workspace.leaderboard / "leaderboard.json").read_text())
    rows = list(csv.DictReader((workspace.leaderboard / "leaderboard.csv").read_text().splitlines()))
    markdown = (workspace.leaderboard / "leaderboard.md").read_text()
    for row in document["groups"][0]["rows"]:
        for key, score in row["scores"].items():
            assert score["value"] == VALUES[row["experiment"]][key]
            (line,) = [r for r in rows if (r["experiment"], r["metric"]) == (row["experiment"], key)]
            assert float(line["value"]) == score["value"]
    assert "| perturbed | **2** | 0.3 | **0.2** |" in markdown
    assert document["lineage"]["perturbed"]["path"] == "metrics/perturbed.json"


def test_writing_twice_gives_the_same_bytes(workspace: Workspace, params: Params) -> None:
    written = []
    for _ in range(2):
        write_leaderboard(params, workspace)
        written.append({path.name: path.read_bytes() for path in workspace.leaderboard.iterdir()})
    assert written[0] == written[1]


def test_the_verdict_says_by_how_much_and_where_to_be_careful(workspace: Workspace, params: Params) -> None:
    (group,) = rank_experiments(workspace, params).groups
    verdict = judge(group)
    assert (verdict.best, verdict.statement) == (
        "perturbed",
        "fd_tn2 2 against 3.5 of unperturbed, 1.5 lower; real against real: 0.5",
    )
    assert verdict.caution == "kd_efflite0 puts another one first"
    result(VALUES["unperturbed"] | {"fd_tn2": 2.2}).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    assert "smaller than the distance between two sets of real clips" in judge(group).caution
