"""Every odd file yields its frames, every broken one a row with its reason; all in one ingest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lvdm.data.ingest import build_manifest
from lvdm.data.reasons import REASONS
from lvdm.data.video import read_frames
from lvdm.params import Ingest
from lvdm.workspace import Workspace

from .odd_files import BROKEN, ODD, known

INGEST = Ingest(source="raw", layout={"kind": "folder"}, test_fraction=0.5, seed=0)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """The workspace with all of them, and its manifest by id."""
    workspace = Workspace.at(tmp_path_factory.mktemp("odd"))
    raw = workspace.root / "raw"
    raw.mkdir()
    for name, odd in ODD.items():
        odd.make(raw / name)
    for name, (_, make) in BROKEN.items():
        make(raw / name)
    return workspace, build_manifest(INGEST, workspace).set_index("id")


def test_every_file_is_one_row(ingested):
    _, manifest = ingested
    assert sorted(manifest.index) == sorted([*ODD, *BROKEN])


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_yields_the_frames_that_it_shows(ingested, name):
    workspace, manifest = ingested
    odd, row = ODD[name], manifest.loc[name]
    assert pd.isna(row["error"]), row["detail"]
    wanted = odd.shown(known(**odd.size).astype(np.float64))
    assert (row["frames"], row["width"], row["height"]) == (len(odd.frames), wanted.shape[2], wanted.shape[1])
    assert row["fps"] == pytest.approx(odd.fps, rel=1e-3)
    assert row["duration"] == pytest.approx(row["frames"] / row["fps"])
    read = read_frames(workspace.root / row["path"], range(row["frames"]))
    for frame, index in zip(read, odd.frames, strict=True):
        distances = np.abs(wanted - frame).mean(axis=(1, 2, 3))
        assert distances[index] <= odd.off_by
        assert distances[index] == distances.min()
    assert pd.notna(row["straightened"]) == odd.straightened, row["straightened"]


@pytest.mark.parametrize("name", ODD)
def test_what_is_read_of_an_odd_file_does_not_depend_on_where_reading_begins(ingested, name):
    workspace, manifest = ingested
    path = workspace.root / manifest.loc[name, "path"]
    whole = read_frames(path, range(manifest.loc[name, "frames"]))
    for start in range(0, len(whole), 5):
        np.testing.assert_array_equal(read_frames(path, [start])[0], whole[start])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_row_with_its_reason(ingested, name):
    row = ingested[1].loc[name]
    assert row["error"] == BROKEN[name][0], row["detail"]
    assert row["error"] in REASONS
    assert row["detail"]
    assert pd.isna(row["frames"])
