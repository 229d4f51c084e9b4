"""Makes videos of latents: executes the plans of long_video.py with a denoiser, batch by batch, and can be killed.

A video is a function of its request and of the denoiser: what is drawn depends on its seed and on positions in it,
not on the videos beside it or on the batch. A short clip is a video whose plan is one window.

Not here: pixels (lvdm/making.py decodes) and the trained network's loading.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lvdm.diffusion.frame_conditions import FrameConditions
from lvdm.diffusion.guidance import Guidance, guided_prediction
from lvdm.diffusion.long_video import Plan, Window, plan_long_video
from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.diffusion.perturbation import given_noise
from lvdm.diffusion.samplers import Denoise, ddim, ddpm, dpmpp2m, uniform_levels
from lvdm.diffusion.schedule import Schedule, x0_of
from lvdm.errors import ArtefactError
from lvdm.models.condition import Condition, Prompts
from lvdm.params import Sample, TrainDenoiser
from lvdm.progress import progress
from lvdm.transfers import sent
from lvdm.workspace import atomic_file

TOGETHER = 4  # videos whose key frames share batches, where one alone fills a batch with its gaps
GROUPS = 8  # that such sharing leaves at least


@dataclass(frozen=True)
class DenoiserSpec:
    """What sampling knows of a denoiser: how it was trained, what it is asked for, and a latent's (c, h, w)."""

    train_denoiser: TrainDenoiser
    prompts: Prompts
    latent_shape: tuple[int, int, int]


@dataclass(frozen=True)
class VideoRequest:
    """A video to make; `prompt` is a number among those of the denoiser's spec, without it the null prompt."""

    seed: int
    prompt: int | None
    num_latents: int


@dataclass(frozen=True)
class _Job:
    """One window of one requested video."""

    video: int  # among the requests
    request: VideoRequest
    window: Window


def group_videos(requests: Sequence[VideoRequest], train: TrainDenoiser, sample: Sample) -> list[range]:
    """Which requests, by index, are made together: in order, as many as fill a batch in their widest round.

    A long video fills it with its gaps alone, but its key frames are a window at a time: so of many such, up to
    TOGETHER share the batches of these, if that leaves GROUPS groups. For who divides the work among several devices
    divides whole groups; nothing here knows how many there are, so that the batches and with them the bits stay the
    same.

    Raises:
        ParamsError: no plan exists for these lengths, strides and overlap.
    """
    plans, as_long = _plans(requests, train, sample), Counter(request.num_latents for request in requests)
    groups: list[range] = []
    room = 0  # windows of the widest round that the last group still takes
    for index, request in enumerate(requests):
        widest = max(map(len, plans[request.num_latents].rounds))
        if widest > room:
            groups.append(range(index, index))
            together = min(TOGETHER, sample.batch_size, as_long[request.num_latents] // GROUPS)
            room = max(sample.batch_size, together * widest)
        groups[-1] = range(groups[-1].start, index + 1)
        room -= widest
    return groups


def rows_of_calls(requests: Sequence[VideoRequest], train: TrainDenoiser, sample: Sample) -> list[int]:
    """The batch size of every call of a denoiser in `sample_videos`, in order: windows times passes of guidance.

    Raises:
        ParamsError: no plan exists for these lengths, strides and overlap.
    """
    plans = _plans(requests, train, sample)
    return [
        len(batch) * _guidance(sample, batch).num_passes
        for group in group_videos(requests, train, sample)
        for batch in _batches([(i, requests[i], plans[requests[i].num_latents]) for i in group], sample.batch_size)
        for _ in _levels(sample, batch[0].window)[:-1]
    ]


def sample_videos(
    denoiser: nn.Module,
    spec: DenoiserSpec,
    sample: Sample,
    requests: Sequence[VideoRequest],
    scratch: Path,
    groups: Sequence[range] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    interpolator: nn.Module | None = None,
) -> Iterator[Float[Tensor, "c t h w"]]:
    """Whitened latents of every requested video, in order: float32, on the CPU, `num_latents` frames each.

    Runs on the device of the denoiser's parameters, where the videos that are being made lie too, each batch under
    `autocast`, and writes the batch to `scratch` when it is made: a run of the same work with the same scratch folder
    continues and gives the same bits. The device is waited for once a batch and once a group.

    Args:
        groups: of `group_videos`, those to make, if not all; one group is made and held in memory at a time.
        interpolator: fills the gaps, and `denoiser` makes the windows of which nothing or the first frames are given;
            without one, `denoiser` makes all windows.

    Raises:
        ArtefactError: the disk does not give back what was written there.
        ParamsError: no plan exists for these lengths, strides and overlap.
    """
    interpolator = denoiser if interpolator is None else interpolator
    assert not denoiser.training and not interpolator.training, "a denoiser samples in eval mode"
    plans = _plans(requests, spec.train_denoiser, sample)
    groups = group_videos(requests, spec.train_denoiser, sample) if groups is None else groups
    channels, height, width = spec.latent_shape
    device = next(denoiser.parameters()).device
    spec = replace(spec, prompts=spec.prompts.to(device))

    def batches(group: range) -> Iterator[list[_Job]]:
        planned = [(i, requests[i], plans[requests[i].num_latents]) for i in group]
        return _batches(planned, sample.batch_size)

    total = sum(1 for group in groups for _ in batches(group))
    ticks = progress(range(total), total, "sampling", "batch")
    next(ticks, None)  # each that follows says that a batch is done
    for group in groups:
        extents = {i: plans[requests[i].num_latents].extent for i in group}
        shapes = {i: (channels, extent, height, width) for i, extent in extents.items()}
        videos = {i: torch.full(shape, math.nan, device=device) for i, shape in shapes.items()}
        for number, batch in enumerate(batches(group), start=1):
            path = scratch / f"{group.start:06d}" / f"{number:06d}.safetensors"
            if path.exists():
                made = sent(_read(path), device)
            else:
                network = interpolator if batch[0].window.fills_a_gap else denoiser
                with autocast():
                    made = _make(network, spec, sample, batch, videos)
                with atomic_file(path) as beside:
                    save_file({"made": made.cpu()}, beside)
            for job, latents in zip(batch, made, strict=True):
                videos[job.video][:, _every(job.window.stride, job.window.made)] = latents
            next(ticks, None)
        # All at once: to fetch one later would be to wait for what was done with the one before.
        yield from [videos[i][:, : requests[i].num_latents].cpu() for i in group]


def _read(path: Path) -> Float[Tensor, "b c made h w"]:
    """The latents of a batch that is made."""
    try:
        return load_file(path)["made"]
    except SafetensorError as error:
        raise ArtefactError(f"{path}: damaged", got=str(error), remedy="remove it, and it is made again") from None


def _plans(requests: Sequence[VideoRequest], train: TrainDenoiser, sample: Sample) -> dict[int, Plan]:
    """The plan of each length that is asked for."""
    return {
        num_latents: plan_long_video(num_latents, train.window, train.strides, sample.overlap, sample.scheme)
        for num_latents in {request.num_latents for request in requests}
    }


def _batches(planned: Iterable[tuple[int, VideoRequest, Plan]], batch_size: int) -> Iterator[list[_Job]]:
    """The windows of all videos round by round; a batch has one pattern of given frames, prompted or not."""
    numbers, requests, plans = zip(*planned, strict=True)
    for windows_of_videos in zip_longest(*(plan.rounds for plan in plans), fillvalue=()):
        alike: dict[tuple[tuple[bool, ...], bool], list[_Job]] = {}
        for video, request, windows in zip(numbers, requests, windows_of_videos, strict=True):
            for window in windows:
                job = _Job(video, request, window)
                alike.setdefault((window.given, job.request.prompt is None), []).append(job)
        for jobs in alike.values():
            for start in range(0, len(jobs), batch_size):
                yield jobs[start : start + batch_size]


@torch.inference_mode()
def _make(
    denoiser: nn.Module, spec: DenoiserSpec, sample: Sample, batch: Sequence[_Job], videos: Mapping[int, Tensor]
) -> Float[Tensor, "b c made h w"]:
    """The latents that a batch of windows makes, on the device, which is not waited for."""
    objective, window, parameter = spec.train_denoiser.objective, batch[0].window, next(denoiser.parameters())
    device, schedule = parameter.device, Schedule(objective.schedule)
    given = sent(torch.tensor(window.given), device).expand(len(batch), -1)
    made = sent(torch.tensor([i for i, is_given in enumerate(window.given) if not is_given]), device)
    stride = sent(torch.tensor([job.window.stride for job in batch]), device)
    condition = _condition(batch, spec.prompts, device)
    guidance = _guidance(sample, batch)

    clean = torch.stack([videos[job.video][:, _every(job.window.stride, job.window.positions)] for job in batch])
    of_given = [given_noise(job.request.seed, job.window.positions, window.given, spec.latent_shape) for job in batch]
    noise = sent(torch.stack(of_given), device)
    perturbed = schedule.diffuse(clean, noise, torch.full(given.shape, sample.perturbation_level, device=device))

    def denoise(z: Tensor, level: float) -> Tensor:
        levels = torch.full(given.shape, level, device=device).masked_fill(given, sample.perturbation_level)
        prediction = guided_prediction(
            denoiser,
            perturbed.index_copy(2, made, z).to(parameter.dtype),
            FrameConditions(given, levels),
            stride,
            condition,
            noise=noise.to(parameter.dtype),
            guidance=guidance,
            perturbation_alpha=objective.perturbation.alpha,
        )
        alpha, sigma = schedule.alpha_sigma(torch.full((), level, device=device))
        return x0_of(objective.prediction, prediction.index_select(2, made).to(z.dtype), z, alpha, sigma)

    generators = [generator_of(job.request.seed, "window", job.window.made[0]) for job in batch]
    levels = _levels(sample, window)
    start = draw_noise(generators, clean.index_select(2, made))
    if levels[0] < 1:
        refined = torch.full((len(batch), len(made)), levels[0], device=device)
        start = schedule.diffuse(_between_ends(clean).index_select(2, made), start, refined)
    return _walked_down(sample, denoise, start, schedule, levels, generators).contiguous()


def _every(stride: int, positions: Sequence[int]) -> slice:
    """Positions that are `stride` apart, as a slice: a list of them would be an index, which the device waits for."""
    return slice(positions[0], positions[-1] + 1, stride)


def _levels(sample: Sample, window: Window) -> list[float]:
    """What the frames to make are walked down: from 1, or from the strength that a gap is refined at, to 0.

    Part of the way takes that part of the steps, rounded up.
    """
    strength = sample.refine_strength if window.fills_a_gap else 1.0
    return uniform_levels(strength, math.ceil(round(strength * sample.steps, 9)))  # 0.28 * 25 is a little over 7


def _condition(batch: Sequence[_Job], prompts: Prompts, device: torch.device) -> Condition:
    """What each window is asked to show."""
    numbers = [prompts.null if job.request.prompt is None else job.request.prompt for job in batch]
    return Condition(sent(torch.tensor(numbers), device), prompts)


def _guidance(sample: Sample, batch: Sequence[_Job]) -> Guidance:
    """The weights that can have an effect: without given frames both guide away from the prompt alone, in one pass."""
    prompted = batch[0].request.prompt is not None
    if any(batch[0].window.given):
        return Guidance(sample.guidance, sample.condition_guidance if prompted else 0.0)
    return Guidance(0.0, sample.guidance + sample.condition_guidance if prompted else 0.0)


def _between_ends(clean: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
    """Windows of which the ends are given, with the linear interpolation of these between them."""
    weight = rearrange(torch.linspace(0, 1, clean.shape[2], device=clean.device), "t -> t 1 1")
    return torch.lerp(clean[:, :, :1], clean[:, :, -1:], weight)


def _walked_down(
    sample: Sample,
    denoise: Denoise,
    start: Float[Tensor, "b c made h w"],
    schedule: Schedule,
    levels: Sequence[float],
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "b c made h w"]:
    """What the sampler asked for makes of `start`, which is at the first of `levels`."""
    match sample.sampler:
        case "ddpm":
            return ddpm(denoise, start, schedule, levels, generators)
        case "ddim":
            return ddim(denoise, start, schedule, levels, generators, eta=sample.eta)
        case "dpmpp2m":
            return dpmpp2m(denoise, start, schedule, levels)
