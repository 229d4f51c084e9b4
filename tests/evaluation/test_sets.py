"""Which real clips and videos samples are held against, and how they are read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lvdm.data.samples import SampleSet, VideoSample, gather_samples, write_sample
from lvdm.data.video import read_frames, write_video
from lvdm.errors import ArtefactError, LvdmError
from lvdm.evaluation import long_videos, sets
from lvdm.evaluation.continuity import Joins
from lvdm.evaluation.drift import Drift
from lvdm.evaluation.protocol import OPEN, PROTOCOLS, protocol_of
from lvdm.fingerprints import sha256
from lvdm.machine import Machine
from lvdm.params import Params, load_params
from lvdm.workspace import Workspace, write_json
from tests.evaluation.conftest import PROJECT, moving_square

REACH = 64  # frames of the fake long videos


@pytest.fixture
def params() -> Params:
    params = load_params(PROJECT / "params.yaml")
    return params.model_copy(update={"clips": params.clips.model_copy(update={"size": 32, "stride": 2})})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, Machine(accelerator="cpu"))


def samples(workspace: Workspace, label: str | None = "a") -> SampleSet:
    folder = workspace.samples("x")
    sample = VideoSample("long", 0, REACH, 0, label)
    write_video(folder / sample.file, [moving_square(99, REACH).numpy()], 8.0)
    write_json(folder / "index.json", [vars(sample)])
    return SampleSet(folder)


def manifest(root: Path, *videos: tuple[int, str | None, str]) -> pd.DataFrame:
    """Of (frames, label, split)."""
    for i, (frames, _, _) in enumerate(videos):
        write_video(root / f"{i}.mp4", [moving_square(i, frames).numpy()], 8.0)
    rows = [
        {"path": f"{i}.mp4", "frames": frames, "label": label, "split": split}
        for i, (frames, label, split) in enumerate(videos)
    ]
    checksums = [sha256(root / row["path"]) for row in rows]
    return pd.DataFrame(rows).assign(checksum=checksums).astype({"frames": "Int64", "label": "string"})


def read_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, range]]:
    """What is read from now on: the name of the file, and the frames."""
    reads: list[tuple[str, range]] = []

    def recorded(path: Path, indices: range) -> np.ndarray:
        reads.append((path.name, indices))
        return read_frames(path, indices)

    for room in (sets, long_videos):
        monkeypatch.setattr(room, "read_frames", recorded)
    return reads


def test_real_videos_shorter_than_the_samples_are_a_reference(workspace: Workspace, params: Params) -> None:
    rows = manifest(workspace.root, (70, "a", "test"), (63, "a", "test"), (30, "a", "test"))
    measured = long_videos.measure_long_videos(samples(workspace), rows, params, workspace)
    (pair,) = measured.drift.curves.values()
    assert (len(pair.fake.values), len(pair.real.values)) == (4, 2)  # 63 frames at stride 2 hold two windows, 30 none


def test_real_clips_are_captioned_by_what_the_samples_were_asked_for_by(workspace: Workspace, params: Params) -> None:
    rows = manifest(workspace.root, (70, "a", "test"), (70, "a", "test")).assign(caption=["a square", "a dot"])
    rules = protocol_of(params)
    sides = {column: sets.real_clips(rows, rules, workspace.root, column) for column in ("label", "caption")}
    asked = {column: side["test"].captions for column, side in sides.items()}
    assert set(asked["label"]) == {"a"} and set(asked["caption"]) == {"a square", "a dot"}
    for caption, column in ((None, "label"), ("a square", "caption")):
        made = SampleSet(workspace.root / column)
        clip = VideoSample("clip", 0, 16, 0, "a", caption)
        write_sample(workspace.root / "made" / column, clip, [np.zeros((16, 32, 32, 3), np.uint8)], 8.0)
        made.folder.mkdir()
        gather_samples(made.folder, workspace.root / "made" / column, [clip])
        assert sets.asked_by(made) == column
        assert sets.fake_clips(made, rules).captions == [caption or "a"]


def test_without_two_real_videos_drift_is_a_reason(workspace: Workspace, params: Params) -> None:
    rows = manifest(workspace.root, (300, "a", "test"), (30, "a", "test"), (300, "a", "train"))
    drift = long_videos.measure_long_videos(samples(workspace), rows, params, workspace).drift
    assert (drift.curves, "two real videos" in drift.not_available) == ({}, True)


@pytest.mark.parametrize(
    ("label", "others", "expected", "num_windows"),
    [
        ("a", 126, ["1.mp4", "2.mp4"], 2),  # at stride 2, 64 frames are of a video of 127
        ("a", 127, ["0.mp4", "1.mp4", "2.mp4", "3.mp4"], 4),
        ("c", 126, ["0.mp4", "1.mp4", "2.mp4", "3.mp4"], 2),
    ],
)
def test_real_videos_have_the_labels_of_the_samples_unless_only_others_reach_as_far(
    label: str,
    others: int,
    expected: list[str],
    num_windows: int,
    workspace: Workspace,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labelled = [(others, "b", "test"), (63, "a", "test"), (63, "a", "test"), (others, "b", "test")]
    rows, reads = manifest(workspace.root, *labelled), read_of(monkeypatch)
    drift = long_videos.measure_long_videos(samples(workspace, label), rows, params, workspace).drift
    assert sorted({name for name, _ in reads} - {"0000.mp4"}) == expected
    (pair,) = drift.curves.values()
    assert len(pair.real.values) == num_windows


def test_the_longest_real_videos_are_chosen(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_videos, "FEWEST_REAL", 2)
    lengths = (33, 63, 40, 100, 37)
    rows, reads = manifest(workspace.root, *((n, "a", "test") for n in lengths)), read_of(monkeypatch)
    long_videos.measure_long_videos(samples(workspace), rows, params, workspace)
    assert {name for name, _ in reads} == {"1.mp4", "3.mp4", "0000.mp4"}


def test_frames_of_the_right_size_are_seen_as_they_are() -> None:
    frames = torch.randint(0, 256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    seen = sets.as_seen(frames.numpy(), 32)
    assert torch.equal(seen, frames)
    assert seen.permute(3, 0, 1, 2).is_contiguous(), "networks round by the order in memory"


def test_joins_are_told_in_frames(workspace: Workspace) -> None:
    made = samples(workspace)
    assert long_videos.joins_of(made) is None
    write_json(made.folder / "made_with.json", {"time_factor": 4, "long_latents": 5, "joins": [2, 3]})
    assert long_videos.joins_of(made) == Joins(latents=(4, 8, 12, 16), windows=frozenset((8, 12)))


def test_the_protocols_are_those_of_the_table_in_the_docs() -> None:
    text = (PROJECT / "docs/evaluation.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    assert [row[0].strip("`") for row in rows] == list(PROTOCOLS)
    for name, real, split, clips, covariance, leaves_open in rows:
        protocol = PROTOCOLS[name.strip("`")]
        assert (protocol.split, f"{protocol.num_clips:,}", protocol.covariance) == (split, clips, covariance)
        assert ", ".join(OPEN[protocol.name]) == leaves_open
        assert real.startswith(
            "disjoint" if protocol.real == "disjoint windows" else ("one of every video", "the same")
        )
    long = PROTOCOLS["lvdm-long"]
    assert (long.long_videos, long.long_frames, long.clip_frames) == (512, 1024, 16)


def test_videos_are_read_a_few_frames_at_a_time_and_no_further_than_the_samples_reach(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, reads = manifest(workspace.root, (400, "a", "test"), (400, "a", "test")), read_of(monkeypatch)
    long_videos.measure_long_videos(samples(workspace), rows, params, workspace)
    assert max(len(frames) for _, frames in reads) == long_videos.BLOCK
    assert max(frames[-1] for name, frames in reads if name == "0.mp4") == 2 * (REACH - 1)
    assert max(frames[-1] for name, frames in reads if name == "0000.mp4") == REACH - 1


def test_of_a_published_protocol_every_video_gives_one_clip_and_short_videos_none() -> None:
    protocol = replace(PROTOCOLS["lvdm"], stride=2, size=32)
    windows = sets.choose_windows([31, 100, 30, 200], protocol, 10)
    assert sorted(window.video for window in windows) == [0, 1, 3]
    assert all(0 <= w.start <= length - 31 for w in windows for length in [[31, 100, 30, 200][w.video]])


def test_both_splits_are_read_and_the_one_that_is_measured_twice_as_large(workspace: Workspace, params: Params) -> None:
    videos = [(70, "a", "test")] * 4 + [(70, "a", "train")] * 5
    rows = manifest(workspace.root, *videos)
    protocol = replace(protocol_of(params), num_clips=3, searched=4)
    sides = sets.real_clips(rows, protocol, workspace.root, "label")
    assert {split: len(side) for split, side in sides.items()} == {"test": 6, "train": 4}
    both = sets.real_clips(rows, replace(protocol, split="train+test"), workspace.root, "label")
    assert {split: len(side) for split, side in both.items()} == {"test": 3, "train": 4, "train+test": 6}
    assert len({side.hash for side in (*sides.values(), *both.values())}) == 4  # "test" is the beginning of itself


def test_long_videos_that_are_too_few_for_the_protocol_are_an_error(workspace: Workspace, params: Params) -> None:
    asked = params.evaluate.model_copy(update={"protocol": "lvdm-long", "num_clips": None, "seed": None})
    rows = manifest(workspace.root, (70, "a", "train"), (63, "a", "train"))
    with pytest.raises(ArtefactError, match="512 of 1024 frames, as protocol lvdm-long measures, got 0"):
        long_videos.measure_long_videos(
            samples(workspace), rows, params.model_copy(update={"evaluate": asked}), workspace
        )


def test_what_clips_are_is_which_frames_of_which_files_seen_in_which_way(params: Params) -> None:
    protocol = protocol_of(params)
    clips = sets.VideoClips((Path("a"), Path("b")), ("1", "2"), (sets.Window(0, 0), sets.Window(1, 8)), protocol)
    others = [
        replace(clips, checksums=("1", "3")),
        replace(clips, windows=(sets.Window(0, 0), sets.Window(1, 9))),
        replace(clips, windows=(sets.Window(0, 0), sets.Window(0, 8))),
        *(replace(clips, protocol=replace(protocol, **{name: 5})) for name in ("clip_frames", "stride", "size")),
    ]
    assert len({clips.content, *(other.content for other in others)}) == 1 + len(others)
    assert replace(clips, paths=(Path("c"), Path("d"))).content == clips.content, "wherever the files lie"


def test_a_real_video_that_changed_since_it_was_ingested_is_measured_nowhere(
    workspace: Workspace, params: Params
) -> None:
    rows = manifest(workspace.root, *[(70, "a", "test")] * 3)
    write_video(workspace.root / "1.mp4", [moving_square(9, 70).numpy()], 8.0)
    (workspace.root / "2.mp4").unlink()
    clips = sets.real_clips(rows, replace(protocol_of(params), num_clips=2), workspace.root, "label")["test"].clips
    by_video = [window.video for window in clips.windows]  # type: ignore[attr-defined]  # of VideoClips
    assert clips[by_video.index(0)].shape == (16, 32, 32, 3)
    for video, got in ((1, sha256(workspace.root / "1.mp4")), (2, "no such file")):
        said = rf"{video}\.mp4: changed since it was ingested: .*, got '{got}'; run `lvdm ingest` again"
        with pytest.raises(ArtefactError, match=said):
            clips[by_video.index(video)]
    shutil.copy(workspace.root / "1.mp4", workspace.root / "0.mp4")  # after it has been read
    with pytest.raises(ArtefactError, match=r"0\.mp4: changed since it was ingested"):
        clips[by_video.index(0)]
    with pytest.raises(ArtefactError, match=r"\.mp4: changed since it was ingested"):
        long_videos.measure_long_videos(samples(workspace), rows, params, workspace)


@pytest.mark.parametrize(
    ("size", "frames", "said"),
    [(16, REACH, "frames: expected 32x32, got '16x16'"), (32, REACH - 1, "truncated"), (32, 0, "run `lvdm sample x`")],
)
def test_a_long_sample_that_is_not_the_one_of_the_index_is_an_error(
    workspace: Workspace, params: Params, size: int, frames: int, said: str
) -> None:
    rows, made = manifest(workspace.root, *[(70, "a", "test")] * 2), samples(workspace)
    path = made.folder / made.samples("long")[0].file
    path.unlink()
    if frames:
        write_video(path, [moving_square(99, frames, size).numpy()], 8.0)
    with pytest.raises(LvdmError, match=rf"0000\.mp4: .*{said}"):
        long_videos.measure_long_videos(made, rows, params, workspace)


def test_real_clips_of_other_videos_are_of_none_that_is_held_against_them(workspace: Workspace, params: Params) -> None:
    """A video is nearer to its own clips than any other, and the best of models, can be."""
    rows = manifest(workspace.root, *[(70, "a", "test")] * 5)
    clips = sets.real_clips(rows, protocol_of(params), workspace.root, "label")["test"]
    others = sets.of_other_videos(clips, set(rows["checksum"][:2]), 4)
    assert len(others) == 4 and len(clips) > 6
    assert {others.clips.paths[window.video].name for window in others.clips.windows} == {"2.mp4", "3.mp4", "4.mp4"}
    assert len(sets.of_other_videos(clips, set(rows["checksum"]), 4)) == 0


@pytest.mark.parametrize(("count", "apart"), [(10, True), (8, False)])
def test_long_videos_are_held_against_clips_of_videos_that_they_are_not_compared_with(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch, count: int, apart: bool
) -> None:
    rows = manifest(workspace.root, *[(64 + i, "a", "test") for i in range(count)])
    clips = sets.real_clips(rows, protocol_of(params), workspace.root, "label")["test"]
    given = []
    monkeypatch.setattr(long_videos, "measure_drift", lambda *those: given.append(those) or Drift({}))
    long_videos.measure_long_videos(samples(workspace), rows, params, workspace, clips)
    [(real, *_, reference, said)] = given
    assert said == apart
    shared = {reference.clips.paths[window.video] for window in reference.clips.windows} & set(real.clips.clips.paths)
    assert bool(shared) != apart


def test_a_video_that_changed_since_it_was_looked_up_is_not_read(workspace: Workspace) -> None:
    write_video(workspace.root / "a.mp4", [moving_square(0, 8).numpy()], 8.0)
    with pytest.raises(ArtefactError, match=r"a\.mp4"):
        long_videos.VideoFrames(workspace.root / "a.mp4", "0" * 64, 8, 1, 32)[0]
