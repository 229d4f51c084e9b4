"""Clips that move, made from a seed, and the project's weights folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvdm.errors import WeightsError
from lvdm.fingerprints import sha256
from lvdm.models.pretrained import NETWORKS, Network, locate
from lvdm.workspace import Workspace

PROJECT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def moving_square(seed: int, frames: int = 16, size: int = 32) -> Tensor:
    """A coloured square that moves on a plain ground: uint8 "t h w 3"."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    video = torch.empty(frames, size, size, 3, dtype=torch.uint8)
    video[:] = torch.randint(0, 120, (3,), generator=generator).byte()
    colour = torch.randint(130, 256, (3,), generator=generator).byte()
    x, y, dx, dy, side = draw(0, size), draw(0, size), draw(1, 4), draw(1, 4), draw(8, 14)
    for t in range(frames):
        rows = [(y + t * dy + i) % size for i in range(side)]
        columns = [(x + t * dx + i) % size for i in range(side)]
        video[t][torch.tensor(rows)[:, None], torch.tensor(columns)] = colour
    return video


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def with_weights(tmp_path: Path) -> Workspace:
    """A workspace with a cache of its own and the two networks that packages ship."""
    try:
        for name in ("tn2", "efflite0"):
            locate(NETWORKS[name], Workspace(PROJECT))
    except WeightsError as error:
        pytest.skip(str(error))
    (tmp_path / "weights").symlink_to(PROJECT / "weights")
    return Workspace(tmp_path)


class TinyDetector(torch.nn.Module):
    """Answers as the I3D of the StyleGAN-V protocol does: 400 numbers from uint8-ranged "b c t h w"."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale and resize and return_features
        wave = torch.arange(1, 401, dtype=torch.float32) / 100
        return (x.mean(dim=(1, 2, 3, 4))[:, None] * wave).sin()


def install_detector(workspace: Workspace, module: torch.nn.Module) -> dict[str, Network]:
    """Puts a torchscript of `module` where I3D belongs; returns the registry of somebody who vouches for its hash."""
    path = workspace.weights / NETWORKS["i3d"].file
    path.parent.mkdir(parents=True, exist_ok=True)
    script_quietly(module, path)
    return {**NETWORKS, "i3d": dataclasses.replace(NETWORKS["i3d"], sha256=sha256(path))}


def script_quietly(module: torch.nn.Module, path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))


class TinyInception(torch.nn.Module):
    """Answers as the Inception of StyleGAN's metrics does: 2048 numbers from uint8 "n c h w"."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        assert x.dtype == torch.uint8 and return_features
        return x.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 2048)


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A CLIP of the true architecture, tiny and untrained, in the files of the true one."""
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": 600, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "eos_token_id": 599, "bos_token_id": 598, "pad_token_id": 599}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision | {"patch_size": 32}, projection_dim=8))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {word: i for i, word in enumerate(words)} | {"<|startoftext|>": 598, "<|endoftext|>": 599}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))
    return tmp_path
