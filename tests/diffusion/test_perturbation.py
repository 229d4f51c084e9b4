from __future__ import annotations

import torch

from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.diffusion.perturbation import add_perturbed_condition, given_noise

SHAPE = (2, 3, 3)
GIVEN = torch.tensor([[True, False, False, True], [False, False, False, False]])


def window() -> torch.Tensor:
    return draw_noise([generator_of(0), generator_of(1)], torch.empty(2, 2, 4, 3, 3))


def test_a_frame_that_two_windows_share_is_perturbed_once():
    """The released code draws the noise of the condition again for every gap."""
    ends = (True, False, True)
    before, after = given_noise(5, (0, 4, 8), ends, SHAPE), given_noise(5, (8, 12, 16), ends, SHAPE)
    assert torch.equal(before[:, 2], after[:, 0])
    assert before[:, 0].all() and after[:, 2].all()
    assert not before[:, 1].any(), "nothing is drawn for a frame that is made"


def test_positions_and_videos_are_perturbed_differently():
    noise = (
        torch.stack([given_noise(seed, range(50), [True] * 50, SHAPE) for seed in range(10)])
        .transpose(1, 2)
        .flatten(0, 1)
    )
    assert noise.unique(dim=0).shape[0] == 500
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_alpha_zero_is_exactly_off():
    z = window()
    assert add_perturbed_condition(z, GIVEN, 0.0) is z


def test_the_mean_of_the_given_frames_is_added_to_the_frames_to_make_alone():
    z = window()
    shifted = add_perturbed_condition(z, GIVEN, 0.5)
    assert torch.equal(shifted[0][:, [0, 3]], z[0][:, [0, 3]])
    expected = z[0][:, [1, 2]] + 0.5 * z[0][:, [0, 3]].mean(dim=1, keepdim=True)
    assert torch.allclose(shifted[0][:, [1, 2]], expected)
    assert torch.equal(shifted[1], z[1])
