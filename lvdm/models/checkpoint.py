"""Trained networks on disk: a folder with model.safetensors and params.json, which holds what rebuilds the network.

A denoiser with a separate interpolator has interpolator.safetensors beside them.

Not here: the state of a run that trains (lvdm/training), and atomic folders (lvdm/workspace).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lvdm.errors import ArtefactError
from lvdm.fingerprints import fingerprint
from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, build_autoencoder
from lvdm.models.condition import Prompt, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import TrainAutoencoder, TrainDenoiser, Training
from lvdm.section import parse
from lvdm.workspace import need, write_json

WEIGHTS, INTERPOLATOR, PARAMS = "model.safetensors", "interpolator.safetensors", "params.json"
AUTOENCODER_KEYS = {"train_autoencoder", "trained_with"}
DENOISER_KEYS = {"train_denoiser", "latent_shape", "vocabulary", "prompts", "autoencoder", "trained_with"}
TrainedWith = dict[str, int | str]  # what the machine adds to the parameters: see `trained_with`


@dataclass(frozen=True)
class AutoencoderRecord:
    """What one has to know of an autoencoder, besides its weights."""

    params: TrainAutoencoder
    trained_with: TrainedWith


@dataclass(frozen=True)
class DenoiserRecord:
    """What one has to know to sample with a denoiser, besides its weights."""

    params: TrainDenoiser  # its objective (schedule, prediction), window and strides too
    latent_shape: tuple[int, int, int]  # c h w
    vocabulary: Vocabulary
    prompts: tuple[Prompt, ...]  # what samples are asked for, in turn
    autoencoder: str  # the fingerprint of the one whose latents it makes
    trained_with: TrainedWith

    def check_autoencoder(self, folder: Path) -> None:
        """Refuses an autoencoder other than the one whose latents the denoiser makes.

        Raises:
            ArtefactError: the autoencoder of `folder` is missing or not the one whose latents the denoiser makes.
        """
        if (got := fingerprint(files=[need(folder, f"train_autoencoder {folder.name}")])) != self.autoencoder:
            raise ArtefactError(
                f"{folder}: not the autoencoder that the denoiser was trained with",
                expected=self.autoencoder,
                got=got,
                remedy="run `lvdm encode_latents` and `lvdm train_denoiser` again",
            )


@dataclass(frozen=True)
class TrainedDenoiser(DenoiserRecord):
    """A denoiser whole."""

    network: Denoiser
    interpolator: Denoiser | None = None  # fills the gaps; without one, `network` does


def trained_with(training: Training, machine: Machine) -> TrainedWith:
    """What a training on `machine` ends with depends on, besides parameters and data and but for rounding."""
    return {"examples_a_step": training.examples_a_step(len(machine.shared_devices)), "arithmetic": machine.arithmetic}


def save_autoencoder(folder: Path, autoencoder: Autoencoder, record: AutoencoderRecord) -> None:
    """Writes an autoencoder, its whitening included, into the existing `folder`."""
    document = {"train_autoencoder": record.params.model_dump(mode="json"), "trained_with": record.trained_with}
    _save(folder, autoencoder, document)


def read_autoencoder_record(folder: Path) -> AutoencoderRecord:
    """What is on record of the autoencoder of `folder`, without its weights.

    Raises:
        ArtefactError: the record is missing or not one of an autoencoder.
    """
    path = folder / PARAMS
    document = _document(path, f"train_autoencoder {folder.name}", AUTOENCODER_KEYS)
    params = parse(TrainAutoencoder, document["train_autoencoder"], file=str(path))
    return AutoencoderRecord(params, document["trained_with"])


def load_autoencoder(folder: Path) -> Autoencoder:
    """The autoencoder of `folder`, for inference.

    Raises:
        ArtefactError: files are missing, unreadable, or not of one autoencoder.
    """
    empty = build_autoencoder(read_autoencoder_record(folder).params.network)
    return _with_weights(empty, folder / WEIGHTS, f"train_autoencoder {folder.name}")


def save_denoiser(folder: Path, trained: TrainedDenoiser) -> None:
    """Writes a denoiser into the existing `folder`."""
    document = {
        "train_denoiser": trained.params.model_dump(mode="json"),
        "latent_shape": trained.latent_shape,
        "vocabulary": asdict(trained.vocabulary),
        "prompts": [asdict(prompt) for prompt in trained.prompts],
        "autoencoder": trained.autoencoder,
        "trained_with": trained.trained_with,
    }
    _save(folder, trained.network, document)
    if trained.interpolator is not None:
        _save_weights(folder / INTERPOLATOR, trained.interpolator)


def read_denoiser_record(folder: Path) -> DenoiserRecord:
    """What is on record of the denoiser of `folder`: at once, where its weights may take a minute to load.

    Raises:
        ArtefactError: the record is missing or not one of a denoiser.
    """
    path = folder / PARAMS
    document = _document(path, f"train_denoiser {folder.name}", DENOISER_KEYS)
    params = parse(TrainDenoiser, document["train_denoiser"], file=str(path))
    channels, height, width = document["latent_shape"]
    said = document["vocabulary"]
    vocabulary = Vocabulary(tuple(said["labels"]), said["text_encoder"], said["token_channels"])
    prompts = tuple(Prompt(**prompt) for prompt in document["prompts"])
    shape = channels, height, width
    return DenoiserRecord(params, shape, vocabulary, prompts, document["autoencoder"], document["trained_with"])


def load_denoiser(folder: Path) -> TrainedDenoiser:
    """The denoiser of `folder`, for inference.

    Raises:
        ArtefactError: files are missing, unreadable, or not of one denoiser.
    """
    record = read_denoiser_record(folder)

    def network(file: str) -> Denoiser:
        empty = Denoiser(record.params.network, record.latent_shape[0], record.vocabulary)
        return _with_weights(empty, folder / file, f"train_denoiser {folder.name}")

    interpolator = network(INTERPOLATOR) if record.params.separate_interpolator else None
    return TrainedDenoiser(**vars(record), network=network(WEIGHTS), interpolator=interpolator)


def _save(folder: Path, network: nn.Module, document: dict[str, Any]) -> None:
    _save_weights(folder / WEIGHTS, network)
    write_json(folder / PARAMS, document)


def _save_weights(path: Path, network: nn.Module) -> None:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


def _document(path: Path, run: str, keys: set[str]) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtefactError(f"{path}: not there", remedy=f"run `lvdm {run}` first") from None
    except ValueError as error:
        raise ArtefactError(f"{path} is not JSON", got=str(error), remedy=f"run `lvdm {run}` again") from None
    found = set(document) if isinstance(document, dict) else set()
    if found != keys:
        remedy = f"it is of an earlier version: run `lvdm {run}` again"
        raise ArtefactError(str(path), expected=f"the keys {sorted(keys)}", got=sorted(found), remedy=remedy)
    return document


N = TypeVar("N", bound=nn.Module)


def _with_weights(network: N, path: Path, run: str) -> N:
    again = f"run `lvdm {run}` again"
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: not there", remedy=again) from None
    except SafetensorError as error:
        raise ArtefactError(f"{path} is damaged", got=str(error), remedy=again) from None
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ArtefactError(
                f"{path}: tensor {name}",
                expected=str(expected.get(name, "none of that name")),
                got=found.get(name, "nothing"),
                remedy=f"the weights are of an earlier version, or of another network than params.json says: {again}",
            )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
