"""One pass of each network: the denoiser, encoding and decoding, at several batch sizes.

    python -m benchmarks.networks                            # the preset `reference` on a GPU
    python -m benchmarks.networks --side 512 --batch 4 16    # other sizes
    python -m benchmarks.networks --size tiny                # on a CPU, in seconds

"This project" is as `lvdm sample` runs it: weights in bfloat16 on a GPU, compiled, which is what
takes time. Rows of the autoencoder are a clip.
Not here: training (training.py) and whole videos (sampling.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import untrained
from benchmarks.measuring import Measured, Work, a_clip, ceilings, fitting, measure, relative_error, work_of
from benchmarks.model_size import OFFICIAL_AUTOENCODER, official_denoiser
from benchmarks.tables import Row, heading, printed
from lvdm.machine import Machine
from lvdm.models.inference import ready
from lvdm.params import Params

PARTS = ("denoiser", "encode", "decode")
GOALS = {"denoiser": (8, 32), "encode": (8,), "decode": (8,)}  # batch sizes that the performance goals are of
OFFICIAL_MS = {  # a call of the denoiser, a clip of the autoencoder, as shipped; measured elsewhere on an H200
    "denoiser": {1: 46.4, 8: 45.9, 32: 102.5},
    "encode": {1: 3.44, 8: 2.64},
    "decode": {1: 54.6, 8: 47.3},
}


def rows(params: Params, machine: Machine, args: argparse.Namespace) -> Iterator[Row]:
    """A row for every part and batch size, each compiled for itself, as in a stage that has one batch size."""
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        for part in args.part:
            for batch in args.batch or GOALS[part]:
                yield row_of(part, batch, params, machine, args)


def row_of(part: str, batch: int, params: Params, machine: Machine, args: argparse.Namespace) -> Row:
    """The fast network first, then the plain one, so that only one is on the device."""
    device, off = machine.device, Machine(precision="32-true").autocast

    def measured(network: Any, arithmetic: Callable[[], Any], title: str = "") -> tuple[Measured, Tensor]:
        call = _call(part, network, params, batch, device)

        def run() -> Tensor:
            with torch.inference_mode(), arithmetic():
                return call()

        return measure(run, device, seconds=args.seconds, profiled_as=title), run().float().cpu()

    title = f"{part} B={batch}" if args.profile else ""
    fast = fitting(lambda: measured(ready(_network(part, params), machine, device), machine.autocast, title))
    if machine.compile:
        torch._dynamo.reset()  # what is compiled holds the fast network
    plain = fitting(lambda: measured(untrained.plain(_network(part, params), device), off)) if args.plain else None
    mine, its = (None if pair is None else pair[0] for pair in (fast, plain))
    a_call = part == "denoiser"
    official = OFFICIAL_MS[part].get(batch) if untrained.is_official(params) else None
    return Row(
        work=f"{part} B={batch}{'' if a_call else ', a clip'}",
        ours=mine if a_call else a_clip(mine, batch),
        plain=its if a_call else a_clip(its, batch),
        official=None if official is None else official / 1e3,
        least=least(part, params, batch) * (1 if a_call else 1 / batch),
        error=relative_error([fast[1]], [plain[1]]) if fast and plain else None,
    )


def least(part: str, params: Params, batch: int) -> Work:
    """What one call costs at the least."""

    def count() -> Work:
        call = _call(part, _network(part, params), params, batch, "meta")
        return work_of(call)

    with torch.no_grad():
        return untrained.on_meta(count)


def _network(part: str, params: Params) -> Any:
    config = params.train_autoencoder.network
    if part == "denoiser":
        return untrained.denoiser(params.train_denoiser, config.latent_channels)
    return untrained.autoencoder(config)


def _call(part: str, network: Any, params: Params, batch: int, device: torch.device | str) -> Callable[[], Tensor]:
    shape = untrained.latent_shape(params)
    match part:
        case "denoiser":
            given = untrained.inputs(shape, batch, device)
            return lambda: network(*given)
        case "encode":
            clip = untrained.clips(params, batch, device)
            return lambda: network.encode(clip)
        case _:
            z = untrained.inputs(shape, batch, device)[0]
            return lambda: network.decode(z)


def official_gflop() -> str:
    """The operations of the official networks, which are larger: a clip of 16x256x256."""
    denoiser = 2e-9 * sum(size.macs for size in official_denoiser().values())
    parts = {"denoiser": denoiser} | {part: 2 * gmac for part, (_, gmac) in OFFICIAL_AUTOENCODER.items()}
    said = ", ".join(f"{part} {gflop:,.0f}" for part, gflop in parts.items())
    return f"GFLOP of a clip of 16x256x256 in the official networks: {said}"


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measures and prints."""
    options = untrained.parser(__doc__)
    options.add_argument("--batch", type=int, nargs="+", help="sizes (default: 8 32, of the autoencoder 8)")
    options.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    args = options.parse_args(arguments)
    params, machine = untrained.params_of(args), untrained.machine_of(args)
    limits = ceilings(machine.device)
    print("\n".join([*heading(machine.device, limits), official_gflop()]), flush=True)
    return printed(rows(params, machine, args), limits)


if __name__ == "__main__":
    main()
