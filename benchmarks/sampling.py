"""Making videos, from noise to uint8 frames on the host: short clips, fewer steps, a long video, and decoding alone.

    python -m benchmarks.sampling                            # the preset `reference` on a GPU
    python -m benchmarks.sampling --part clips solver --batch 16
    python -m benchmarks.sampling --size tiny --steps 2 --long-frames 64   # on a CPU, in seconds

As `lvdm sample` does it, in the library's own functions; loading, compiling and writing mp4 files are left out. The
long video is one run, the rest medians. A short clip is one window of its latents, as the official code has it. The
error is that of the latents of clips.
Not here: a single pass of a network (networks.py).
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import networks, untrained
from benchmarks.measuring import Measured, Work, ceilings, fitting, measure, relative_error
from benchmarks.tables import Row, heading, printed
from lvdm.data.frames import as_frames
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, rows_of_calls, sample_videos
from lvdm.machine import Machine
from lvdm.making import decoded
from lvdm.models.autoencoder import VideoAutoencoder
from lvdm.models.condition import Prompts
from lvdm.models.denoiser import Denoiser
from lvdm.models.inference import ready
from lvdm.params import Params, Sample, TrainDenoiser
from lvdm.planning.trials import now
from lvdm.transfers import Fetched

PARTS = ("clips", "solver", "long", "memory")
OFFICIAL_SECONDS = {  # at 50 steps: of 8 clips, eta 1; of 1,060 frames, a sum of measured parts, by their number
    "clips": 2.84,
    "long": 385.0 * 1024 / 1060,
}
FEW_STEPS = 20  # of DPM-Solver++


class Maker:
    """Both networks of random weights, as this project runs them or plain, and the videos that they make."""

    def __init__(self, params: Params, machine: Machine, plain: bool):
        config, device = params.train_autoencoder.network, machine.device
        denoiser: Denoiser = untrained.denoiser(params.train_denoiser, config.latent_channels)
        autoencoder: VideoAutoencoder = untrained.autoencoder(config)
        self.params, self.arithmetic = params, nullcontext if plain else machine.autocast
        prepared = untrained.plain if plain else lambda network, device: ready(network, machine, device)
        self.denoiser, self.autoencoder = prepared(denoiser, device), prepared(autoencoder, device)

    def latents(self, train: TrainDenoiser, sample: Sample, requests: list[VideoRequest]) -> Iterator[Tensor]:
        """Of each video, "c t h w"."""
        channels, _, side, _ = untrained.latent_shape(self.params)
        spec = DenoiserSpec(train, Prompts.of_labels(0), (channels, side, side))
        with tempfile.TemporaryDirectory() as folder:
            yield from sample_videos(self.denoiser, spec, sample, requests, Path(folder), None, self.arithmetic)

    def videos(self, train: TrainDenoiser, sample: Sample, requests: list[VideoRequest]) -> int:
        """Makes them, frames on the host; returns how many frames there are."""
        return self.decode(self.latents(train, sample, requests))

    def decode(self, latents: Iterable[Tensor]) -> int:
        """Frames of latent videos on the host; returns how many."""
        chunks = (chunk for latent in latents for chunk in decoded(self.autoencoder, latent, self.arithmetic))
        fetched = [Fetched(as_frames(chunk[0])) for chunk in chunks]
        return sum(len(frames.arrived()) for frames in fetched)


def short(params: Params) -> TrainDenoiser:
    """Windows of exactly a clip."""
    window = untrained.latent_shape(params)[1]
    return params.train_denoiser.model_copy(update={"window": window, "strides": (1,)})


def clips_row(params: Params, makers: Callable[[bool], Maker], sample: Sample, args: argparse.Namespace) -> Row:
    """A batch of clips, each one window, nothing given, hence one pass a step."""
    requests = [VideoRequest(seed, None, untrained.latent_shape(params)[1]) for seed in range(args.batch)]
    device = Machine().device
    eta = f", eta {sample.eta:g}" if sample.sampler == "ddim" else ""
    what = f"{args.batch} clips, {sample.steps} steps of {sample.sampler}{eta}, with decoding"

    def measured(plain: bool) -> tuple[Measured, Tensor]:
        maker, title = makers(plain), what if args.profile and not plain else ""
        call = partial(maker.videos, short(params), sample, requests)
        result = measure(call, device, seconds=args.seconds, most=5, profiled_as=title)
        return result, torch.stack(list(maker.latents(short(params), sample, requests)))

    ours, plain = fitting(lambda: measured(False)), fitting(lambda: measured(True)) if args.plain else None
    passes, decoding = (networks.least(part, params, args.batch) for part in ("denoiser", "decode"))
    return Row(
        what,
        ours=ours[0] if ours else None,
        plain=replace(plain[0], peak=None) if plain else None,  # the fast networks are on the device too
        official=official_clips(params, sample, args.batch),
        least=passes * sample.steps + decoding,
        error=relative_error([ours[1]], [plain[1]]) if ours and plain else None,
    )


def official_clips(params: Params, sample: Sample, batch: int) -> float | None:
    """Seconds of the official code for a batch of clips, if they are the ones of which its time is known."""
    asked = (batch, sample.steps, sample.sampler, sample.eta)
    known = untrained.is_official(params) and asked == (8, 50, "ddim", 1.0)
    return OFFICIAL_SECONDS["clips"] if known else None


def distances(params: Params, maker: Maker, sample: Sample, args: argparse.Namespace) -> list[str]:
    """How far few steps end from many of the same solver, from the same noise: root mean squares of latents."""
    requests = [VideoRequest(seed, None, untrained.latent_shape(params)[1]) for seed in range(args.batch)]

    def result(sampler: str, steps: int) -> Tensor:
        asked = sample.model_copy(update={"sampler": sampler, "steps": steps, "eta": 0.0})
        return torch.stack(list(maker.latents(short(params), asked, requests)))

    many = result("dpmpp2m", args.against)
    lines = []
    for sampler, steps in (("dpmpp2m", FEW_STEPS), ("ddim", FEW_STEPS), ("dpmpp2m", sample.steps)):
        distance = (result(sampler, steps) - many).square().mean().sqrt() / many.square().mean().sqrt()
        lines.append(f"{steps} steps of {sampler} against {args.against} of dpmpp2m, same noise: {distance.item():.2%}")
    return [*lines, "(of networks of random weights)"]


def long_row(params: Params, makers: Callable[[bool], Maker], sample: Sample, args: argparse.Namespace) -> Row:
    """Guided videos: key frames, then gaps. One run each, after one of a single step in which all is compiled."""
    train, device = params.train_denoiser, Machine().device
    factor = params.train_autoencoder.network.time_factor
    requests = [VideoRequest(seed, None, math.ceil(args.long_frames / factor)) for seed in range(args.long_videos)]

    def measured(plain: bool) -> Measured:
        maker = makers(plain)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        maker.videos(train, sample.model_copy(update={"steps": 1}), requests)
        start = now(device)
        maker.videos(train, sample, requests)
        seconds = now(device) - start
        return Measured(seconds, peak=None if plain or device.type != "cuda" else torch.cuda.max_memory_allocated())

    official = untrained.is_official(params) and args.long_frames == 1024
    return Row(
        f"{args.long_videos} x {args.long_frames} frames, {sample.steps} steps, guidance {sample.guidance}, "
        f"batch {sample.batch_size}",
        ours=fitting(lambda: measured(False)),
        plain=fitting(lambda: measured(True)) if args.plain else None,
        official=OFFICIAL_SECONDS["long"] * len(requests) if official else None,
        least=_least_of_long(params, train, sample, requests),
    )


def _least_of_long(params: Params, train: TrainDenoiser, sample: Sample, requests: Sequence[VideoRequest]) -> Work:
    """The operations of all windows and of the decoding, bytes left out."""
    factor, a_clip = params.train_autoencoder.network.time_factor, untrained.latent_shape(params)[1]
    clips = params.clips.model_copy(update={"frames": train.window * factor})
    a_pass = networks.least("denoiser", params.model_copy(update={"clips": clips}), 1)
    passes, decoding = sum(rows_of_calls(requests, train, sample)), networks.least("decode", params, 1)
    latents = sum(request.num_latents for request in requests)
    return Work(a_pass.flops * passes + decoding.flops * latents / a_clip, 0.0)


def memory_rows(params: Params, maker: Maker, args: argparse.Namespace) -> Iterator[Row]:
    """Decoding of videos of several lengths; the share is of the first one's peak."""
    device, (channels, frames, side, _) = Machine().device, untrained.latent_shape(params)
    factor, first = params.train_autoencoder.network.time_factor, None
    for length in args.decode_frames:
        latent = torch.randn(channels, length // factor, side, side, generator=torch.Generator().manual_seed(0))
        measured = fitting(partial(_decoding, maker, latent, device))
        peak = measured.peak if measured else None
        first = peak if first is None else first
        share = "" if peak is None or first is None else f" ({peak / first:.1%} of the memory of the first)"
        work = networks.least("decode", params, 1) * (latent.shape[1] / frames)
        yield Row(f"decode {length} frames{share}", ours=measured, least=work)


def _decoding(maker: Maker, latent: Tensor, device: torch.device) -> Measured:
    maker.decode([latent])  # compiled, and convolutions tried
    return measure(lambda: maker.decode([latent]), device, most=3)


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measures and prints."""
    options = untrained.parser(__doc__)
    options.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    options.add_argument("--batch", type=int, default=8, help="clips made together (default: 8)")
    options.add_argument("--steps", type=int, default=50, help="of DDIM (default: 50)")
    options.add_argument(
        "--eta", type=float, help="of DDIM (default: sample.eta; in reference 1, as the official code)"
    )
    options.add_argument("--against", type=int, default=250, help="steps whose result the solver's is compared with")
    options.add_argument("--long-frames", type=int, default=1024, help="(default: 1024)")
    options.add_argument("--long-videos", type=int, default=1, help="of so many frames (default: 1)")
    options.add_argument(
        "--decode-frames", type=int, nargs="+", default=[64, 1024, 4096], help="(default: 64 1024 4096)"
    )
    args = options.parse_args(arguments)
    params, machine = untrained.params_of(args), untrained.machine_of(args)
    limits = ceilings(machine.device)
    print("\n".join(heading(machine.device, limits)), flush=True)
    eta = params.sample.eta if args.eta is None else args.eta
    ddim: Any = {"sampler": "ddim", "steps": args.steps, "eta": eta}
    sample = params.sample.model_copy(update=ddim)
    solver = sample.model_copy(update={"sampler": "dpmpp2m", "steps": FEW_STEPS, "eta": 0.0})
    fast = Maker(params, machine, plain=False)

    def makers(plain: bool) -> Maker:
        return Maker(params, machine, plain=True) if plain else fast

    def rows() -> Iterator[Row]:
        if "clips" in args.part:
            yield clips_row(params, makers, sample, args)
        if "solver" in args.part:
            yield clips_row(params, makers, solver, args)
        if "long" in args.part:
            yield long_row(params, makers, sample, args)
        if "memory" in args.part:
            yield from memory_rows(params, fast, args)

    found = printed(rows(), limits)
    if "solver" in args.part:
        print("\n".join(distances(params, fast, sample, args)))
    return found


if __name__ == "__main__":
    main()
