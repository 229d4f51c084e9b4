"""The discriminator: what a logit sees, whom gradients reach, and the hinge losses against plain numbers."""

from __future__ import annotations

import pytest
import torch

from lvdm.models.discriminator import PatchDiscriminator, discriminator_loss, generator_loss


def discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(8)


def clips(count: int, frames: int = 8, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, frames, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("frames", "size", "shape"), [(16, 64, (2, 8, 8)), (5, 32, (1, 4, 4)), (1, 8, (1, 1, 1))])
def test_there_is_a_logit_for_each_eighth_of_frames_height_and_width(frames, size, shape):
    assert discriminator()(clips(1, frames, size)).shape == (1, 1, *shape)


def test_the_logits_of_a_clip_do_not_depend_on_the_clips_beside_it():
    network, batch = discriminator(), clips(3)
    torch.testing.assert_close(network(batch)[:1], network(batch[:1]), atol=1e-6, rtol=0)


def test_the_discriminator_sees_the_order_of_frames():
    network, clip = discriminator(), clips(1)
    assert not torch.allclose(network(clip), network(clip.flip(2)).flip(2), atol=1e-4)


def test_held_constant_it_gives_the_same_logits_and_its_parameters_no_gradient():
    network, clip = discriminator(), clips(1).requires_grad_()
    logits = network.held(clip)
    assert torch.equal(logits, network(clip))
    logits.sum().backward()
    assert clip.grad is not None and clip.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_losses_are_those_of_hinge():
    real, fake = (torch.tensor(values).reshape(1, 1, 1, 1, 3) for values in ([2.0, 0.5, -1.0], [-3.0, 0.0, 1.0]))
    assert discriminator_loss(real, fake).item() == pytest.approx(((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3) / 2)
    assert generator_loss(fake).item() == pytest.approx(2 / 3)
