"""The sample set: exact short clips, long videos of exactly the frames asked for, an index of both."""

from __future__ import annotations

import torch

from lvdm.data.clips import to_frames
from lvdm.data.samples import SHOWN, Sample, SampleSet, write_samples
from lvdm.data.video import probe


def test_short_clips_come_back_exactly_and_long_videos_have_the_frames_asked_for(tmp_path):
    generator = torch.Generator().manual_seed(0)
    clips = [torch.rand(1, 3, 8, 16, 16, generator=generator) * 2 - 1 for _ in range(SHOWN + 2)]
    wanted = [Sample("clip", i, 6, seed=i, label="red square") for i in range(len(clips))]
    long = Sample("long", 0, 19, seed=9, label=None)
    chunks = [torch.rand(1, 3, 8, 16, 16, generator=generator) for _ in range(4)]
    write_samples(tmp_path, [*((s, [c]) for s, c in zip(wanted, clips, strict=True)), (long, iter(chunks))], fps=8.0)

    samples = SampleSet(tmp_path)
    assert samples.samples("clip") == wanted
    assert samples.samples("long") == [long]
    for i, clip in enumerate(clips):
        assert torch.equal(samples.clips()[i], torch.from_numpy(to_frames(clip[0, :, :6])))
    assert len(list((tmp_path / "clips").iterdir())) == SHOWN
    assert probe(tmp_path / long.file).frames == 19


def test_no_more_chunks_are_decoded_than_the_frames_need(tmp_path):
    decoded = []

    def chunks():
        for i in range(100):
            decoded.append(i)
            yield torch.zeros(1, 3, 4, 16, 16)

    clip = (Sample("clip", 0, 4, seed=0, label=None), [torch.zeros(1, 3, 4, 16, 16)])
    write_samples(tmp_path, [clip, (Sample("long", 0, 10, seed=0, label=None), chunks())], fps=8.0)
    assert len(decoded) <= 4
