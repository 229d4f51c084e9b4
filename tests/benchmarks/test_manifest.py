"""The benchmark runs, and each row of its manifest is a file that is there and has been probed before."""

from __future__ import annotations

import pytest

from benchmarks.manifest import BROKEN, _slopes, main, write_source
from lvdm.data.ingest import build_manifest
from lvdm.params import load_params
from lvdm.workspace import Workspace


def test_all_videos_are_files_that_ingest_looks_up(tmp_path):
    root = tmp_path / "workspace"
    write_source(root, BROKEN)
    before = (root / ".lvdm" / "probes.jsonl").read_text()
    manifest = build_manifest(load_params(root / "params.yaml").ingest, Workspace.at(root))
    assert (root / ".lvdm" / "probes.jsonl").read_text() == before
    assert len(manifest) == BROKEN
    assert manifest["checksum"].is_unique
    assert all((root / path).is_file() for path in manifest["path"])
    assert manifest["error"].notna().sum() == 1


def test_costs_that_every_process_has_are_no_cost_of_a_row():
    assert _slopes([1, 10, 100], [2.0, 2.9, 11.9]) == pytest.approx([0.1, 0.1])


def test_it_prints_a_line_for_each_stage(capsys):
    main(["--rows", "30"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["30", "ingest"], ["30", "validate"]]
