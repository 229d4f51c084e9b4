"""The sample set: exact short clips, long videos of exactly the frames asked for, an index of both."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from lvdm.data.frames import as_frames
from lvdm.data.inspection import probe
from lvdm.data.samples import (
    CLIPS,
    INDEX,
    MADE_WITH,
    SHOWN,
    SampleSet,
    VideoSample,
    frames_of,
    gather_samples,
    write_sample,
)
from lvdm.errors import ArtefactError
from lvdm.evaluation.protocol import PROTOCOLS
from lvdm.evaluation.sets import fake_clips

LONG = VideoSample("long", 0, 17, seed=9, label=None)  # of chunks of 8 frames two, and one frame more


def noise(frames: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(1, 3, frames, 16, 16, generator=generator) * 2 - 1


def test_short_clips_come_back_exactly_and_long_videos_have_the_frames_asked_for(tmp_path):
    generator = torch.Generator().manual_seed(0)
    clips = [noise(8, generator) for _ in range(SHOWN + 2)]
    wanted = [VideoSample("clip", i, 6, seed=i, label="red square") for i in range(len(clips))]
    for sample, clip in zip(wanted, clips, strict=True):
        write_sample(tmp_path / "made", sample, frames_of(sample, [clip]), fps=8.0)
    write_sample(tmp_path / "made", LONG, frames_of(LONG, (noise(8, generator) for _ in range(4))), fps=8.0)
    folder = tmp_path / "set"
    folder.mkdir()
    gather_samples(folder, tmp_path / "made", [*wanted, LONG])

    samples = SampleSet(folder)
    assert samples.samples("clip") == wanted
    assert samples.samples("long") == [LONG]
    for i, clip in enumerate(clips):
        assert torch.equal(samples.clips()[i], as_frames(clip[0, :, :6]))
    assert len(list((folder / "clips").iterdir())) == SHOWN
    assert probe(folder / LONG.file).frames == 17


def test_a_damaged_sample_set_is_one_line_with_the_stage_to_run_again(tmp_path):
    made, folder, clips = tmp_path / "made", tmp_path / "x", [VideoSample("clip", i, 8, 0, None) for i in range(2)]
    for clip in clips:
        write_sample(made, clip, frames_of(clip, [torch.zeros(1, 3, 8, 16, 16)]), fps=8.0)
    folder.mkdir()
    gather_samples(folder, made, clips, {"joins": []})

    def refused(file: str, content: bytes, said: str) -> None:
        path, whole = folder / file, (folder / file).read_bytes()
        path.write_bytes(content)
        with pytest.raises(ArtefactError, match=rf"x(/{file})?: {said}.*; run `lvdm sample x` again"):
            samples = SampleSet(folder)
            fake_clips(samples, PROTOCOLS["small"]), samples.made_with
        path.write_bytes(whole)

    for file in (CLIPS, INDEX, MADE_WITH):
        refused(file, (folder / file).read_bytes()[:-9], "not as it was written")
    entries = json.loads((folder / INDEX).read_text())
    refused(INDEX, json.dumps([entry | {"pace": 1} for entry in entries]).encode(), "not as it was written: .*pace")
    refused(INDEX, json.dumps(entries[:1]).encode(), "short clips: expected 1, got 2")
    save_file({"clip": torch.zeros(2)}, tmp_path / "other")
    refused(CLIPS, (tmp_path / "other").read_bytes(), "not as it was written: 'clips'")
