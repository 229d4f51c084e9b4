"""Networks of random weights at the sizes of a params.yaml, and what they are given: nothing has to be trained first.

Neither time nor memory depends on what the weights are, as long as none is zero. Not here: how they are measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor, nn

from lvdm import presets
from lvdm.errors import ParamsError
from lvdm.machine import Machine
from lvdm.models.autoencoder import VideoAutoencoder
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import AutoencoderNetwork, Params, TrainDenoiser, load_params, parse_params
from lvdm.planning.work import without_zeros

TINY_DENOISER = {"channels": 8, "channel_multipliers": [1, 2], "num_blocks": 1, "attention_levels": [1]}
OFFICIAL_FRAMES, OFFICIAL_SIDE = 16, 256  # of a clip of the official code


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that benchmarks of networks share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "sizes: a preset, `tiny` for a CPU, or a params.yaml of yours (default: reference)"
    options.add_argument("--size", default="reference", help=what)
    options.add_argument("--frames", type=int, help="of a clip (default: clips.frames)")
    options.add_argument("--side", type=int, help="of a clip, pixels (default: clips.size)")
    compiling = argparse.BooleanOptionalAction
    options.add_argument("--compile", action=compiling, default=torch.cuda.is_available(), help="torch.compile")
    options.add_argument("--plain", action=compiling, default=True, help="measure the plain path beside it")
    options.add_argument("--profile", action="store_true", help="of this project on a GPU: where the time goes")
    options.add_argument("--seconds", type=float, default=1.0, help="that the repeats of one call fill (default: 1)")
    return options


def params_of(args: argparse.Namespace) -> Params:
    """The parameters that `--size`, `--frames` and `--side` ask for; of the first experiment alone.

    Raises:
        SystemExit: there are none such.
    """
    try:
        return _of_first_experiment(parse_params(_document(args)))
    except ParamsError as error:
        raise SystemExit(str(error)) from None


def _of_first_experiment(params: Params) -> Params:
    """With the first experiment and its autoencoder alone, what they change being changed for all."""
    if not params.experiments:
        raise ParamsError("params.yaml: experiments", expected="one at the least, which is measured")
    experiment = params.experiment(next(iter(params.experiments)))
    autoencoder = experiment.autoencoder
    document = params.model_dump(mode="json", by_alias=True)
    document["train_autoencoder"] = params.autoencoder(autoencoder).model_dump(mode="json")
    document |= experiment.model_dump(mode="json", include={"train_denoiser", "sample"})
    document["autoencoders"] = {autoencoder: {"train_autoencoder": {}}}
    document["experiments"] = {experiment.name: {"autoencoder": autoencoder, "train_denoiser": {}, "sample": {}}}
    return parse_params(document)


def _document(args: argparse.Namespace) -> dict[str, Any]:
    preset = "reference" if args.size == "tiny" else args.size
    if preset in presets.NAMES:
        document: dict[str, Any] = yaml.safe_load(presets.render(preset))
    else:
        document = load_params(Path(preset)).model_dump(mode="json", by_alias=True)
    if args.size == "tiny":
        document["clips"] |= {"frames": 16, "size": 32}
        document["train_autoencoder"]["network"] |= {"channels": [8, 16], "decoder_blocks": 1}
        document["train_denoiser"]["network"] |= TINY_DENOISER | {"head_channels": 8}
    asked = {"frames": args.frames, "size": args.side}
    document["clips"] |= {key: value for key, value in asked.items() if value is not None}
    return document


def machine_of(
    args: argparse.Namespace, devices: int | Literal["auto"] = "auto", strategy: Literal["auto", "ddp"] = "auto"
) -> Machine:
    return Machine(compile=args.compile, devices=devices, strategy=strategy)


def denoiser(train: TrainDenoiser, latent_channels: int) -> Denoiser:
    torch.manual_seed(0)
    return without_zeros(Denoiser(train.network, latent_channels, Vocabulary()))


def autoencoder(config: AutoencoderNetwork) -> VideoAutoencoder:
    torch.manual_seed(0)
    return without_zeros(VideoAutoencoder(config))


def plain(network: Any, device: torch.device) -> Any:
    """The network, in place, as the reference runs its own: in fp32, every convolution channels first in memory."""

    def contiguous(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(contiguous)
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    return network.to(device).eval().requires_grad_(False)


def inputs(latent_shape: tuple[int, ...], batch: int, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Any]:
    """What a denoiser is given: noise of "c t h w", a level a frame, stride 1, and no prompt."""
    c, t, h, w = latent_shape
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch, c, t, h, w, generator=generator, device="cpu").to(device)
    level = torch.rand(batch, t, generator=generator, device="cpu").to(device)
    ones = torch.ones(batch, dtype=torch.int64, device=device)
    return z, level, ones, Condition(0 * ones, Prompts.of_labels(0).to(torch.device(device)))


def clips(params: Params, batch: int, device: torch.device | str) -> Tensor:
    """Noise of the shape of clips."""
    generator, side = torch.Generator().manual_seed(0), params.clips.size
    return torch.randn(batch, 3, params.clips.frames, side, side, generator=generator, device="cpu").to(device)


def latent_shape(params: Params) -> tuple[int, int, int, int]:
    """(c, t, h, w) of the latent of a clip."""
    config = params.train_autoencoder.network
    channels, height, width = config.latent_shape(params.clips.size)
    return channels, params.clips.frames // config.time_factor, height, width


def is_official(params: Params) -> bool:
    """Whether clips have the shape that the official numbers are of."""
    return (params.clips.frames, params.clips.size) == (OFFICIAL_FRAMES, OFFICIAL_SIDE)


def on_meta(build: Callable[[], Any]) -> Any:
    """What `build` makes, as shapes alone."""
    with torch.device("meta"):
        return build()
