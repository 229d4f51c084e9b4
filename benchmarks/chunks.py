"""How far encoding and decoding in chunks lie from the whole, on the device at hand, in each arithmetic.

    python -m benchmarks.chunks            # the autoencoder of `lvdm preset reference`, 16 frames of 256x256
    python -m benchmarks.chunks --help

In exact arithmetic the difference is zero; what is printed is the rounding of kernels that were chosen by shape. The
last column is what that arithmetic itself is off, the whole against the whole in float64.
Not here: that chunks see the same frames as the whole; that is a test of the autoencoder.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.long_video import randomised
from lvdm import presets
from lvdm.models.autoencoder import Autoencoder, build_autoencoder
from lvdm.params import parse_params

CHUNKS = (1, 3)  # latents at once


def arithmetics(device: torch.device) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Any]]]]:
    """The arithmetics a run may use there; TF32 is a GPU's alone."""
    yield "float32", nullcontext
    if device.type == "cuda":
        yield "tf32", _tf32
    yield "bfloat16", lambda: torch.autocast(device.type, torch.bfloat16)


class _tf32(AbstractContextManager[None]):
    """Within the block convolutions and matrix products round their inputs to TF32."""

    def __enter__(self) -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@torch.inference_mode()
def rows(autoencoder: Autoencoder, clip: Tensor) -> Iterator[tuple[str, str, float, float]]:
    """(arithmetic, what, greatest difference of chunks from the whole, of the whole from float64)."""
    factor = autoencoder.config.time_factor
    exact = copy.deepcopy(autoencoder).double()
    latent = exact.encode(clip.double())
    truth = {"encode": latent, "decode": exact.decode(latent)}
    latent = latent.to(clip.dtype)
    for name, arithmetic in arithmetics(clip.device):
        with arithmetic():
            whole = {"encode": autoencoder.encode(clip), "decode": autoencoder.decode(latent)}
            for what in ("encode", "decode"):
                worst = 0.0
                for size in CHUNKS:
                    if what == "encode":
                        parts = autoencoder.encode_stream(clip.split(size * factor, dim=2))
                    else:
                        parts = autoencoder.decode_stream(latent.split(size, dim=2))
                    joined = torch.cat(list(parts), dim=2)
                    worst = max(worst, (joined - whole[what]).abs().max().item())
                yield name, what, worst, (whole[what] - truth[what]).abs().max().item()


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="reference", choices=sorted(presets.NAMES))
    parser.add_argument("--size", type=int, default=256, help="side of a frame (default: 256)")
    parser.add_argument("--frames", type=int, default=16)
    args = parser.parse_args(arguments)
    params = parse_params(yaml.safe_load(presets.render(args.preset)))
    settings = params.autoencoder(next(iter(params.autoencoders)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    autoencoder = randomised(build_autoencoder(settings.network)).eval().to(device)
    generator = torch.Generator().manual_seed(1)
    clip = torch.rand(1, 3, args.frames, args.size, args.size, generator=generator).to(device) * 2 - 1
    print(f"{'arithmetic':<10} {'what':<8} {'chunks - whole':>15} {'whole - float64':>16}   (greatest, on {device})")
    for name, what, chunked, rounding in rows(autoencoder, clip):
        print(f"{name:<10} {what:<8} {chunked:15.2e} {rounding:16.2e}")


if __name__ == "__main__":
    main()
