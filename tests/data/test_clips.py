from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from lvdm.data.clips import TrainingClips, fixed_clips, whole_video
from lvdm.data.frames import squared
from lvdm.data.reasons import UnreadableVideo
from lvdm.data.video import read_frames
from lvdm.errors import ArtefactError
from lvdm.params import Clips

from .footage import moving, video

CLIPS = Clips(frames=4, size=48, stride=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Five videos, three of them to train on, and their rows."""
    root = tmp_path_factory.mktemp("videos")
    lengths = [24, 7, 30, 24, 6]
    for i, frames in enumerate(lengths):
        video(root / f"{i}.mp4", seed=i, frames=frames)
    split = ["train", "train", "train", "test", "test"]
    return root, pd.DataFrame({"path": [f"{i}.mp4" for i in range(5)], "frames": lengths, "split": split})


def test_a_training_clip_is_a_function_of_seed_and_index(videos):
    root, rows = videos
    one, same, other = (TrainingClips(rows, CLIPS, root, seed) for seed in (0, 0, 1))
    assert len(one) == 3
    for index in (0, 1, 10**9):
        assert one[index]["frames"].shape == (4, 48, 48, 3)
        assert torch.equal(one[index]["frames"], same[index]["frames"])
    assert not all(torch.equal(one[i]["frames"], other[i]["frames"]) for i in range(4))
    assert not torch.equal(one[0]["frames"], one[1]["frames"])


def test_training_sees_every_video_and_start_of_split_train_and_nothing_else(videos):
    root, rows = videos
    clips = TrainingClips(rows, CLIPS, root, seed=0)
    possible = {}
    for i in range(5):
        for start in range(rows["frames"][i] - 6):
            frames = read_frames(root / f"{i}.mp4", range(start, start + 7, 2))
            possible[squared(frames, 48).numpy().tobytes()] = (i, start)
    seen = {possible[clips[index]["frames"].numpy().tobytes()] for index in range(300)}
    assert {video for video, _ in seen} == {0, 1, 2}
    assert {start for video, start in seen if video == 0} == set(range(18))


def test_no_video_long_enough_is_one_line(videos):
    root, rows = videos
    with pytest.raises(ArtefactError, match="59 frames"):
        TrainingClips(rows, Clips(frames=30, size=48, stride=2), root, seed=0)


def test_an_unreadable_video_is_the_same_error_from_a_worker(videos):
    root, rows = videos
    clips = TrainingClips(rows.assign(path="gone.mp4"), CLIPS, root, seed=0)
    with pytest.raises(UnreadableVideo, match=r"gone\.mp4"):
        next(iter(DataLoader(clips, num_workers=1)))


def test_fixed_clips_are_the_same_for_every_caller_and_of_distinct_videos(videos):
    root, rows = videos
    first, second = ([*fixed_clips(rows, CLIPS, root, 4, seed=3)] for _ in range(2))
    assert len({clip.numpy().tobytes() for clip in first}) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(ArtefactError, match="got 4"):
        fixed_clips(rows, CLIPS, root, 5, seed=3)


@pytest.mark.parametrize("chunk_frames", [1, 5, 100])
def test_a_whole_video_is_the_same_in_any_chunks(videos, chunk_frames):
    root, rows = videos
    chunks = [*whole_video(rows.iloc[0], CLIPS, root, chunk_frames)]
    assert max(len(chunk) for chunk in chunks) <= chunk_frames
    whole = squared(read_frames(root / "0.mp4", range(0, 24, 2)), 48)
    assert torch.equal(torch.cat(chunks), whole)
    assert np.abs(whole.numpy().astype(int) - moving(seed=0)[::2, :, 8:56]).mean() < 2
