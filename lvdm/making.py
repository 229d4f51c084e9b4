"""What an experiment is asked to make, and the making of it: sampled, decoded, written, on one device or on several.

On several devices each has a process that makes whole groups of videos (sampling.group_videos), so that the batches,
and with them the videos, are those of one device. All that is made lies in the scratch folder until it is gathered: a
killed run goes on from there.
Not here: how latents are made (lvdm/diffusion) and how a sample set lies on disk (lvdm/data/samples.py).
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lvdm.data.sample_writer import SampleWriter
from lvdm.data.samples import VideoSample
from lvdm.diffusion.long_video import plan_long_video
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, group_videos, sample_videos
from lvdm.errors import ArtefactError, ParamsError
from lvdm.fingerprints import fingerprint
from lvdm.models.autoencoder import Autoencoder
from lvdm.models.checkpoint import (
    DenoiserRecord,
    load_autoencoder,
    load_denoiser,
    read_autoencoder_record,
    read_denoiser_record,
)
from lvdm.models.condition import Prompt
from lvdm.models.inference import ready
from lvdm.parallel import Share, share_out
from lvdm.params import Experiment, Params
from lvdm.progress import progress
from lvdm.prompting import understood
from lvdm.section import parse
from lvdm.transfers import sent
from lvdm.workspace import Workspace

DECODED_AT_ONCE = 8  # latents: bounds the memory, changes no frame by more than rounding (docs/gpus.md)
SEEDS_A_KIND = 1_000_000
WHOLE = slice(None)  # every group of videos


def samples_to_make(params: Params, experiment: str, prompts: Sequence[Prompt]) -> list[VideoSample]:
    """The short clips, as long as evaluation measures them, then the long videos; the prompts in turn."""
    asked = params.experiment(experiment).sample
    kinds: list[tuple[Literal["clip", "long"], int, int]] = [
        ("clip", asked.num_clips, params.clips.frames),
        ("long", asked.num_long_videos, asked.long_frames),
    ]
    return [
        VideoSample(
            kind=kind,
            number=number,
            frames=frames,
            seed=(2 * asked.seed + (kind == "long")) * SEEDS_A_KIND + number,
            **asdict(prompts[number % len(prompts)] if prompts else Prompt()),
        )
        for kind, count, frames in kinds
        for number in range(count)
    ]


def made_with(params: Params, workspace: Workspace, name: str) -> dict[str, Any]:
    """What stands beside the numbers of an experiment's samples: how they are made, and by which networks.

    A network is told by its files, not by its name: another experiment may have taken the same one.
    `joins` are the latents of a long video that were made by another window than the latent before (Plan.joins).
    """
    experiment = params.experiment(name)
    denoiser, autoencoder = workspace.denoiser(name), workspace.autoencoder(experiment.autoencoder)
    trained, of_autoencoder = read_denoiser_record(denoiser), read_autoencoder_record(autoencoder)
    train, asked, factor = trained.params, experiment.sample, of_autoencoder.params.network.time_factor
    long_latents = math.ceil(asked.long_frames / factor)
    plan = plan_long_video(long_latents, train.window, train.strides, asked.overlap, asked.scheme)
    return {
        "sample": asked.model_dump(mode="json"),
        "ema_decay": train.training.ema_decay,  # sampled is the average of the weights
        "denoiser": fingerprint(files=sorted(denoiser.iterdir())),
        "autoencoder": fingerprint(files=sorted(autoencoder.iterdir())),
        "trained_with": {"denoiser": trained.trained_with, "autoencoder": of_autoencoder.trained_with},
        "arithmetic": workspace.machine.arithmetic,
        "time_factor": factor,
        "long_latents": long_latents,
        "joins": list(plan.joins),
    }


def as_request(sample: VideoSample, names: Sequence[str], time_factor: int) -> VideoRequest:
    """What the denoiser is asked for: as many latents as the frames need, rounded up, and the number of the prompt.

    `names` are what its prompts are called, in their order (prompting.understood).
    """
    prompt = None if sample.prompt is None else names.index(sample.prompt)
    return VideoRequest(sample.seed, prompt, math.ceil(sample.frames / time_factor))


def check_as_trained(experiment: Experiment, trained: DenoiserRecord, latent_shape: tuple[int, int, int]) -> None:
    """Refuses samples for which the denoiser was not trained, whatever params.yaml says of training now.

    Raises:
        ArtefactError: latents have another (c, h, w), or the settings of `sample` need what was not trained.
    """
    what, again = f"the denoiser of {experiment.name}", f"run `lvdm train_denoiser {experiment.name}` again"
    if latent_shape != trained.latent_shape:
        raise ArtefactError(
            f"{what}: latents of (c, h, w)",
            expected=f"{trained.latent_shape}, as in training",
            got=latent_shape,
            remedy=f"set clips.size back, or run `lvdm encode_latents {experiment.autoencoder}`, then {again}",
        )
    try:
        parse(Experiment, dict(experiment) | {"train_denoiser": trained.params})
    except ParamsError as error:
        remedy = f"change sample, or {again}"
        raise ArtefactError(f"{what}, as it was trained", expected=error.expected, remedy=remedy) from None


def made_below(scratch: Path) -> Path:
    """Where the samples lie that are made."""
    return scratch / "made"


def made(
    wanted: Sequence[VideoSample],
    params: Params,
    workspace: Workspace,
    name: str,
    scratch: Path,
    device: torch.device | None = None,
    share: slice = WHOLE,
) -> Iterator[tuple[VideoSample, Iterator[Float[Tensor, "1 3 f y x"]]]]:
    """Makes the samples `wanted` by an experiment's denoiser: yields each with its frames, decoded as they are taken.

    Args:
        scratch: the folder that a killed run goes on from.
        device: where, if not on that of the machine.
        share: which of the groups of videos that are made together (sampling.group_videos).

    Raises:
        ArtefactError: networks are missing, do not belong together, or were trained for other samples than these.
        ParamsError: no plan exists for these lengths.
        WeightsError: the text encoder is not there, or another than in training.
    """
    experiment, device = params.experiment(name), device or workspace.machine.device
    trained = load_denoiser(workspace.denoiser(name))
    trained.check_autoencoder(workspace.autoencoder(experiment.autoencoder))
    machine = workspace.machine
    autoencoder = ready(load_autoencoder(workspace.autoencoder(experiment.autoencoder)), machine, device)
    check_as_trained(experiment, trained, autoencoder.config.latent_shape(params.clips.size))
    names, prompts = understood(trained, _texts(wanted), workspace)
    requests = [as_request(s, names, autoencoder.config.time_factor) for s in wanted]
    spec = DenoiserSpec(trained.params, prompts, trained.latent_shape)
    groups = group_videos(requests, trained.params, experiment.sample)[share]
    network = ready(trained.network, machine, device)
    interpolator = None if trained.interpolator is None else ready(trained.interpolator, machine, device)
    sample = experiment.sample
    latents = sample_videos(network, spec, sample, requests, scratch, groups, machine.autocast, interpolator)
    in_turn = [*itertools.chain(*groups)]
    chunks = {index: num_chunks(requests[index]) for index in in_turn}
    ticks = progress(range(total := sum(chunks.values())), total, "decoding", "chunk")
    for index, latent in zip(in_turn, latents, strict=True):
        own = itertools.islice(ticks, chunks[index])
        frames = decoded(autoencoder, latent, machine.autocast)
        yield wanted[index], (chunk for chunk, _ in zip(frames, own, strict=True))
        collections.deque(own, maxlen=0)  # of a sample that was made before, none was taken
    next(ticks, None)  # says that the last one is done


def make_samples(wanted: Sequence[VideoSample], params: Params, workspace: Workspace, name: str, scratch: Path) -> None:
    """Makes what is not made yet of the samples `wanted` of an experiment, on all devices of the machine.

    Raises:
        ArtefactError: networks are missing, do not belong together, or were trained for other samples than these; or a
            process of several died.
        ParamsError: no plan exists for these lengths, or the machine has not what machine.yaml asks for.
        WeightsError: the text encoder is not there, or another than in training.
    """
    devices = workspace.machine.shared_devices
    if len(devices) > 1:
        record = read_denoiser_record(workspace.denoiser(name))
        understood(record, _texts(wanted), workspace)  # the processes find it on disk
        torch.cuda.empty_cache()  # which the text encoder took
    make = functools.partial(_make_share, wanted, params, workspace, name, scratch)
    share_out(make, devices, "sampling")


def _make_share(
    wanted: Sequence[VideoSample], params: Params, workspace: Workspace, name: str, scratch: Path, share: Share
) -> None:
    """Makes the groups of videos of a share."""
    fps = params.experiment(name).sample.fps
    samples = made(wanted, params, workspace, name, scratch / "latents", share.device, share.pieces)
    with SampleWriter(made_below(scratch), fps) as writer:
        for sample, chunks in samples:
            writer.write(sample, chunks)


def _texts(wanted: Sequence[VideoSample]) -> list[str]:
    return [sample.prompt for sample in wanted if sample.prompt is not None]


def num_chunks(request: VideoRequest) -> int:
    """How many chunks `decoded` yields of a video."""
    return math.ceil(request.num_latents / DECODED_AT_ONCE)


def decoded(
    autoencoder: Autoencoder,
    latent: Float[Tensor, "c t h w"],
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Float[Tensor, "1 3 f y x"]]:
    """The frames of a latent video, chunk by chunk, on the autoencoder's device, each decoded under `autocast`.

    The last chunk is decoded at the size of the others, which causality allows: so a network is compiled once.
    """
    device, (_, length, _, _) = autoencoder.latent_mean.device, latent.shape
    size = min(DECODED_AT_ONCE, length)
    whole = torch.cat([latent, latent[:, -1:].expand(-1, -length % size, -1, -1)], dim=1)
    chunks = autoencoder.decode_stream(sent(chunk[None], device) for chunk in whole.split(size, dim=1))
    left = length * autoencoder.config.time_factor
    while left > 0:
        with autocast(), torch.inference_mode():
            frames = next(chunks)
        yield frames[:, :, :left]
        left -= frames.shape[2]
