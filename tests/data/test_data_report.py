"""The page holds all that it shows, says what happened to which video, and stays small whatever the data is."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lvdm.__main__ import main
from lvdm.data.data_report import MAX_SHOWN, write_data_report
from lvdm.data.difference import NUMBERS, Difference, Version, difference
from lvdm.data.histograms import histograms
from lvdm.data.manifest import read_manifest, write_manifest
from lvdm.data.thumbnails import thumbnails
from lvdm.data.validation import Validation
from lvdm.machine import Machine
from lvdm.report import Report
from lvdm.workspace import Workspace

from .footage import cut, encoded, video
from .test_validation import UNALIKE, manifest

ROOT = Path(__file__).parents[2]
STRANGE = 'cut <b>&".mp4'


class Page(HTMLParser):
    """The texts and the addresses of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.addresses, self.tags = "", [], []
        self.feed(path.read_text())

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]


def written(workspace: Workspace, table: pd.DataFrame, rejected: pd.DataFrame, **parts: object) -> Page:
    none = pd.DataFrame(columns=["id", "path", "flag", "detail", "other"])
    validation = Validation(table, rejected, parts.get("flagged", none), (), parts.get("changes"))
    write_data_report(validation, table, "somewhere", workspace)
    return Page(workspace.data_report / "index.html")


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Workspace:
    """Twelve real videos, of which one is cut and one looks like another, held to the contract by the command."""
    workspace = Workspace.at(tmp_path_factory.mktemp("judged"))
    names = [*(f"{i}.mp4" for i in range(11)), STRANGE]
    for seed, name in enumerate(names):
        video(workspace.root / name, seed=seed)
    cut(workspace.root / STRANGE, 0.9)
    table = pd.concat([manifest()] * 2, ignore_index=True)
    looks = [f"{int(UNALIKE[i % 8], 16) ^ (i // 8 * (2**64 - 1)):016x}" for i in range(12)]
    looks[3] = looks[0]
    table = table.assign(id=names, path=names, looks=looks, checksum=[f"{i:x}" * 64 for i in range(12)])
    table.loc[11, ["error", "detail", "frames"]] = ["truncated", "9 of 10 bytes", None]
    write_manifest(table, workspace.manifest)
    workspace.videos.mkdir()
    (workspace.root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return workspace


def test_warnings_go_on_and_strict_fails_on_them_with_a_line_each_and_makes_the_same(judged, capsys):
    run = ["--root", str(judged.root), "validate"]
    assert main(run) == 0
    made = judged.validated.read_bytes(), (judged.data_report / "index.html").read_bytes()
    assert "warning: decodable" in capsys.readouterr().out
    assert main([*run, "--strict"]) == 1
    *lines, last = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith(("warning", "critical"))]
    assert [line.split(":")[1].strip() for line in said] == ["decodable", "no_near_duplicates"]
    assert last.startswith("lvdm: 2 of ")
    assert (judged.validated.read_bytes(), (judged.data_report / "index.html").read_bytes()) == made
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["validate"]["severities"] = {"no_near_duplicates": "critical"}
    (judged.root / "params.yaml").write_text(yaml.safe_dump(params))
    assert main([*run, "--strict"]) == 1
    assert "critical: no_near_duplicates" in capsys.readouterr().err
    assert "Stopped" in Page(judged.data_report / "index.html").text


def test_the_page_shows_the_videos_that_are_listed_and_asks_no_server(judged):
    (judged.root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    main(["--root", str(judged.root), "validate"])
    page = Page(Report.read(judged, "validate", "").links["data report"])
    pictures = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert len(pictures) == 3  # the cut one still has frames; and two that look alike
    assert set(page.addresses) - set(pictures) == {"../quarantine.csv", "flagged.csv"}
    assert not re.search(r"url\(|@import|https?:", (judged.data_report / "index.html").read_text())
    assert "script" not in page.tags
    for words in (
        STRANGE,
        "truncated",
        "9 of 10 bytes",
        "looks like 0.mp4: 0 of 64 bits differ",
        "Passed with warnings",
    ):
        assert words in page.text
    flagged = pd.read_csv(judged.data_report / "flagged.csv")
    assert flagged[["id", "flag", "other"]].to_numpy().tolist() == [["3.mp4", "near-duplicate", "0.mp4"]]
    assert len(read_manifest(judged.validated)) == 11


def test_tens_of_thousands_of_rejects_make_a_page_that_opens(tmp_path):
    num = 20_000
    rejected = pd.DataFrame(
        {"id": [f"{i}.mp4" for i in range(num)], "path": "", "reason": "corrupt", "detail": "damaged"}
    )
    rejected.loc[num - 1, "reason"] = "empty"
    page = written(Workspace.at(tmp_path), manifest(), rejected)
    assert (tmp_path / "artifacts/data_report/index.html").stat().st_size < 200_000
    assert f"{MAX_SHOWN} of 20,000 are shown" in page.text
    assert "empty 1" in page.text, "a rare reason is shown too"


def test_what_changed_since_the_accepted_version_is_on_the_page(tmp_path):
    before, now = pd.concat([manifest()] * 60, ignore_index=True), pd.concat([manifest(fps=[30.0] * 6)] * 60)
    now = now.reset_index(drop=True)
    before, now = (table.assign(id=[f"{i}.mp4" for i in table.index]) for table in (before, now[1:]))
    changes: Difference = difference(Version.of_manifest(before), Version.of_manifest(now), 0.1)
    page = written(
        Workspace.at(tmp_path), now, pd.DataFrame(columns=["id", "path", "reason", "detail"]), changes=changes
    )
    for words in ("1 removed", "359 changed", "fps: 8.0 -> 30.0", "drifted: fps", "1.000"):
        assert words in page.text


def test_a_dataset_of_which_nothing_can_be_read_has_a_page(tmp_path):
    table = manifest(error=["corrupt"] * 6, **{name: [None] * 6 for name in ("frames", "fps", "width", "brightness")})
    page = written(
        Workspace.at(tmp_path), table[:0], table.assign(reason="corrupt")[["id", "path", "reason", "detail"]]
    )
    assert "corrupt 6" in page.text


def test_of_what_was_no_file_no_picture_is_tried(tmp_path):
    """A pipe or a device would be waited for; here it is a good video, of which one could be had."""
    workspace, table = Workspace.at(tmp_path), manifest()
    path = tmp_path / table["path"][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    video(path)
    for code, pictures in (("not-a-file", 0), ("corrupt", 1)):
        table.loc[0, ["error", "detail"]] = [code, "it says"]
        rejected = table[:1].assign(reason=code)[["id", "path", "reason", "detail"]]
        assert written(workspace, table, rejected).tags.count("img") == pictures


@pytest.mark.parametrize("most", [[30.0] * 50, [0.0] * 50, list(np.linspace(20, 40, 50))])
def test_one_video_far_off_does_not_squeeze_the_histogram_of_all_others_and_is_in_its_last_bar(most):
    table = pd.DataFrame(dict.fromkeys(NUMBERS, [np.nan] * 51) | {"fps": [*most, 1000.0]})
    (shown,) = histograms(table, None)
    assert sum(bar.count for bar in shown.bars) == 51
    assert shown.bars[-1].count == 1
    assert shown.bars[-1].label.endswith("to 1000")
    assert shown.high.endswith("1000")
    if len(set(most)) > 1:
        assert sum(bar.count > 0 for bar in shown.bars) > 6


def test_a_video_that_has_no_picture_is_left_out_without_a_word(tmp_path, capfd):
    whole, half = encoded(tmp_path / "whole.avi", "mpeg4"), cut(encoded(tmp_path / "half.mp4", "libx264"), 0.5)
    asked = {"whole": (whole, 3), "half": (half, 0)}
    assert set(thumbnails(asked, Machine(accelerator="cpu"))) == {"whole"}
    assert capfd.readouterr() == ("", "")
