"""Original clips of UCF-101, HMDB51 and Kinetics-400, against a decoder that reads them from the start.

`.ci/real_videos .real_videos` fetches them from a Debian source package, and .ci/run does so; without them these tests
are skipped. What odd files become is told of made ones in test_odd_files.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from lvdm.data.ingest import build_manifest
from lvdm.data.video import read_frames
from lvdm.params import Ingest
from lvdm.section import parse
from lvdm.workspace import Workspace

CLIPS = Path(__file__).parents[2] / ".real_videos"
UCF = {"v_SoccerJuggling_g23_c01.avi": 240, "v_SoccerJuggling_g24_c01.avi": 251}
LOOKED_AT = 6  # frames of each clip
OFF = 2.0  # levels in the mean: what straightening to H.264 costs at the most

pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason="needs `.ci/real_videos .real_videos`")


def ingested(root: Path, **layout: object) -> pd.DataFrame:
    settings = {"source": "raw", "layout": layout, "test_fraction": 0.5, "seed": 0, "transcode": None}
    return build_manifest(parse(Ingest, settings), Workspace.at(root)).set_index("id")


def test_original_clips_of_ucf101_have_their_class_group_and_split_and_every_frame(tmp_path):
    lists, folder = tmp_path / "raw" / "ucfTrainTestlist", tmp_path / "raw" / "SoccerJuggling"
    lists.mkdir(parents=True)
    folder.mkdir()
    train, test = UCF
    for name in UCF:
        shutil.copy(CLIPS / name, folder)
    (lists / "classInd.txt").write_text("84 SoccerJuggling\n")
    (lists / "trainlist01.txt").write_text(f"SoccerJuggling/{train} 84\n")
    (lists / "testlist01.txt").write_text(f"SoccerJuggling/{test}\n")
    manifest = ingested(tmp_path, kind="ucf101", split_list=1)
    assert manifest["error"].isna().all()
    for (name, frames), split, group in zip(UCF.items(), ("train", "test"), ("g23", "g24"), strict=True):
        row = manifest.loc[f"SoccerJuggling/{name}"]
        assert (row["frames"], row["split"], row["group"]) == (frames, split, f"SoccerJuggling_{group}")
        assert (row["label"], row["caption"]) == ("SoccerJuggling", "soccer juggling")


def test_every_original_clip_is_read_as_a_sequential_decoder_reads_it(tmp_path):
    shutil.copytree(CLIPS, tmp_path / "raw")
    manifest = ingested(tmp_path, kind="folder")
    assert len(manifest) == len(list(CLIPS.iterdir())) and manifest["error"].isna().all()
    for name, row in manifest.iterrows():
        with av.open(str(CLIPS / name), metadata_errors="replace") as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert row["frames"] == len(decoded), name
        indices = np.linspace(len(decoded) - 1, 0, LOOKED_AT).round().astype(int).tolist()
        read = read_frames(tmp_path / row["path"], indices)
        for index, frame in zip(indices, read, strict=True):
            off = np.abs(frame.astype(np.int16) - decoded[index]).mean()
            assert off <= (OFF if pd.notna(row["straightened"]) else 0.0), (name, index)
