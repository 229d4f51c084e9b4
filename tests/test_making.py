"""From latents to videos: samples asked for by labels in turn and with seeds of their own.

And the making of them whole: killed, on several devices, and of thousands of frames, the same bytes come out.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.long_video import write_untrained
from lvdm import making, presets
from lvdm.data.inspection import probe
from lvdm.data.samples import VideoSample, gather_samples
from lvdm.diffusion.sampling import VideoRequest
from lvdm.errors import ArtefactError
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.checkpoint import AutoencoderRecord, load_autoencoder, save_autoencoder
from lvdm.models.condition import Prompt
from lvdm.params import Clips, load_params, parse_params
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
PARAMS = load_params(ROOT / "params.yaml")
PROMPTS = (Prompt("red square"), Prompt("blue circle"))
CLIPS = Clips(frames=8, size=16, stride=1)


@pytest.fixture
def autoencoder():
    network = PARAMS.autoencoder("small").network.model_copy(update={"channels": (8, 8, 8)})
    torch.manual_seed(0)
    return build_autoencoder(network).eval().requires_grad_(False)


def test_decoding_in_chunks_gives_the_frames_of_the_whole(autoencoder):
    latent = torch.randn(4, 19, 2, 2, generator=torch.Generator().manual_seed(0))
    chunks = torch.cat(list(making.decoded(autoencoder.requires_grad_(), latent)), dim=2)
    assert not chunks.requires_grad  # or the graph of a long video would grow with it
    torch.testing.assert_close(chunks, autoencoder.decode(latent[None]), atol=1e-5, rtol=0)


def test_the_last_chunk_is_decoded_at_the_size_of_the_others(autoencoder, monkeypatch):
    """One size is compiled once; and a video of few latents is one chunk of its own size."""
    sizes, decode = [], autoencoder.decode
    monkeypatch.setattr(
        autoencoder, "decode", lambda latent, state: sizes.append(latent.shape[2]) or decode(latent, state)
    )
    for length in (19, 5):
        frames = sum(chunk.shape[2] for chunk in making.decoded(autoencoder, torch.zeros(4, length, 2, 2)))
        assert frames == length * autoencoder.config.time_factor
    assert sizes == [8, 8, 8, 5]


def test_decoding_holds_its_arithmetic_for_its_own_work_alone(autoencoder):
    latent = torch.randn(4, 9, 2, 2, generator=torch.Generator().manual_seed(0))
    frames = making.decoded(autoencoder, latent, lambda: torch.autocast("cpu", torch.bfloat16))
    assert next(frames).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    assert len(list(frames)) == 1


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


def test_latents_are_scaled_by_what_was_measured_and_stored_with_the_weights(autoencoder, tmp_path):
    """The released code has scales typed by hand."""
    clips = [torch.rand(1, 3, 8, 16, 16, generator=torch.Generator().manual_seed(i)) * i - 1 for i in range(1, 4)]
    autoencoder.measure_latents(clips)
    params = PARAMS.autoencoder("small").model_copy(update={"network": autoencoder.config})
    save_autoencoder(tmp_path, autoencoder, AutoencoderRecord(params, {"examples_a_step": 16, "arithmetic": "float32"}))
    again = load_autoencoder(tmp_path)
    latents = torch.cat([again.encode(clip) for clip in clips])
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3, 4), correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_samples_take_the_prompts_in_turn_and_no_two_share_a_seed():
    prompts = Prompt("blue circle"), Prompt("red square", "a red square moves up")
    wanted = making.samples_to_make(PARAMS, "perturbed", prompts)
    assert [s.label for s in wanted[:4]] == ["blue circle", "red square"] * 2
    assert [s.prompt for s in wanted[:4]] == ["blue circle", "a red square moves up"] * 2
    assert len({s.seed for s in wanted}) == len(wanted)
    next_seed = PARAMS.model_copy(update={"sample": PARAMS.sample.model_copy(update={"seed": PARAMS.sample.seed + 1})})
    assert not {s.seed for s in wanted} & {s.seed for s in making.samples_to_make(next_seed, "perturbed", prompts)}
    assert {s.frames for s in wanted if s.kind == "long"} == {PARAMS.sample.long_frames}
    assert {s.frames for s in wanted if s.kind == "clip"} == {PARAMS.clips.frames}


def test_a_request_has_latents_for_every_frame():
    for frames, num_latents in ((1, 1), (15, 4), (16, 4), (17, 5), (1023, 256)):
        request = making.as_request(VideoSample("long", 0, frames, seed=3, label=None), (), time_factor=4)
        assert request == VideoRequest(seed=3, prompt=None, num_latents=num_latents)


def tiny() -> dict[str, Any]:
    """The committed params.yaml with tiny networks on tiny clips."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clips"] |= {"frames": 8, "size": 16}
    document["evaluate"]["num_clips"] = 2
    document["train_autoencoder"]["network"]["channels"] = [8]
    network = {"channels": 8, "channel_multipliers": [1], "attention_levels": [0], "head_channels": 4}
    document["train_denoiser"]["network"] |= network
    return document


def project(root: Path, devices: int = 1, **sample: Any) -> Path:
    """A folder with such networks, untrained, where three clips and two long videos are wanted."""
    document = tiny()
    wanted = {"steps": 2, "num_clips": 3, "num_long_videos": 2, "long_frames": 130, "batch_size": 4}
    document["sample"] |= wanted | sample
    write_untrained(root, document, "perturbed", {"accelerator": "cpu", "devices": devices})
    return root


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        (
            "clips",
            {"size": 32},
            r"latents of \(c, h, w\): expected \(4, 2, 2\), as in training, got \(4, 4, 4\); set clips",
        ),
        (
            "sample",
            {"overlap": 4},
            "as it was trained: expected sample.overlap of at most 3, .*, not 4; change sample, or",
        ),
    ],
)
def test_what_a_denoiser_was_not_trained_for_is_not_sampled_from_it(tmp_path, section, changes, says):
    root = project(tmp_path)
    document = yaml.safe_load((root / "params.yaml").read_text())
    document["train_denoiser"]["objective"]["max_given"] = 4  # since the training
    document[section] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ArtefactError, match=f"the denoiser of perturbed.*{says}"):
        make(root)


def test_beside_samples_stands_how_and_by_what_they_were_made(tmp_path):
    root = project(tmp_path, scheme="autoregressive", refine_strength=1.0)
    params, workspace = load_params(root / "params.yaml"), Workspace.at(root)
    said = making.made_with(params, workspace, "perturbed")
    assert (said["long_latents"], said["time_factor"]) == (33, 4)  # 130 frames
    assert said["joins"] == [5, 9, 13, 17, 21, 25, 29]
    assert said["sample"]["scheme"] == "autoregressive"
    assert said["ema_decay"] == params.train_denoiser.training.ema_decay
    (workspace.denoiser("perturbed") / "model.safetensors").write_bytes(b"other")
    other = making.made_with(params, workspace, "perturbed")
    assert [key for key in said if said[key] != other[key]] == ["denoiser"]


def make(root: Path) -> None:
    """What the stage does, up to the sample set."""
    torch.set_num_threads(1)
    params, workspace = load_params(root / "params.yaml"), Workspace.at(root)
    wanted = making.samples_to_make(params, "perturbed", PROMPTS)
    making.make_samples(wanted, params, workspace, "perturbed", root / "scratch")
    shutil.rmtree(root / "set.new", ignore_errors=True)  # of a run that was killed while it gathered
    (root / "set.new").mkdir()
    gather_samples(root / "set.new", making.made_below(root / "scratch"), wanted)
    (root / "set.new").rename(root / "set")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made_whole(tmp_path_factory) -> dict[str, bytes]:
    """The sample set of a run that nothing befell."""
    root = project(tmp_path_factory.mktemp("whole"))
    make(root)
    made = files(root / "set")
    videos = [f"{folder}/000{i}.mp4" for folder, count in (("clips", 3), ("long", 2)) for i in range(count)]
    assert sorted(made) == sorted([*videos, "clips.safetensors", "index.json", "made_with.json"])
    return made


def test_sampling_killed_at_random_moments_ends_with_the_same_bytes(tmp_path, made_whole):
    root, moments, kills = project(tmp_path), random.Random(0), 0
    context = multiprocessing.get_context("forkserver")  # a real process a run, without importing torch each time
    context.set_forkserver_preload(["lvdm.making"])

    def num_files() -> int:
        return sum(1 for _ in (root / "scratch").rglob("*"))

    while not (root / "set").exists():
        before = num_files()
        process = context.Process(target=make, args=(root,))
        process.start()
        wanted, late = before + moments.randint(1, 3), moments.uniform(0, 0.02)
        while process.is_alive() and num_files() < wanted:
            time.sleep(0.002)
        time.sleep(late)
        if kills < 8:
            process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), "a run after a kill failed"
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 4
    assert files(root / "set") == made_whole


def test_two_devices_make_the_bytes_of_one_and_when_one_process_dies_all_end_and_the_next_run_goes_on(
    tmp_path, made_whole
):
    root = project(tmp_path, devices=2)

    def kill_one_at_work() -> None:
        deadline = time.monotonic() + 120
        while not list((root / "scratch").rglob("*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(max(child.pid for child in multiprocessing.active_children()), signal.SIGKILL)

    threading.Thread(target=kill_one_at_work).start()
    with pytest.raises(
        ArtefactError, match=r"^sampling: process [12] of 2, on cpu: exit code -9; run this again: it goes"
    ):
        make(root)
    assert multiprocessing.active_children() == []
    begun = {path: path.stat().st_mtime_ns for path in (root / "scratch").rglob("*.safetensors")}
    make(root)
    assert files(root / "set") == made_whole
    assert begun
    assert all(path.stat().st_mtime_ns == at for path, at in begun.items() if path.exists())


def test_what_a_person_can_mend_comes_back_from_the_processes_as_it_is(tmp_path):
    root = project(tmp_path, devices=2)
    (root / "artifacts/denoiser/perturbed/model.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"model\.safetensors: not there"):
        make(root)


def test_4096_frames_go_from_noise_to_the_mp4_and_say_how_far_they_are(tmp_path, caplog):
    caplog.set_level("INFO", "lvdm.progress")
    root = project(tmp_path, num_clips=2, num_long_videos=1, long_frames=4096, steps=1, batch_size=64)
    make(root)
    assert probe(root / "set/long/0000.mp4").frames == 4096
    *sampling, last = [said for said in caplog.messages if said.startswith("sampling: batch ")]
    decoding = [said for said in caplog.messages if said.startswith("decoding: chunk ")]
    assert decoding == [f"decoding: chunk {done} of 130" for done in range(13, 131, 13)], "32 frames each"
    assert len(sampling) < 10 and len(set(last.split()[2::2])) == 1
    assert caplog.messages.index(last) < caplog.messages.index(decoding[0]), "it is said when it is so"
    shutil.rmtree(root / "set")
    make(root)
    assert caplog.messages[-1] == decoding[-1], "nothing is left to decode"
