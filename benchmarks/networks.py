"""One pass of each network: the denoiser, encoding and decoding, at several batch sizes.

    python -m benchmarks.networks                            # the preset `reference` on a GPU
    python -m benchmarks.networks --side 512 --batch 4 16    # other sizes
    python -m benchmarks.networks --size tiny                # on a CPU, in seconds

"This project" is as `lvdm sample` runs it: weights in bfloat16 on a GPU, compiled. Rows of the autoencoder are a clip.
Not here: training (training.py) and whole videos (sampling.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import untrained
from benchmarks.measuring import (
    Measured,
    Row,
    Work,
    a_clip,
    ceilings,
    fitting,
    heading,
    measure,
    relative_error,
    table,
    work_of,
)
from benchmarks.model_size import OFFICIAL_AUTOENCODER, official_denoiser
from lvdm.machine import Machine
from lvdm.models.inference import ready
from lvdm.params import Params

PARTS = ("denoiser", "encode", "decode")
OFFICIAL_MS = {  # a call of the denoiser, a clip of the autoencoder, as shipped; measured elsewhere on an H200
    "denoiser": {1: 46.4, 8: 45.9, 32: 102.5},
    "encode": {1: 3.44, 8: 2.64},
    "decode": {1: 54.6, 8: 47.3},
}


def rows(params: Params, machine: Machine, args: argparse.Namespace) -> Iterator[Row]:
    """A row for every part and batch size."""
    for part in args.part:
        yield from _rows_of(part, params, machine, args)


def _rows_of(part: str, params: Params, machine: Machine, args: argparse.Namespace) -> Iterator[Row]:
    """The fast network first, then the plain one, so that only one is on the device."""
    device, batches = machine.device, args.batch or ([1, 8, 32] if part == "denoiser" else [1, 8])

    def measured(network: Any, arithmetic: Callable[[], Any], batch: int) -> tuple[Measured | None, Tensor]:
        call = _call(part, network, params, batch, device)

        def run() -> Tensor:
            with torch.inference_mode(), arithmetic():
                return call()

        title = f"{part} B={batch}" if args.profile and network is not slow else ""
        result = fitting(lambda: measure(run, device, seconds=args.seconds, profiled_as=title))
        return result, torch.empty(0) if result is None else run().float().cpu()

    slow = None
    fast = ready(_network(part, params), machine, device)
    ours = {batch: measured(fast, machine.autocast, batch) for batch in batches}
    del fast
    if machine.compile:
        torch._dynamo.reset()  # what is compiled holds the fast network
    plain: dict[int, tuple[Measured | None, Tensor]] = {}
    if args.plain:
        slow = untrained.plain(_network(part, params), device)
        off = Machine(precision="32-true").autocast
        plain = {batch: measured(slow, off, batch) for batch in batches}
    a_call = part == "denoiser"
    official = OFFICIAL_MS[part] if untrained.is_official(params) else {}
    for batch in batches:
        (mine, output), (its, expected) = ours[batch], plain.get(batch, (None, torch.empty(0)))
        yield Row(
            work=f"{part} B={batch}{'' if a_call else ', a clip'}",
            ours=mine if a_call else a_clip(mine, batch),
            plain=its if a_call else a_clip(its, batch),
            official=official[batch] / 1e3 if batch in official else None,
            least=least(part, params, batch) * (1 if a_call else 1 / batch),
            error=relative_error([output], [expected]) if mine and its else None,
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
    options.add_argument("--batch", type=int, nargs="+", help="sizes (default: 1 8 32, of the autoencoder 1 8)")
    options.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    args = options.parse_args(arguments)
    params, machine = untrained.params_of(args), untrained.machine_of(args)
    limits = ceilings(machine.device)
    print("\n".join([*heading(machine.device, limits), official_gflop()]), flush=True)
    found = list(rows(params, machine, args))
    print("\n".join(table(found, limits)))
    return found


if __name__ == "__main__":
    main()
