"""The losses against torch.distributions, and training against what it should reach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import MACHINE, Noise, adversarial, small_params, small_run
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from lvdm.data.frames import as_clip
from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.errors import ParamsError, WeightsError
from lvdm.evaluation.perceptual import load_perceptual
from lvdm.machine import Machine
from lvdm.models.autoencoder import IdentityAutoencoder, build_autoencoder
from lvdm.models.discriminator import PatchDiscriminator
from lvdm.training.autoencoder import (
    NUM_MEASURED_CLIPS,
    AutoencoderTraining,
    equivariance_error,
    gradient_ratio,
    kl_divergence,
    reconstruction_error,
    train_autoencoder,
)
from lvdm.training.fit import initialised
from lvdm.workspace import Workspace


def test_the_kl_divergence_is_that_of_torch():
    mean, logvar = torch.randn(2, 2, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    reference = reference_kl(Normal(mean, (logvar / 2).exp()), Normal(torch.zeros(()), torch.ones(())))
    torch.testing.assert_close(kl_divergence(mean, logvar), reference.mean())


def test_the_reconstruction_errors_are_means():
    clip = torch.zeros(1, 1, 1, 1, 2)
    off = torch.tensor([0.5, -1.5]).reshape(clip.shape)
    errors = [reconstruction_error(off, clip, kind).item() for kind in ("l1", "l2", "l1+l2")]
    assert errors == pytest.approx([1.0, 1.25, 2.25])


def test_the_equivariance_error_is_that_computed_by_hand():
    """With a decoder that doubles sides by repetition and adds 0.5."""
    latent = torch.arange(16.0).reshape(1, 1, 1, 4, 4)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return z.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4) + 0.5

    # means of the latent's quarters are 2.5, 4.5, 10.5, 12.5 and of all of it 7.5; the clip is 0 but for one quarter
    clip = torch.zeros(1, 1, 1, 8, 8)
    clip[..., :4, :4] = 3.0
    halves = (abs(2.5 + 0.5 - 3) + 4.5 + 0.5 + 10.5 + 0.5 + 12.5 + 0.5) / 4
    quarters = (abs(7.5 + 0.5 - 3) + 3 * (7.5 + 0.5)) / 4
    assert equivariance_error(decode, latent, clip, (2,), "l1").item() == pytest.approx(halves)
    assert equivariance_error(decode, latent, clip, (2, 4), "l1").item() == pytest.approx((halves + quarters) / 2)


def test_a_scale_that_does_not_divide_the_latent_is_refused(tmp_path: Path):
    with pytest.raises(ParamsError, match=r"objective\.equivariance\.factors: expected divisors .* \(1, 1\)"):
        small_run(tmp_path, {"equivariance": {"factors": [2], "weight": 0.25}})


def test_the_first_step_of_all_terms_and_its_gradients_are_those_computed_apart(tmp_path: Path, monkeypatch):
    """Adversarial weight: eq. 7 of arXiv 2012.09841, at the weights of the decoder's last layer.

    The part of the discriminator does not reach the autoencoder, nor that of the autoencoder the discriminator.
    """
    gradients: list[Tensor] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda ps, _: gradients.extend(p.grad.clone() for p in ps))
    terms = {**adversarial(0), "equivariance": {"factors": [2], "weight": 0.25}, "kl_weight": 0.5}
    params = small_params(terms, steps=1)
    params = params.model_copy(update={"network": params.network.model_copy(update={"space_factor": 4})})
    _, (traced,) = train_autoencoder(Noise(), params, MACHINE, tmp_path)
    network = initialised(lambda: build_autoencoder(params.network), params.training.seed)
    discriminator = initialised(lambda: PatchDiscriminator(8), params.training.seed)
    clip = as_clip(torch.stack([Noise()[i]["frames"] for i in range(2)]))
    mean, logvar = network.moments(clip)
    noise = draw_noise([generator_of("training", params.training.seed, i) for i in range(2)], mean)
    raw_latent = mean + (logvar / 2).exp() * noise
    made = network.reconstruct(raw_latent)
    last = network.decoder.last.weight
    off, adversarial_term = made - clip, -discriminator(made).mean()
    likeness = off.abs().mean() + (off**2).mean()
    small = torch.nn.functional.interpolate(raw_latent, scale_factor=(1, 0.5, 0.5), mode="trilinear")
    small_off = network.reconstruct(small) - torch.nn.functional.interpolate(clip, (4, 4, 4), mode="area")
    weight = 0.5 * torch.autograd.grad(likeness, last, retain_graph=True)[0].norm()
    weight = weight / (torch.autograd.grad(adversarial_term, last, retain_graph=True)[0].norm() + 1e-6)
    expected = {
        "reconstruction": likeness,
        "kl": kl_divergence(mean, logvar),
        "equivariance": small_off.abs().mean() + (small_off**2).mean(),
        "adversarial": adversarial_term,
        "adversarial_weight": weight,
        "discriminator": ((1 - discriminator(clip)).relu().mean() + (1 + discriminator(made)).relu().mean()) / 2,
    }
    of_autoencoder = likeness + 0.5 * expected["kl"] + 0.25 * expected["equivariance"] + weight * adversarial_term
    expected["loss"] = of_autoencoder + expected["discriminator"]
    assert traced == pytest.approx({"step": 1, **{k: v.item() for k, v in expected.items()}}, rel=1e-4)
    assert weight > 0
    apart = [
        *torch.autograd.grad(of_autoencoder, list(network.parameters()), retain_graph=True),
        *torch.autograd.grad(expected["discriminator"], list(discriminator.parameters())),
    ]
    torch.testing.assert_close(gradients, apart, atol=1e-5, rtol=1e-4)


def test_where_the_adversarial_term_has_no_gradient_its_weight_is_bounded():
    assert gradient_ratio(torch.ones(4), torch.zeros(4)) == 1e4


def test_the_gradients_of_a_network_are_clipped_by_their_own_norm_and_not_by_that_of_another():
    task = AutoencoderTraining(build_autoencoder(small_params().network), small_params(gradient_clip=1.0))
    large, small = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    large.grad, small.grad = torch.tensor([60.0, 80.0]), torch.tensor([0.3, 0.4])
    task.configure_gradient_clipping(torch.optim.SGD([{"params": [large]}, {"params": [small]}], lr=1.0))
    torch.testing.assert_close(large.grad, torch.tensor([0.6, 0.8]))
    assert small.grad.tolist() == pytest.approx([0.3, 0.4], rel=1e-7)


def test_until_it_plays_the_discriminator_changes_nothing_and_then_it_does(tmp_path: Path):
    def weights(folder: str, *objective: dict[str, object]) -> dict[str, torch.Tensor]:
        return small_run(tmp_path / folder, *objective, steps=6)[0].state_dict()

    plain, waiting, playing = weights("plain"), weights("waiting", adversarial(100)), weights("playing", adversarial(3))
    assert plain.keys() == waiting.keys() == playing.keys()  # the discriminator is not exported
    assert all(torch.equal(tensor, waiting[name]) for name, tensor in plain.items())
    assert not any(torch.equal(plain[name], playing[name]) for name in ("encoder.first.weight", "decoder.last.weight"))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("start", "moved"), [(100, False), (3, True)])
def test_the_state_of_a_run_has_the_discriminator_and_the_average_does_not(
    tmp_path: Path, start: int, moved: bool, accumulate: int
):
    autoencoder, history = small_run(tmp_path, adversarial(start), steps=6, accumulate=accumulate)
    state = torch.load(tmp_path / "run.ckpt", weights_only=True)
    untrained = initialised(lambda: PatchDiscriminator(8), 0).state_dict()
    trained = {name: state["state_dict"][f"discriminator.{name}"] for name in untrained}
    assert any(not torch.equal(trained[name], tensor) for name, tensor in untrained.items()) == moved
    assert len(state["callbacks"]["Average"]["weights"]) == len(list(autoencoder.parameters()))
    assert [row["discriminator"] > 0 for row in history] == [step >= start for step in range(6)]


def test_the_perceptual_term_falls_and_its_network_is_neither_trained_nor_saved(tmp_path: Path):
    try:
        perceptual = load_perceptual("pd_efflite0", Workspace(Path(__file__).parents[2]))
    except WeightsError as error:
        pytest.skip(str(error))
    before = [parameter.clone() for parameter in perceptual.parameters()]
    params = small_params({"perceptual": {"network": "pd_efflite0", "weight": 0.1}}, steps=60)
    _, history = train_autoencoder(OneClip(), params, MACHINE, tmp_path, perceptual)
    first, last = (sum(row["perceptual"] for row in rows) / 10 for rows in (history[:10], history[-10:]))
    assert last < 0.9 * first
    assert all(torch.equal(a, b) for a, b in zip(before, perceptual.parameters(), strict=True))
    state = torch.load(tmp_path / "run.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith("network.") for name in state)


class OneClip(Noise):
    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return super().__getitem__(0)


def test_a_single_clip_is_learnt_and_its_latents_are_white(tmp_path: Path):
    autoencoder, history = train_autoencoder(OneClip(), small_params(steps=200, ema_decay=0.5), MACHINE, tmp_path)
    assert history[-1]["reconstruction"] < 0.35 * history[0]["reconstruction"]
    clip = as_clip(OneClip()[0]["frames"][None])
    raw_latent, _ = autoencoder.moments(clip)  # not whitened, which may magnify the rounding of a constant
    torch.testing.assert_close(autoencoder.latent_mean, raw_latent.mean(dim=(0, 2, 3, 4)), atol=1e-5, rtol=0)


def test_the_identity_is_measured_and_not_trained(tmp_path: Path):
    params = small_params()
    changes = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}
    params = params.model_copy(update={"network": params.network.model_copy(update=changes)})
    autoencoder, history = train_autoencoder(Noise(), params, MACHINE, tmp_path)
    assert isinstance(autoencoder, IdentityAutoencoder) and history == []
    assert autoencoder.latent_std.tolist() == pytest.approx([3**-0.5] * 3, rel=0.02)


def test_whitening_is_measured_in_the_arithmetic_that_encodes(tmp_path):
    machine = Machine(accelerator="cpu", precision="bf16-mixed")
    network, _ = train_autoencoder(Noise(), small_params(steps=1), machine, tmp_path)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    clips = as_clip(torch.stack([Noise()[i]["frames"] for i in range(NUM_MEASURED_CLIPS)]))
    with machine.autocast():
        latents = network.encode(clips)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
    assert not torch.allclose(network.encode(clips).mean(dim=(0, 2, 3, 4)), torch.zeros(4), atol=1e-5)
