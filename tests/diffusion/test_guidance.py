from __future__ import annotations

import pytest
import torch

from lvdm.diffusion.frame_conditions import FrameConditions
from lvdm.diffusion.guidance import Guidance, guided_prediction
from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.diffusion.sampling import VideoRequest, rows_of_calls
from lvdm.diffusion.schedule import Schedule
from lvdm.models.condition import Condition, Prompts

from .conftest import LATENT_SHAPE, NUM_LABELS, asked

GIVEN = torch.tensor([[True, False, False, False, True]])
LEVEL = torch.where(GIVEN, 0.1, 0.7)
MADE = [1, 2, 3]


def frames(*key) -> torch.Tensor:
    channels, height, width = LATENT_SHAPE
    return draw_noise([generator_of(*key)], torch.empty(1, channels, 5, height, width))


def predict(network, z, *, frames_weight=0.0, condition_weight=0.0, label=1, condition=None, alpha=0.0, given=GIVEN):
    return guided_prediction(
        network,
        z,
        FrameConditions(given, LEVEL),
        torch.tensor([4]),
        condition or asked(label),
        noise=frames("noise"),
        guidance=Guidance(frames=frames_weight, condition=condition_weight),
        perturbation_alpha=alpha,
    )[:, :, MADE]


def with_other_given_frames(z: torch.Tensor) -> torch.Tensor:
    return torch.where(GIVEN[:, None, :, None, None], frames("other"), z)


class Counted:
    def __init__(self, network):
        self.network, self.batches = network, []

    def __call__(self, z, *rest):
        self.batches.append(len(z))
        return self.network(z, *rest)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_unconditional_pass_does_not_see_the_given_frames(network, alpha):
    """In the released code it does: they are written in place before it."""
    z, changed = frames("z"), with_other_given_frames(frames("z"))
    unconditional = predict(network, z, frames_weight=-1.0, alpha=alpha)
    assert torch.equal(unconditional, predict(network, changed, frames_weight=-1.0, alpha=alpha))
    assert not torch.allclose(predict(network, z, alpha=alpha), predict(network, changed, alpha=alpha), atol=1e-3)


def test_the_unconditional_pass_does_not_see_the_label(network):
    z = frames("z")
    assert torch.equal(
        predict(network, z, frames_weight=-1.0, label=0), predict(network, z, frames_weight=-1.0, label=1)
    )
    assert not torch.allclose(predict(network, z, label=0), predict(network, z, label=1), atol=1e-3)


def test_texts_are_guided_as_labels_are(reading_network):
    """Neither unconditional pass sees the text; the mix is that of the passes."""
    z, w, u = frames("z"), 0.3, 0.5
    texts = [torch.randn(length, 6, generator=generator_of("text", length)) for length in (4, 7)]
    null = torch.randn(2, 6, generator=generator_of("null"))
    conditions = [Condition(torch.tensor([i]), Prompts.of_texts(texts, null)) for i in range(3)]

    def said(number, frames_weight=0.0, condition_weight=0.0):
        weights = {"frames_weight": frames_weight, "condition_weight": condition_weight}
        return predict(reading_network, z, condition=conditions[number], **weights)

    for weights in ((-1.0, 0.0), (0.0, -1.0)):
        assert torch.equal(said(0, *weights), said(1, *weights))
    assert not torch.allclose(said(0), said(1), atol=1e-3)
    expected = (1 + w + u) * said(0) - w * said(0, -1.0) - u * said(2)
    assert torch.allclose(said(0, w, u), expected, atol=1e-5)


def test_zero_is_conditional_and_minus_one_is_unconditional(network):
    z = frames("z")
    conditional = network(z, LEVEL, torch.tensor([4]), asked(1))[:, :, MADE]
    z_hidden = torch.where(GIVEN[:, None, :, None, None], frames("noise"), z)
    level = LEVEL.masked_fill(GIVEN, 1)
    unconditional = network(z_hidden, level, torch.tensor([4]), asked(NUM_LABELS))[:, :, MADE]
    assert torch.equal(predict(network, z), conditional)
    assert torch.equal(predict(network, z, frames_weight=-1.0), unconditional)
    guided = predict(network, z, frames_weight=0.3)
    assert torch.allclose(guided, 1.3 * conditional - 0.3 * unconditional, atol=1e-5)


def test_condition_guidance_keeps_the_given_frames(network):
    z = frames("z")
    conditional, unlabelled = predict(network, z), predict(network, z, label=NUM_LABELS)
    guided = predict(network, z, condition_weight=0.5)
    assert torch.allclose(guided, 1.5 * conditional - 0.5 * unlabelled, atol=1e-5)
    assert torch.equal(predict(network, z, condition_weight=-1.0), unlabelled)


def test_both_guidances_add_up(network):
    z = frames("z")
    w, u = 0.3, 0.5
    expected = (
        (1 + w + u) * predict(network, z)
        - w * predict(network, z, frames_weight=-1.0)
        - u * predict(network, z, label=NUM_LABELS)
    )
    assert torch.allclose(predict(network, z, frames_weight=w, condition_weight=u), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("w", "u", "passes"), [(0, 0, 1), (0.1, 0, 2), (0, 0.5, 2), (0.1, 0.5, 3), (-1, 0, 1), (-0.7, -0.3, 2)]
)
def test_passes_run_as_one_batch_and_none_without_weight(network, w, u, passes):
    counted = Counted(network)
    predict(counted, frames("z"), frames_weight=float(w), condition_weight=float(u))
    assert counted.batches == [passes]


def test_mixing_v_is_mixing_eps(network):
    z, w = frames("z"), 0.3
    alpha, sigma = (s[:, None, :, None, None][:, :, MADE] for s in Schedule("cosine").alpha_sigma(LEVEL))

    def eps(v):
        return sigma * z[:, :, MADE] + alpha * v

    conditional, unconditional = predict(network, z), predict(network, z, frames_weight=-1.0)
    mixed = (1 + w) * eps(conditional) - w * eps(unconditional)
    assert torch.allclose(eps(predict(network, z, frames_weight=w)), mixed, atol=1e-5)


def test_passes_of_half_precision_are_mixed_in_float32():
    """A large weight would multiply the rounding of the mix."""

    def half(z, level, stride, condition):  # a product is rounded alike in every batch
        return (z * (condition.number + 2)[:, None, None, None, None] / 7).bfloat16()

    z, w = frames("z"), 7.5
    conditional, unconditional = (predict(half, z, frames_weight=weight).double() for weight in (0.0, -1.0))
    mixed = predict(half, z, frames_weight=w)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.double(), (1 + w) * conditional - w * unconditional, atol=1e-5, rtol=1e-5)


def test_a_video_without_a_prompt_shares_no_batch_with_prompted_ones_whose_guidance_it_would_take(train, params):
    requests = [VideoRequest(seed, prompt, 4) for seed, prompt in enumerate((None, 1, 2))]
    changes = {"steps": 3, "batch_size": 3, "condition_guidance": 0.5}
    assert rows_of_calls(requests, train, params.sample.model_copy(update=changes)) == [1] * 3 + [2 * 2] * 3
