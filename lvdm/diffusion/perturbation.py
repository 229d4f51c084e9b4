"""Conditional latent perturbation: given frames are made a little wrong, so that errors of earlier windows do not grow.

Two kinds, apart:
- the paper's (arXiv 2211.13221): given frames are diffused to a small level s, which the denoiser is told. In training
  s is drawn (frame_conditions.py); in sampling it is fixed, and `given_noise` is what they are diffused with;
- the seed text's z_t <- z_t + alpha Perturb(c): `add_perturbed_condition`.

Not here: the diffusion itself (schedule.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from lvdm.diffusion.noise import generator_of


def given_noise(
    video_seed: int, positions: Sequence[int], given: Sequence[bool], latent_shape: tuple[int, int, int]
) -> Float[Tensor, "c t h w"]:
    """The noise that perturbs the latents at `positions` of a video where they are given; zeros elsewhere.

    A function of the video's seed and the position alone: a key frame that two gaps share is perturbed once, and
    identically in every step and window. Returns float32 on the CPU; `latent_shape` is (c, h, w).
    """
    noise = torch.zeros(len(positions), *latent_shape)
    for frame, position, is_given in zip(noise, positions, given, strict=True):
        if is_given:
            frame.normal_(generator=generator_of(video_seed, "given", position))
    return noise.transpose(0, 1)


def add_perturbed_condition(
    z: Float[Tensor, "b c t h w"], given: Bool[Tensor, "b t"], alpha: float
) -> Float[Tensor, "b c t h w"]:
    """z_t <- z_t + alpha Perturb(c) on the frames to make; given frames stay.

    Perturb(c) is the mean over the window's given frames as they stand in z, that is alpha_s c + sigma_s noise: the
    condition in the space of latents mixed with noise of level s. Hidden frames are pure noise in z, hence so is
    Perturb(c); a window without given frames gets none. It shifts what the denoiser reads, in training and in each
    step of sampling alike; targets and the sampler's own z are those of the unshifted z_t. alpha = 0 is exactly off.
    """
    if alpha == 0:
        return z
    mask = rearrange(given, "b t -> b 1 t 1 1")
    total = torch.where(mask, z, 0).sum(dim=2, keepdim=True)
    return torch.where(mask, z, z + alpha * total / mask.sum(dim=2, keepdim=True).clamp(min=1))
