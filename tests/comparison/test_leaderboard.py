"""The folder that people look at: one page without a network, and the same in other forms."""

from __future__ import annotations

import csv
import html.parser
import json
import re
from pathlib import Path

import pytest

from lvdm.comparison.charts import COLOURS, chart_drift
from lvdm.comparison.leaderboard import summary, write_leaderboard
from lvdm.comparison.ranking import rank_experiments
from lvdm.comparison.verdict import judge
from lvdm.params import Params
from lvdm.workspace import Workspace, write_json
from tests.comparison.conftest import FLOOR, VALUES, result


class Links(html.parser.HTMLParser):
    """Every address that a page would load, and its open elements."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for key, value in attrs if key in ("src", "href") and value]
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pages(folder: Path) -> list[Path]:
    return [folder / name for name in ("index.html", *(f"experiments/{n}.html" for n in VALUES))]


def test_the_pages_load_nothing_from_elsewhere_and_their_links_lead_somewhere(written: Path) -> None:
    for page in pages(written):
        links = Links()
        links.feed(page.read_text())
        assert links.open == []
        elsewhere = [address for address in links.addresses if not address.startswith(("data:", "#"))]
        assert elsewhere
        assert all((page.parent / address).is_file() for address in elsewhere)


def test_the_page_of_an_experiment_shows_samples_reconstructions_curves_data_lineage_and_cost(written: Path) -> None:
    page = pages(written)[1].read_text()
    assert page.count("data:video/mp4") == 2
    for text in (
        "1.8 to 2.2",  # the interval
        "<td>1.9</td><td>2</td>",  # against training clips and against held-out ones
        '<td>joins</td><td>1.37<br><span class="interval">1.1 to 1.6</span></td><td>1</td>',
        "<td>similarity_10</td><td>0.71</td><td>0.7</td>",
        "<td>tn2</td><td>3.5</td><td>3</td><td>0.4</td><td>0.125</td>",  # to the nearest training clip
        "input, reconstruction, error",
        "drift &lt;&amp;&gt;",
        "3 (real: 4): mean absolute difference of consecutive frames, grey levels",
        "distance from real windows",
        "FAILED, not by 2",
        "lvdm weights --install i3d=PATH",
        "Every hash leads back to the raw data.",
        "a GPU",
    ):
        assert text in page
    assert "max_level" in pages(written)[0].read_text(), "what differs is on the page of all"


def test_a_broken_chain_is_shown_and_not_hidden(workspace: Workspace, params: Params) -> None:
    result(VALUES["perturbed"] | {"fd_tn2": 0.1}).write(workspace.metrics("perturbed"))
    write_leaderboard(params, workspace)
    page = (workspace.leaderboard / "index.html").read_text()
    assert "The chain is broken" in page
    assert "evaluate perturbed has made other bytes here since" in page
    assert "BROKEN" in (workspace.leaderboard / "leaderboard.md").read_text()


@pytest.mark.parametrize("experiment", VALUES)  # the first of the ranking, and another one
def test_numbers_that_nothing_leads_back_to_the_data_are_marked_where_they_are_ranked(
    experiment: str, workspace: Workspace, params: Params
) -> None:
    (workspace.report("sample", experiment) / "provenance.json").unlink()
    board = write_leaderboard(params, workspace)
    caution = f"the numbers of {experiment} cannot be followed back to the raw data"
    assert caution in judge(board.groups[0], "builtin").caution
    why = f"artifacts/samples/{experiment}: no stage on record made these bytes"
    said = f"{experiment}: its numbers cannot be followed back to the raw data: {why}"
    assert said in summary(board, "builtin")
    page = (workspace.leaderboard / "index.html").read_text()
    assert f'{experiment}</a> <span class="caution">broken chain</span>' in page and page.count("broken chain") == 1
    assert why in pages(workspace.leaderboard)[1 + list(VALUES).index(experiment)].read_text().split("Samples")[0]


def test_both_pages_lead_to_the_data_report(written: Path) -> None:
    for page in pages(written)[:2]:
        (href,) = re.findall(r'<a href="([^"]+)">data report</a>', page.read_text())
        assert (page.parent / href).resolve().is_file()


def test_a_chart_has_room_for_long_names_and_a_panel_no_more_curves_than_colours(measured_once: Path) -> None:
    curve = Workspace(measured_once).curve("evaluate", "perturbed")

    def drawn(names: list[str]) -> tuple[float, int]:
        chart = chart_drift(dict.fromkeys(names, curve))
        (width,) = re.findall(r'viewBox="0 0 ([\d.]+) ', chart)
        return float(width), len(re.findall(r'id="axes_\d+"', chart))

    few, many = ([f"{i} {'long ' * long}name" for i in range(len(COLOURS) + more)] for long, more in ((0, 0), (9, 1)))
    assert drawn(many)[0] > drawn(few)[0] + 100
    assert (drawn(few)[1], drawn(many)[1]) == (1, 2)


def test_curves_are_labelled_as_what_they_are_and_only_those_of_one_quantity_are_drawn_together(
    workspace: Workspace,
) -> None:
    curve = workspace.curve("evaluate", "perturbed")
    other = curve.with_name("other.csv")
    other.write_text(curve.read_text().replace("tn2", "static"))

    def told(**tables: Path) -> list[str]:
        return re.findall(r"<!-- ([a-z].*?) -->", chart_drift(tables))

    drawn = told(one=curve, two=curve, three=other)
    assert {"distance from real windows, tn2", "one", "two"} <= set(drawn) and "three" not in drawn
    assert "share of static frames" in told(three=other)


def test_a_video_too_large_for_a_page_is_named(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvdm.comparison.page.MAX_VIDEO_BYTES", 10)
    write_leaderboard(params, workspace)
    page = pages(workspace.leaderboard)[1].read_text()
    assert "data:video" not in page
    assert "artifacts/samples/perturbed/long/0000.mp4 is too large" in page


def test_all_forms_hold_the_same_numbers(written: Path) -> None:
    document = json.loads((written / "leaderboard.json").read_text())
    rows = list(csv.DictReader((written / "leaderboard.csv").read_text().splitlines()))
    markdown = (written / "leaderboard.md").read_text()
    for row in document["groups"][0]["rows"]:
        for key, score in row["scores"].items():
            assert score["value"] == VALUES[row["experiment"]][key]
            (line,) = [r for r in rows if (r["experiment"], r["metric"]) == (row["experiment"], key)]
            assert float(line["value"]) == score["value"]
            assert [float(line["low"]), float(line["high"])] == score["interval"]
    assert "| perturbed | **2 [1.8, 2.2]** | 0.3 [0.27, 0.33] | **0.2 [0.18, 0.22]** |" in markdown
    assert document["lineage"]["perturbed"]["path"] == "metrics/perturbed.json"


def test_writing_twice_gives_the_same_bytes(workspace: Workspace, params: Params) -> None:
    written = []
    for _ in range(2):
        write_leaderboard(params, workspace)
        files = (path for path in workspace.leaderboard.rglob("*") if path.is_file())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_the_verdict_answers_which_is_best_by_how_much_on_which_data_made_by_which_commit(
    measured_once: Path, written: Path, params: Params
) -> None:
    (group,) = rank_experiments(Workspace(measured_once), params).groups
    verdict = judge(group, "builtin")
    assert (verdict.best, verdict.lead) == (
        "perturbed",
        "fd_tn2 2 [1.8, 2.2], 1.5 [1.097, 1.903] lower than unperturbed with 3.5 [3.15, 3.85]; real against real: 0.5",
    )
    assert verdict.data == "64 samples against 64 real clips of the test split of builtin (real set 4fe1)"
    assert verdict.made_by == "commit abc123 (train_denoiser, sample, evaluate)"
    assert verdict.caution == "kd_efflite0 puts another one first"
    for form in ("index.html", "leaderboard.md"):
        text = (written / form).read_text()
        assert all(answer in text for answer in (verdict.best, verdict.lead, verdict.data, verdict.made_by))


def test_a_lead_within_its_interval_or_below_the_floor_is_a_caution_and_marked(
    workspace: Workspace, params: Params
) -> None:
    result(VALUES["unperturbed"] | {"fd_tn2": 2.2}).write(workspace.metrics("unperturbed"))
    (group,) = rank_experiments(workspace, params).groups
    caution = judge(group, "builtin").caution
    assert "perturbed and unperturbed cannot be told apart by fd_tn2" in caution
    assert "the lead is smaller than the distance between two sets of real clips" in caution
    write_leaderboard(params, workspace)
    assert "| 2.2 [1.98, 2.42] ≈ |" in (workspace.leaderboard / "leaderboard.md").read_text()
    assert "2.2 ≈" in (workspace.leaderboard / "index.html").read_text()


def test_numbers_that_other_code_measured_are_a_caution(workspace: Workspace, params: Params) -> None:
    path = workspace.report("evaluate", "unperturbed") / "provenance.json"
    write_json(path, json.loads(path.read_text()) | {"code": "of before"})
    (group,) = rank_experiments(workspace, params).groups
    assert "not all were measured by the same code" in judge(group, "builtin").caution


def test_where_higher_is_better_the_verdict_says_by_how_much_it_is_higher(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOOR, "clipsim", 0.0)
    for name, value in (("perturbed", 0.20), ("unperturbed", 0.30)):
        result({"clipsim": value}).write(workspace.metrics(name))
    (group,) = rank_experiments(workspace, params).groups
    assert judge(group, "builtin").lead.startswith(
        "clipsim 0.3 [0.27, 0.33], 0.1 [0.06394, 0.1361] higher than perturbed with 0.2"
    )


def test_what_was_measured_in_another_way_stands_apart_with_the_reason(workspace: Workspace, params: Params) -> None:
    result(VALUES["unperturbed"], real_set="77aa").write(workspace.metrics("unperturbed"))
    write_leaderboard(params, workspace)
    for form in ("index.html", "leaderboard.md", "leaderboard.json"):
        assert "real_set: 77aa instead of 4fe1" in (workspace.leaderboard / form).read_text()
