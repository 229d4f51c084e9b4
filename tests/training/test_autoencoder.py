"""The losses against torch.distributions, and training against what it should reach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE, Noise, small_params
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from lvdm.models.autoencoder import IdentityAutoencoder
from lvdm.training.autoencoder import kl_divergence, reconstruction_error, train_autoencoder


def test_the_kl_divergence_is_that_of_torch():
    mean, logvar = torch.randn(2, 2, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    reference = reference_kl(Normal(mean, (logvar / 2).exp()), Normal(torch.zeros(()), torch.ones(())))
    torch.testing.assert_close(kl_divergence(mean, logvar), reference.mean())


def test_the_reconstruction_errors_are_means():
    clip = torch.zeros(1, 1, 1, 1, 2)
    off = torch.tensor([0.5, -1.5]).reshape(clip.shape)
    errors = [reconstruction_error(off, clip, kind).item() for kind in ("l1", "l2", "l1+l2")]
    assert errors == pytest.approx([1.0, 1.25, 2.25])


class OneClip(Noise):
    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return super().__getitem__(0)


def test_a_single_clip_is_learnt_and_its_latents_are_white(tmp_path: Path):
    autoencoder, history = train_autoencoder(OneClip(), small_params(steps=200, ema_decay=0.5), MACHINE, tmp_path)
    assert history[-1]["reconstruction"] < 0.35 * history[0]["reconstruction"]
    raw_latent, _ = autoencoder.moments(OneClip()[0]["clip"][None])  # whitening may magnify the rounding of a constant
    torch.testing.assert_close(autoencoder.latent_mean, raw_latent.mean(dim=(0, 2, 3, 4)), atol=1e-5, rtol=0)


def test_the_identity_is_measured_and_not_trained(tmp_path: Path):
    params = small_params()
    changes = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}
    params = params.model_copy(update={"network": params.network.model_copy(update=changes)})
    autoencoder, history = train_autoencoder(Noise(), params, MACHINE, tmp_path)
    assert isinstance(autoencoder, IdentityAutoencoder) and history == []
    assert autoencoder.latent_std.tolist() == pytest.approx([3**-0.5] * 3, rel=0.02)
