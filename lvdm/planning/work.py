"""What is tried: the training of either network and the calls of sampling and encoding, on noise of the right shapes.

Not here: how it is measured (trials.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lvdm.data.latents import Entry
from lvdm.evaluation.perceptual import load_perceptual
from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, VideoAutoencoder, build_autoencoder
from lvdm.models.condition import MAX_TOKENS, Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.models.text import find_text_encoder
from lvdm.params import Clips, DenoiserNetwork, TrainAutoencoder, TrainDenoiser
from lvdm.training.autoencoder import AutoencoderTraining, compile_autoencoder
from lvdm.training.denoiser import DenoiserTraining, compile_denoiser
from lvdm.training.task import Batch
from lvdm.workspace import Workspace

LatentShape = tuple[int, int, int]  # c h w
N = TypeVar("N", bound=nn.Module)


@torch.no_grad()
def without_zeros(network: N) -> N:
    """`network` with N(0, 0.02) where it begins as zeros: a GPU multiplies zeros faster than what training makes."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if not parameter.is_meta and not parameter.any():
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return network


class Repeated(Dataset[Batch]):
    """The same example without end."""

    def __init__(self, example: Batch):
        self.example = example

    def __getitem__(self, index: int) -> Batch:
        return self.example


@dataclass(frozen=True)
class AnyPrompt:
    """Every window is asked for the first prompt; of a text all MAX_TOKENS are read."""

    vocabulary: Vocabulary

    def example(self, video: Entry) -> Batch:
        return {}

    def condition(self, batch: Batch) -> Condition:
        rows, device = len(batch["latent"]), batch["latent"].device
        if not self.vocabulary.token_channels:
            prompts = Prompts.of_labels(len(self.vocabulary.labels)).to(device)
            return Condition(torch.zeros(rows, dtype=torch.int64, device=device), prompts)
        tokens = torch.ones(rows + 1, MAX_TOKENS, self.vocabulary.token_channels, device=device)
        mask = torch.ones(rows + 1, MAX_TOKENS, dtype=torch.bool, device=device)
        return Condition(torch.arange(rows, device=device), Prompts(tokens, mask))


def vocabulary(network: DenoiserNetwork, workspace: Workspace) -> Vocabulary:
    """One as large as that of a trained denoiser: how many labels there are costs nothing.

    Raises:
        WeightsError: the text encoder is not there.
    """
    if network.text is None:
        return Vocabulary(labels=("any",) if network.condition == "label" else ())
    said = json.loads((find_text_encoder(network.text, workspace).folder / "config.json").read_text())
    return Vocabulary(
        token_channels=said.get("hidden_size") or said.get("d_model") or said["text_config"]["hidden_size"]
    )


def clip_of(clips: Clips) -> Batch:
    return {"frames": torch.randint(0, 256, (clips.frames, clips.size, clips.size, 3), dtype=torch.uint8)}


def windows(train: TrainDenoiser, latent: LatentShape) -> Batch:
    channels, *sides = latent
    return {"latent": torch.randn(channels, train.window, *sides), "stride": torch.tensor(1)}


def autoencoder_task(params: TrainAutoencoder, workspace: Workspace, batch_size: int) -> AutoencoderTraining:
    """As train_autoencoder makes it, all terms of the loss playing from the start.

    Raises:
        WeightsError: the network of the perceptual term is not there.
    """
    if params.objective.adversarial:
        playing = params.objective.adversarial.model_copy(update={"start": 0})
        params = params.model_copy(update={"objective": params.objective.model_copy(update={"adversarial": playing})})
    training = params.training.model_copy(update={"batch_size": batch_size})
    params, network = params.model_copy(update={"training": training}), without_zeros(build_autoencoder(params.network))
    assert isinstance(network, VideoAutoencoder)
    if workspace.machine.compile:
        compile_autoencoder(network, params.objective, _alone(workspace))
    term = params.objective.perceptual
    return AutoencoderTraining(network, params, load_perceptual(term.network, workspace) if term else None)


def denoiser_task(
    params: TrainDenoiser, latent: LatentShape, workspace: Workspace, batch_size: int
) -> DenoiserTraining:
    """As train_denoiser makes it.

    Raises:
        WeightsError: the text encoder is not there.
    """
    training = params.training.model_copy(update={"batch_size": batch_size})
    known = vocabulary(params.network, workspace)
    network = without_zeros(Denoiser(params.network, latent[0], known))
    if workspace.machine.compile:
        compile_denoiser(network, _alone(workspace))
    return DenoiserTraining(network, params.model_copy(update={"training": training}), AnyPrompt(known))


def _alone(workspace: Workspace) -> Machine:
    """With one device, as trials.py trains."""
    return workspace.machine.model_copy(update={"devices": 1})


def denoising(
    network: Denoiser, train: TrainDenoiser, latent: LatentShape, batch: int, workspace: Workspace
) -> Callable[[], Tensor]:
    """One pass of a ready denoiser over `batch` windows."""
    device = next(network.parameters()).device
    z = windows(train, latent)["latent"].expand(batch, -1, -1, -1, -1).to(device)
    level, stride = (
        torch.full((batch, train.window), 0.5, device=device),
        torch.ones(batch, dtype=torch.int64, device=device),
    )
    condition = AnyPrompt(vocabulary(train.network, workspace)).condition({"latent": z})

    @torch.inference_mode()
    def run() -> Tensor:
        with workspace.machine.autocast():
            return network(z, level, stride, condition)

    return run


def decoding(
    autoencoder: Autoencoder, latent: LatentShape, num_latents: int, workspace: Workspace
) -> Callable[[], Tensor]:
    """One chunk of latents to a clip."""
    channels, *sides = latent
    z = torch.randn(1, channels, num_latents, *sides).to(autoencoder.latent_mean.device)

    @torch.inference_mode()
    def run() -> Tensor:
        with workspace.machine.autocast():
            return autoencoder.decode(z)

    return run


def encoding(autoencoder: Autoencoder, side: int, frames: int, workspace: Workspace) -> Callable[[], Tensor]:
    """One chunk of a video to latents, as many of its frames as fill some."""
    whole = max(1, frames // autoencoder.config.time_factor) * autoencoder.config.time_factor
    clip = torch.rand(1, 3, whole, side, side).to(autoencoder.latent_mean.device) * 2 - 1

    @torch.inference_mode()
    def run() -> Tensor:
        with workspace.machine.autocast():
            return autoencoder.encode(clip)

    return run
