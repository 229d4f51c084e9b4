"""Between videos and latents: every latent once, samples asked for by labels in turn and seeds of their own."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lvdm import encoding, making, presets
from lvdm.data.clips import to_clip
from lvdm.data.video import read_frames, write_video
from lvdm.machine import Machine
from lvdm.models.autoencoder import build_autoencoder
from lvdm.params import Clips, load_params, parse_params
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
    return pd.DataFrame([{"id": "a", "path": "a.mp4", "frames": 30, "label": "red square", "split": "train"}])


@pytest.mark.parametrize("chunk_frames", [8, 5, 100])
def test_a_video_encoded_in_chunks_gives_the_latents_of_the_whole(autoencoder, manifest, tmp_path, chunk_frames):
    workspace = Workspace(tmp_path, Machine(accelerator="cpu"))
    (video,) = encoding.encoded(autoencoder, manifest, CLIPS, workspace, chunk_frames)
    whole = autoencoder.encode(to_clip(read_frames(tmp_path / "a.mp4", range(28)), 16)[None])[0].transpose(0, 1)
    assert (video.id, video.label, video.split) == ("a", "red square", "train")
    torch.testing.assert_close(video.latent, whole, atol=1e-5, rtol=0)


def test_decoding_in_chunks_gives_the_frames_of_the_whole(autoencoder):
    latent = torch.randn(4, 19, 2, 2, generator=torch.Generator().manual_seed(0))
    chunks = torch.cat(list(making.decoded(autoencoder, latent)), dim=2)
    torch.testing.assert_close(chunks, autoencoder.decode(latent[None]), atol=1e-5, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest result of an operation has."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            self.numel = max(self.numel, leaf.numel() if isinstance(leaf, torch.Tensor) else 0)
        return result


def test_no_length_of_video_makes_a_tensor_of_more_numbers_than_an_int32_can_index():
    """The released code decodes in one piece, which fails beyond 2^31 numbers. Here: 4,096 frames of 256 x 256 pixels.

    On the device `meta`, which computes shapes alone; chunks after the second are like it.
    """
    network = parse_params(yaml.safe_load(presets.render("sky_timelapse"))).autoencoder("sky_timelapse").network
    autoencoder = build_autoencoder(network).to("meta").eval()
    latent = torch.empty(network.latent_channels, 4096 // network.time_factor, 32, 32, device="meta")
    with LargestTensor() as in_chunks:
        chunks = [*itertools.islice(making.decoded(autoencoder, latent), 2)]
    with LargestTensor() as in_one_piece:
        autoencoder.decode(latent[None])
    assert chunks[0].shape[3:] == chunks[1].shape[3:] == (256, 256)
    assert in_chunks.numel < 2**31 < in_one_piece.numel


def test_samples_take_the_labels_in_turn_and_no_two_share_a_seed():
    wanted = making.samples_to_make(PARAMS, "perturbed", ("blue circle", "red square"))
    assert [s.label for s in wanted[:4]] == ["blue circle", "red square"] * 2
    assert len({s.seed for s in wanted}) == len(wanted)
    assert {s.frames for s in wanted if s.kind == "long"} == {PARAMS.sample.long_frames}
    assert {s.frames for s in wanted if s.kind == "clip"} == {PARAMS.clips.frames}


def test_a_request_has_latents_for_every_frame():
    wanted = making.samples_to_make(PARAMS, "perturbed", ())
    request = making.as_request(wanted[-1], (), time_factor=4)
    assert request.num_latents * 4 >= wanted[-1].frames > (request.num_latents - 1) * 4
    assert request.label is None
