"""One step of training: forward, backward, clipping, optimiser and averaged weights, on data that is on the device.

    python -m benchmarks.training                            # the preset `reference` on a GPU
    python -m benchmarks.training --batch 32 --part denoiser
    python -m benchmarks.training --size sprites --frames 36 --batch 256 --part denoiser --mode default
    python -m benchmarks.training --size tiny                # on a CPU, in seconds

A step of the denoiser is measured as a bare loop and through `lvdm.training.fit`, which adds Lightning, the order of
the data, the trace and the loader: the last lines say by how much. The plain path has an unfused AdamW and averages
weight by weight. Latents are those of a clip, cached. Not here: several GPUs (scaling.py), reading them
(latent_cache.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import untrained
from benchmarks.measuring import Measured, Work, ceilings, fitting, measure, pace, relative_error, work_of
from benchmarks.tables import Row, heading, printed
from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.diffusion.objective import Draws, denoising_loss
from lvdm.machine import Machine
from lvdm.models.autoencoder import VideoAutoencoder
from lvdm.models.compilation import mode_of_training
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import Params
from lvdm.planning.trials import seconds_of_parts
from lvdm.planning.work import Repeated
from lvdm.prompting import LabelPrompts
from lvdm.training.autoencoder import kl_divergence, reconstruction_error
from lvdm.training.denoiser import DenoiserTraining

PARTS = ("denoiser", "autoencoder")
OFFICIAL_MS = {"denoiser": {2: 243.0, 8: 230.0, 32: 527.0}, "autoencoder": {2: 194.0}}  # the denoiser's encode too
OPTIMISER_BYTES = 36  # a parameter: weight, two moments and average read and written, gradient read, in fp32
OFFICIAL_NOTE = "the official step of the denoiser encodes its clips too, a sixth to a fifth of it from B=32 up"
BEFORE = 5  # steps that are not timed


def denoiser_loss(network: Denoiser, params: Params, batch: int, device: torch.device) -> Callable[[], Tensor]:
    """The loss of a batch of cached latents, whose noise and tasks are drawn beforehand, as the loader does."""
    objective = params.train_denoiser.objective
    latent, _, stride, condition = untrained.inputs(untrained.latent_shape(params), batch, device)

    draws = Draws.of(objective, latent, [generator_of("training", 0, i) for i in range(batch)]).to(device)
    return lambda: denoising_loss(network, latent, stride, condition, objective, draws).loss


def autoencoder_loss(
    network: VideoAutoencoder, params: Params, batch: int, device: torch.device
) -> Callable[[], Tensor]:
    """Reconstruction and divergence, without the optional terms, as lvdm/training/autoencoder.py has it."""
    objective, clip = params.train_autoencoder.objective, untrained.clips(params, batch, device)

    generators = [generator_of("training", 0, i) for i in range(batch)]
    noise = draw_noise(generators, torch.empty(batch, *untrained.latent_shape(params), device=device))

    def loss() -> Tensor:
        mean, logvar = (moment.float() for moment in network.moments(clip))
        reconstruction = network.reconstruct(mean + (0.5 * logvar).exp() * noise)
        error = reconstruction_error(reconstruction, clip, objective.reconstruction)
        return error + objective.kl_weight * kl_divergence(mean, logvar)

    return loss


def gradients(network: nn.Module, loss: Callable[[], Tensor], arithmetic: Callable[[], Any]) -> list[Tensor]:
    """Of every parameter, on the CPU."""
    with arithmetic():
        value = loss()
    value.backward()
    return [p.grad.cpu() for p in network.parameters() if p.grad is not None]


def stepping(network: nn.Module, loss: Callable[[], Tensor], arithmetic: Callable[[], Any]) -> Callable[[], None]:
    """A step as `lvdm.training.fit` takes it."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6, betas=(0.9, 0.99), fused=True)
    parameters: list[Tensor] = list(network.parameters())
    average = [p.detach().clone() for p in parameters]

    def step() -> None:
        optimiser.zero_grad()
        with arithmetic():
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1e-4)

    return step


def plain_stepping(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A step as the official code takes it: AdamW as torch has it, nothing clipped, the average weight by weight."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in network.parameters()]

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        with torch.no_grad():
            for kept, parameter in zip(average, network.parameters(), strict=True):
                kept.sub_(1e-4 * (kept - parameter))

    return step


def fitted_seconds(
    network: Denoiser, params: Params, machine: Machine, batch: int, count: int, parts: int = 1
) -> list[float]:
    """Seconds a step through `lvdm.training.fit`, the mean over `count` of them, in one part of it after the other."""
    training = params.train_denoiser.training.model_copy(update={"batch_size": batch})
    train = params.train_denoiser.model_copy(update={"training": training})
    latent = untrained.inputs(untrained.latent_shape(params), 1, "cpu")[0][0]
    example = {"latent": latent, "stride": torch.tensor(1), "label": torch.tensor(0)}
    task = DenoiserTraining(network, train, LabelPrompts(Vocabulary()))
    return seconds_of_parts(task, Repeated(example), machine, BEFORE, count, parts)


def denoiser_rows(params: Params, machine: Machine, args: argparse.Namespace) -> Iterator[Row]:
    """A bare step, and one through Lightning, at every batch size."""
    device, channels = machine.device, untrained.latent_shape(params)[0]
    for batch in args.batch or [2, 8, 32, 64]:

        def ours(batch: int = batch) -> tuple[Measured, list[Tensor], float, float]:
            network = untrained.denoiser(params.train_denoiser, channels).to(device)
            if machine.compile:
                torch._dynamo.reset()  # a run has one batch size, so each is compiled for its own
                network.compile(mode=args.mode or mode_of_training(machine))
            loss = denoiser_loss(network, params, batch, device)
            found = gradients(network, loss, machine.autocast) if args.plain else []
            step = stepping(network, loss, machine.autocast)
            title = f"denoiser step B={batch}" if args.profile else ""
            measured = measure(step, device, seconds=args.seconds, profiled_as=title)
            count = max(3, min(100, int(args.seconds / measured.seconds)))
            bare = pace(step, device, count)
            del step
            [fitted] = fitted_seconds(network, params, machine, batch, count)
            return measured, found, bare, fitted

        def plain(batch: int = batch) -> tuple[Measured, list[Tensor]]:
            network = untrained.plain(untrained.denoiser(params.train_denoiser, channels), device).requires_grad_(True)
            loss = denoiser_loss(network, params, batch, device)
            expected = gradients(network, loss, nullcontext)
            return measure(plain_stepping(network, loss), device, seconds=args.seconds), expected

        mine, its, work = fitting(ours), fitting(plain) if args.plain else None, least("denoiser", params, batch)
        yield Row(
            f"denoiser step B={batch}",
            ours=mine[0] if mine else None,
            plain=its[0] if its else None,
            official=_official("denoiser", params, batch),
            least=work,
            error=relative_error(mine[1], its[1]) if mine and its else None,
        )
        if mine:
            over = f"the same through Lightning ({mine[3] / mine[2] - 1:+.1%})"
            yield Row(over, ours=Measured(mine[3]), least=work)


def autoencoder_rows(params: Params, machine: Machine, args: argparse.Namespace) -> Iterator[Row]:
    """A step on the reconstruction loss at every batch size."""
    device, config = machine.device, params.train_autoencoder.network
    for batch in args.batch or [2]:

        def ours(batch: int = batch) -> tuple[Measured, list[Tensor]]:
            network = untrained.autoencoder(config).to(device)
            if machine.compile:
                torch._dynamo.reset()
                for part in (network.encoder, network.decoder):
                    part.compile(mode=args.mode or mode_of_training(machine))
            loss = autoencoder_loss(network, params, batch, device)
            found = gradients(network, loss, machine.autocast) if args.plain else []
            step, title = (
                stepping(network, loss, machine.autocast),
                f"autoencoder step B={batch}" if args.profile else "",
            )
            return measure(step, device, seconds=args.seconds, profiled_as=title), found

        def plain(batch: int = batch) -> tuple[Measured, list[Tensor]]:
            network = untrained.plain(untrained.autoencoder(config), device).requires_grad_(True)
            loss = autoencoder_loss(network, params, batch, device)
            expected = gradients(network, loss, nullcontext)
            return measure(plain_stepping(network, loss), device, seconds=args.seconds), expected

        mine, its = fitting(ours), fitting(plain) if args.plain else None
        yield Row(
            f"autoencoder step B={batch}",
            ours=mine[0] if mine else None,
            plain=its[0] if its else None,
            official=_official("autoencoder", params, batch),
            least=least("autoencoder", params, batch),
            error=relative_error(mine[1], its[1]) if mine and its else None,
        )


def least(part: str, params: Params, batch: int) -> Work:
    """What one step costs at the least: forward, backward, and the optimiser's passes over the parameters."""

    def count() -> tuple[Work, int]:
        if part == "denoiser":
            network: nn.Module = untrained.denoiser(params.train_denoiser, untrained.latent_shape(params)[0])
            given = untrained.inputs(untrained.latent_shape(params), batch, "meta")
            work = work_of(lambda: network(*given).sum().backward())
        else:
            autoencoder = untrained.autoencoder(params.train_autoencoder.network)
            clip, network = untrained.clips(params, batch, "meta"), autoencoder
            work = work_of(lambda: autoencoder.reconstruct(autoencoder.moments(clip)[0]).sum().backward())
        return work, sum(p.numel() for p in network.parameters())

    work, parameters = untrained.on_meta(count)
    return work + Work(0, OPTIMISER_BYTES * parameters)


def _official(part: str, params: Params, batch: int) -> float | None:
    milliseconds = OFFICIAL_MS[part].get(batch) if untrained.is_official(params) else None
    return None if milliseconds is None else milliseconds / 1e3


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measures and prints."""
    options = untrained.parser(__doc__)
    options.add_argument("--batch", type=int, nargs="+", help="sizes (default: 2 8 32 64, of the autoencoder 2)")
    options.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    modes = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
    options.add_argument("--mode", choices=modes, help="of torch.compile (default: that of a run)")
    args = options.parse_args(arguments)
    params, machine = untrained.params_of(args), untrained.machine_of(args, devices=1)
    limits = ceilings(machine.device)
    print("\n".join([*heading(machine.device, limits), OFFICIAL_NOTE]), flush=True)
    rows_of = {"denoiser": denoiser_rows, "autoencoder": autoencoder_rows}
    return printed((row for part in args.part for row in rows_of[part](params, machine, args)), limits)


if __name__ == "__main__":
    main()
