"""A report comes back as it was written, or says what to run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvdm.errors import ArtefactError
from lvdm.report import Check, Report
from lvdm.workspace import Workspace


def test_a_report_comes_back_as_it_was_written(tmp_path):
    workspace, picture = Workspace(tmp_path), tmp_path / "curve.png"
    picture.write_bytes(b"png")
    check = Check("unique", True, False, "no two files of equal bytes", 0, ("a.mp4",))
    links = {"video": tmp_path / "artifacts/a.mp4"}
    report = Report("sample", "a", {"seconds": 1.5}, {"curve": picture}, links, (check,)).write(workspace)
    assert Report.read(workspace, "sample", "a") == report
    path = workspace.report("sample", "a") / "report.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"report\.json: no report: .*; run `lvdm sample a` again"):
        Report.read(workspace, "sample", "a")
    assert report.pictures["curve"].parent == workspace.report("sample", "a")
    assert Path(report.pictures["curve"]).read_bytes() == b"png"
