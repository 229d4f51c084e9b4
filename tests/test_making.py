"""Between videos and latents: every latent once, samples asked for by labels in turn and seeds of their own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from lvdm import encoding, making
from lvdm.data.clips import to_clip
from lvdm.data.video import read_frames, write_video
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.condition import Prompt
from lvdm.params import Clips, load_params
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
PARAMS = load_params(ROOT / "params.yaml")
CLIPS = Clips(frames=8, size=16, stride=1)


@pytest.fixture
def autoencoder():
    network = PARAMS.autoencoder("small").network.model_copy(update={"channels": (8, 8, 8)})
    torch.manual_seed(0)
    return build_autoencoder(network).eval().requires_grad_(False)


@pytest.fixture
def manifest(tmp_path):
    frames = torch.randint(0, 256, (30, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", [frames.numpy()], 8.0)
    return pd.DataFrame(
        [{"id": "a", "path": "a.mp4", "frames": 30, "label": "red square", "caption": None, "split": "train"}]
    )


def test_a_video_encoded_in_chunks_gives_the_latents_of_the_whole(autoencoder, manifest, tmp_path):
    workspace = Workspace(tmp_path, Machine(accelerator="cpu"))
    (video,) = encoding.encoded(autoencoder, manifest, CLIPS, workspace, chunk_frames=8)
    whole = autoencoder.encode(to_clip(read_frames(tmp_path / "a.mp4", range(28)), 16)[None])[0].transpose(0, 1)
    assert (video.id, video.label, video.caption, video.split) == ("a", "red square", None, "train")
    torch.testing.assert_close(video.latent, whole, atol=1e-5, rtol=0)


def test_chunks_that_split_a_latent_are_refused(autoencoder, manifest, tmp_path):
    workspace = Workspace(tmp_path, Machine(accelerator="cpu"))
    with pytest.raises(ParamsError, match=r"encode_latents.chunk_frames: expected a multiple of 4, got 10"):
        list(encoding.encoded(autoencoder, manifest, CLIPS, workspace, chunk_frames=10))


def test_decoding_in_chunks_gives_the_frames_of_the_whole(autoencoder):
    latent = torch.randn(4, 19, 2, 2, generator=torch.Generator().manual_seed(0))
    chunks = torch.cat(list(making.decoded(autoencoder, latent)), dim=2)
    torch.testing.assert_close(chunks, autoencoder.decode(latent[None]), atol=1e-5, rtol=0)


def test_samples_take_the_prompts_in_turn_and_no_two_share_a_seed():
    prompts = Prompt("blue circle"), Prompt("red square", "a red square moves up")
    wanted = making.samples_to_make(PARAMS, "perturbed", prompts)
    assert [s.label for s in wanted[:4]] == ["blue circle", "red square"] * 2
    assert [s.prompt for s in wanted[:4]] == ["blue circle", "a red square moves up"] * 2
    assert len({s.seed for s in wanted}) == len(wanted)
    assert {s.frames for s in wanted if s.kind == "long"} == {PARAMS.sample.long_frames}
    assert {s.frames for s in wanted if s.kind == "clip"} == {PARAMS.clips.frames}


def test_a_request_has_latents_for_every_frame():
    wanted = making.samples_to_make(PARAMS, "perturbed", ())
    request = making.as_request(wanted[-1], (), time_factor=4)
    assert request.num_latents * 4 >= wanted[-1].frames > (request.num_latents - 1) * 4
    assert request.prompt is None
