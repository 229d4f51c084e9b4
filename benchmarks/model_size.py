"""`python -m benchmarks.model_size`: parameters and multiply-adds of a preset beside those of the official code.

Nothing is computed: the networks are built on torch's meta device and their operations counted. The official numbers
come from its published configuration (configs/lvdm_short/sky.yaml, configs/videoae/sky.yaml), layer by layer for the
denoiser, so that the difference can be followed; those of its autoencoder are totals.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lvdm import presets
from lvdm.models.attention import SelfAttention
from lvdm.models.autoencoder import VideoAutoencoder
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser, FrameEmbedding, SpatialBlock, TemporalConvolution
from lvdm.params import AutoencoderNetwork, DenoiserNetwork, parse_params

LATENT = (4, 4, 32, 32)  # c t h w of 16x256x256
KINDS = ("convolution in space", "convolution in time", "attention", "condition", "resampling, first, last")
OFFICIAL_AUTOENCODER = {"encoder": (7.46, 95), "decoder": (11.99, 1372)}  # millions of parameters, GMAC


@dataclass(frozen=True)
class Size:
    """Parameters, and multiply-adds of one forward pass."""

    parameters: int
    macs: int

    def __add__(self, other: Size) -> Size:
        return Size(self.parameters + other.parameters, self.macs + other.macs)


def official_denoiser() -> dict[str, Size]:
    """The official UNet by kind of layer: 256 channels x [1, 2, 3, 4], 3 blocks a level, one skip a block."""
    sizes: dict[str, Size] = dict.fromkeys(KINDS, Size(0, 0))
    for kind, size in _official_layers():
        sizes[kind] += size
    return sizes


def _official_layers() -> Iterator[tuple[str, Size]]:
    channels, frames, widths, embedding = LATENT[0], LATENT[1], (256, 512, 768, 1024), 1024
    space, time, attends, condition, other = KINDS[0], KINDS[1], KINDS[2], KINDS[3], KINDS[4]
    yield time, Size(0, 0)

    def convolution(inputs: int, outputs: int, side: int, kernel: int = 9) -> Size:
        return Size(kernel * inputs * outputs + outputs, kernel * inputs * outputs * frames * side**2)

    def block(inputs: int, outputs: int, side: int) -> Iterator[tuple[str, Size]]:
        yield space, convolution(inputs, outputs, side) + Size(2 * (inputs + outputs), 0)
        yield space, convolution(outputs, outputs, side)
        if inputs != outputs:
            yield space, convolution(inputs, outputs, side, kernel=1)
        yield condition, Size((embedding + 1) * 2 * outputs, embedding * 2 * outputs)
        if side == LATENT[2]:
            return
        positions = side**2
        projections = convolution(outputs, 3 * outputs, side, 1) + convolution(outputs, outputs, side, 1)
        relative = 2 * (2 * frames + 1) * (outputs // 4)
        yield attends, projections + Size(2 * outputs, 2 * frames * positions**2 * outputs)
        yield attends, projections + Size(2 * outputs + relative, 4 * positions * frames**2 * outputs)

    yield other, convolution(channels, widths[0], LATENT[2])
    yield condition, Size((widths[0] + 1) * embedding + (embedding + 1) * embedding, 0)
    skips, width, side = [widths[0]], widths[0], LATENT[2]
    for level, wide in enumerate(widths):
        for _ in range(3):
            yield from block(width, wide, side)
            skips.append(width := wide)
        if level < 3:
            side //= 2
            yield other, convolution(width, width, side)
            skips.append(width)
    yield from block(width, width, side)
    yield space, convolution(width, width, side) + Size(4 * width, 0)
    yield space, convolution(width, width, side)
    yield condition, Size((embedding + 1) * 2 * width, embedding * 2 * width)
    for level, wide in reversed(list(enumerate(widths))):
        for _ in range(4):
            yield from block(width + skips.pop(), wide, side)
            width = wide
        if level > 0:
            side *= 2
            yield other, convolution(width, width, side)
    yield other, convolution(width, channels, side) + Size(2 * width, 0)


def denoiser(config: DenoiserNetwork) -> dict[str, Size]:
    """The denoiser of `config` by kind of layer, unconditional, on the latents of 16x256x256."""
    with torch.device("meta"):
        network = Denoiser(config, LATENT[0], Vocabulary())
        latent, level, index = torch.zeros(1, *LATENT), torch.zeros(1, LATENT[1]), torch.ones(1, dtype=torch.int64)
        unasked = Condition(0 * index, Prompts.of_labels(0))
        counter = _counted(lambda: network(latent, level, index, unasked))
    sizes = dict.fromkeys(KINDS, Size(0, 0))
    owned: Counter[str] = Counter()
    for name, module in network.named_modules():
        if (kind := _kind(module)) is None:
            continue
        size = Size(_parameters(module), _macs(counter, f"Denoiser.{name}"))
        if isinstance(module, SpatialBlock):  # its condition is counted by itself
            condition = Size(_parameters(module.modulation), _macs(counter, f"Denoiser.{name}.modulation"))
            sizes[KINDS[3]] += condition
            size += Size(-condition.parameters, -condition.macs)
        sizes[kind] += size
        owned.update(parameters=_parameters(module), macs=_macs(counter, f"Denoiser.{name}"))
    rest = Size(_parameters(network) - owned["parameters"], counter.get_total_flops() // 2 - owned["macs"])
    return sizes | {KINDS[4]: rest}


def autoencoder(config: AutoencoderNetwork) -> dict[str, Size]:
    """Encoder and decoder of `config` on 16x256x256."""
    with torch.device("meta"):
        network = VideoAutoencoder(config)
        clip, latent = torch.zeros(1, 3, 16, 256, 256), torch.zeros(1, *LATENT)
        encoding, decoding = _counted(lambda: network.encoder(clip)), _counted(lambda: network.decoder(latent))
    return {
        "encoder": Size(_parameters(network.encoder), encoding.get_total_flops() // 2),
        "decoder": Size(_parameters(network.decoder), decoding.get_total_flops() // 2),
    }


def table(preset: str) -> list[str]:
    """The lines that the command prints."""
    params = parse_params(yaml.safe_load(presets.render(preset)))
    rows = []
    official = {part: Size(int(m * 1e6), int(g * 1e9)) for part, (m, g) in OFFICIAL_AUTOENCODER.items()}
    for title, ours, theirs in (
        ("autoencoder", autoencoder(params.train_autoencoder.network), official),
        ("denoiser", denoiser(params.train_denoiser.network), official_denoiser()),
    ):
        rows += [_row(f"{title}: {part}", ours[part], theirs[part]) for part in ours]
        rows.append(_row(title, sum(ours.values(), Size(0, 0)), sum(theirs.values(), Size(0, 0))))
    head = f"| {preset} | parameters, M | official | ratio | GMAC | official | ratio |"
    return [head, "|---|---|---|---|---|---|---|", *rows]


def _row(title: str, ours: Size, theirs: Size) -> str:
    cells = [title]
    for own, other, unit in ((ours.parameters, theirs.parameters, 1e6), (ours.macs, theirs.macs, 1e9)):
        cells += [f"{own / unit:.2f}", f"{other / unit:.2f}", f"{own / other:.2f}" if other else "-"]
    return f"| {' | '.join(cells)} |"


def _kind(module: nn.Module) -> str | None:
    layers = zip(KINDS[:4], (SpatialBlock, TemporalConvolution, SelfAttention, FrameEmbedding), strict=True)
    return next((kind for kind, layer in layers if isinstance(module, layer)), None)


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _counted(forward: Callable[[], object]) -> FlopCounterMode:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return counter


def _macs(counter: FlopCounterMode, module: str) -> int:
    return sum(counter.get_flop_counts().get(module, {}).values()) // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("preset", nargs="?", default="reference", choices=presets.NAMES)
    print("\n".join(table(parser.parse_args().preset)))


if __name__ == "__main__":
    main()
