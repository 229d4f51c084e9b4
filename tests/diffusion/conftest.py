"""A tiny real denoiser and its parameters, for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import DenoiserNetwork, Params, TrainDenoiser, load_params

LATENT_SHAPE = (2, 4, 4)
NUM_LABELS = 3
PROMPTS = Prompts.of_labels(NUM_LABELS)


def asked(*labels: int) -> Condition:
    """One window a label; NUM_LABELS is none."""
    return Condition(torch.tensor(labels), PROMPTS)


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(scope="session")
def train(params: Params) -> TrainDenoiser:
    return params.train_denoiser


@pytest.fixture(scope="session")
def network() -> Denoiser:
    """A denoiser of labels whose zero-initialised layers are filled, so that every input reaches the output."""
    return filled({"condition": "label"}, Vocabulary(labels=("a", "b", "c")))


@pytest.fixture(scope="session")
def reading_network() -> Denoiser:
    """The same of texts, with tokens of 6 channels."""
    return filled({"condition": "text", "text": {"encoder": "minilm"}}, Vocabulary(text_encoder="x", token_channels=6))


def filled(condition: dict, vocabulary: Vocabulary) -> Denoiser:
    config = DenoiserNetwork(
        channels=8,
        channel_multipliers=(1,),
        num_blocks=1,
        attention_levels=(0,),
        head_channels=4,
        temporal_convolution=True,
        **condition,
    )
    torch.manual_seed(0)
    denoiser = Denoiser(config, LATENT_SHAPE[0], vocabulary).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in denoiser.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return denoiser
