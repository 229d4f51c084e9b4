"""Videos to latents, each once: only what changed is encoded again, nothing stale is read, nothing killed is lost."""

from __future__ import annotations

import logging
import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from lvdm import encoding
from lvdm.caching import cache_latents
from lvdm.data.frames import as_clip, squared
from lvdm.data.latents import LatentCache
from lvdm.data.manifest import SCHEMA, as_manifest, write_manifest
from lvdm.data.video import checksum, read_frames, write_video
from lvdm.errors import ArtefactError
from lvdm.freshness import check_current
from lvdm.machine import Machine
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.checkpoint import AutoencoderRecord, load_autoencoder, save_autoencoder
from lvdm.params import Params, parse_params
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
FRAMES = (9, 30, 12, 17, 3, 8)  # of the videos; a latent stands for four, of every second one


def params(**settings: Any) -> Params:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clips"] |= {"frames": 8, "size": 16, "stride": 2}
    document["train_autoencoder"]["network"]["channels"] = [8]
    document["encode_latents"] |= {"chunk_frames": 8} | settings
    return parse_params(document)


def write_weights(workspace: Workspace, seed: int) -> None:
    settings = params().autoencoder("small")
    torch.manual_seed(seed)
    network = build_autoencoder(settings.network)
    for parameter in network.parameters():  # some begin at zero, where a video makes no difference
        torch.nn.init.normal_(parameter, std=0.2)
    workspace.autoencoder("small").mkdir(parents=True, exist_ok=True)
    save_autoencoder(workspace.autoencoder("small"), network, AutoencoderRecord(settings, {"examples_a_step": 16}))


def write_videos(workspace: Workspace, *seeds: int, **columns: Any) -> None:
    """The validated videos are those of these seeds; `columns` says what else of all of them."""
    rows = []
    for seed in seeds:
        path, frames = workspace.root / f"{seed}.mp4", FRAMES[seed % len(FRAMES)]
        if not path.exists():
            pixels = np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 3), np.uint8)
            write_video(path, [pixels], 8.0)
        split = "test" if seed == 1 else "train"
        row = {"id": path.name, "path": path.name, "frames": frames, "split": split, "checksum": checksum(path)}
        rows.append(row | columns)
    write_manifest(as_manifest(pa.Table.from_pylist(rows, schema=SCHEMA)), workspace.validated)


def project(root: Path, *seeds: int, devices: int = 1) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "machine.yaml").write_text(yaml.safe_dump({"accelerator": "cpu", "devices": devices}))
    workspace = Workspace.at(root)
    write_weights(workspace, 0)
    write_videos(workspace, *seeds)
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project of which everything is encoded."""
    workspace = project(tmp_path / "project", *range(6))
    cache_latents(params(), workspace, "small")
    return workspace


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def encoded_now(workspace: Workspace, caplog: pytest.LogCaptureFixture, **settings: Any) -> int:
    """How many videos a run encodes."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "lvdm.caching"):
        cache_latents(params(**settings), workspace, "small")
    return sum(int(record.args[1]) for record in caplog.records if record.name == "lvdm.caching")


@pytest.mark.parametrize("chunk_frames", [4, 5, 100])
def test_the_latents_of_a_video_are_those_of_the_whole_in_chunks_of_any_size(tmp_path, chunk_frames):
    workspace = project(tmp_path, *range(6))
    cache = cache_latents(params(chunk_frames=chunk_frames), workspace, "small")
    autoencoder = load_autoencoder(workspace.autoencoder("small"))
    assert list(cache.videos.lengths) == [1, 3, 1, 2, 0, 1]
    for video in cache.split("train"):
        whole = torch.empty(0)
        if video.length:
            frames = squared(read_frames(tmp_path / video.id, range(0, video.length * 8, 2)), 16)
            whole = autoencoder.encode(as_clip(frames)[None])[0].transpose(0, 1)
        torch.testing.assert_close(cache.read(video).flatten(), whole.flatten(), atol=1e-5, rtol=0)


def test_only_what_changed_is_encoded_again_and_the_bytes_are_those_of_a_run_from_nothing(tmp_path, workspace, caplog):
    of_one = files(workspace.latents("small"))
    assert encoded_now(workspace, caplog) == 0
    shutil.rmtree(workspace.latents("small"))  # as DVC does before it runs a stage
    assert encoded_now(workspace, caplog) == 0
    assert files(workspace.latents("small")) == of_one

    write_videos(workspace, *range(6), 7, 8)  # two more
    assert encoded_now(workspace, caplog) == 2
    anew = project(tmp_path / "anew", *range(6), 7, 8)
    cache_latents(params(), anew, "small")
    assert files(workspace.latents("small")) == files(anew.latents("small"))

    write_videos(workspace, *range(6), label="walk")  # two gone, all named otherwise
    assert encoded_now(workspace, caplog) == 0
    assert LatentCache(workspace.latents("small")).labels == ("walk",)

    shutil.copy(workspace.root / "8.mp4", workspace.root / "0.mp4")  # another content under the same name
    write_videos(workspace, *range(6))
    assert encoded_now(workspace, caplog) == 1

    assert encoded_now(workspace, caplog, shard_megabytes=3) == 0
    assert encoded_now(workspace, caplog, flip=True) == 4  # of the five with a latent one is of split test
    assert encoded_now(workspace, caplog, flip=False) == 0


@pytest.mark.parametrize("what", ["autoencoder", "chunk_frames", "code"])
def test_what_decides_all_latents_encodes_them_all_again(workspace, caplog, monkeypatch, tmp_path, what):
    if what == "autoencoder":
        write_weights(workspace, seed=1)
    if what == "code":
        shutil.copytree(ROOT / "lvdm", tmp_path / "copy")
        (tmp_path / "copy/models/layers.py").write_text("# changed\n")
        monkeypatch.setattr(encoding, "PACKAGE", tmp_path / "copy")
    settings = {"chunk_frames": 4} if what == "chunk_frames" else {}
    with pytest.raises(ArtefactError, match=rf"latents/small: stale: {what} changed since; run `lvdm encode_latents`"):
        check_current(LatentCache(workspace.latents("small")), params(**settings), workspace, "small")
    assert encoded_now(workspace, caplog, **settings) == 5
    check_current(LatentCache(workspace.latents("small")), params(**settings), workspace, "small")


def test_latents_of_another_arithmetic_are_of_another_recipe(tmp_path):
    exact, rough = (
        encoding.recipe(params(), Workspace(tmp_path, Machine(accelerator="cpu", precision=precision)), "small")
        for precision in ("32-true", "bf16-mixed")
    )
    assert exact.items() ^ rough.items() == {("arithmetic", "float32"), ("arithmetic", "bfloat16")}


def test_training_refuses_a_cache_of_other_videos_and_takes_one_without_videos_at_hand(workspace):
    cache = LatentCache(workspace.latents("small"))
    check_current(cache, params(), workspace, "small")
    write_videos(workspace, 1, 2, 3, 4, 5, 7)
    with pytest.raises(ArtefactError, match="stale: 2 videos changed since; run `lvdm encode_latents` again"):
        check_current(cache, params(), workspace, "small")
    workspace.validated.unlink()
    shutil.rmtree(workspace.autoencoder("small"))
    check_current(cache, params(), workspace, "small")


def test_a_video_that_is_not_the_one_of_the_manifest_is_refused(tmp_path):
    workspace = project(tmp_path, 0, 1, 2)
    shutil.copy(tmp_path / "1.mp4", tmp_path / "2.mp4")
    with pytest.raises(ArtefactError, match=r"2\.mp4: changed since it was ingested.*; run `lvdm ingest` again"):
        cache_latents(params(), workspace, "small")
    assert not workspace.latents("small").exists()
    assert len(list(workspace.latent_store("small").glob("*.partial"))) == 1  # what was encoded is kept


def test_the_latents_of_a_mirrored_video_are_encoded_and_are_not_latents_mirrored(workspace):
    cache = cache_latents(params(flip=True), workspace, "small")
    autoencoder, (video, *_) = load_autoencoder(workspace.autoencoder("small")), cache.split("train")
    frames = read_frames(workspace.root / video.id, range(0, video.length * 8, 2))[:, :, ::-1]
    whole = autoencoder.encode(as_clip(squared(frames.copy(), 16))[None])[0].transpose(0, 1)
    torch.testing.assert_close(cache.read(video, mirrored=True), whole, atol=1e-5, rtol=0)
    assert not torch.allclose(cache.read(video).flip(-1), whole, atol=1e-2)
    assert cache.split("test")[0].mirrored_place is None


def test_cache_and_store_take_the_space_of_one(workspace):
    shards = list(workspace.latents("small").glob("*.npy"))
    stored = list(workspace.latent_store("small").glob("*/latents.npy"))
    assert [path.stat().st_ino for path in shards] == [path.stat().st_ino for path in stored]
    write_weights(workspace, seed=1)
    cache_latents(params(), workspace, "small")
    assert len(list(workspace.latent_store("small").iterdir())) == 1  # the stale shard is gone


def test_a_latent_that_was_damaged_in_the_store_is_encoded_again_and_no_other(workspace, caplog):
    before = files(workspace.latents("small"))
    (stored,) = workspace.latent_store("small").glob("*/latents.npy")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    assert encoded_now(workspace, caplog) == 1
    assert files(workspace.latents("small")) == before


def test_killed_while_it_removes_a_stale_shard_it_goes_on_to_the_new_latents_and_back_to_the_old(
    workspace, monkeypatch
):
    def killed_after_a_file(folder: Path, **_: Any) -> None:
        if folder.exists():
            (folder / "latents.npy").unlink()
            raise KeyboardInterrupt

    before = files(workspace.latents("small"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed_after_a_file)
        cache_latents(params(chunk_frames=4), workspace, "small")
    cache_latents(params(chunk_frames=4), workspace, "small")
    assert LatentCache(workspace.latents("small")).recipe["chunk_frames"] == 4
    cache_latents(params(), workspace, "small")
    assert files(workspace.latents("small")) == before


def encode(root: Path) -> None:
    torch.set_num_threads(1)
    cache_latents(params(), Workspace.at(root), "small")


def test_killed_at_random_moments_and_on_other_numbers_of_processes_it_ends_with_the_same_bytes(tmp_path):
    many = range(40)
    whole, killed = project(tmp_path / "whole", *many), project(tmp_path / "killed", *many)
    encode(whole.root)
    moments, kills = random.Random(0), 0
    context = multiprocessing.get_context("forkserver")  # a real process a run, without importing torch each time
    context.set_forkserver_preload(["lvdm.caching"])
    for _ in range(30):
        process = context.Process(target=encode, args=(killed.root,))
        process.start()
        process.join(moments.uniform(0.05, 0.25) if kills < 6 else None)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), "a run after a kill failed"
        kills += process.exitcode == -signal.SIGKILL
        if killed.latents("small").exists():
            break
    assert kills >= 2
    assert files(killed.latents("small")) == files(whole.latents("small"))

    shared = project(tmp_path / "shared", *many, devices=2)
    process = context.Process(target=encode, args=(shared.root,))
    process.start()
    while process.is_alive() and not encoded_of(shared):
        time.sleep(0.01)
    process.kill()  # its own two processes end with it
    process.join()
    encode(shared.root)
    assert files(shared.latents("small")) == files(whole.latents("small"))


def encoded_of(workspace: Workspace) -> int:
    """How many videos the store holds."""
    tables = workspace.latent_store("small").glob("[!.]*/items.npy")  # others are being written
    return sum(int((np.load(table)["sha256"] != b"").sum()) for table in tables)
