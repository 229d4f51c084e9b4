from __future__ import annotations

import torch

from lvdm.diffusion.noise import draw_noise, draw_uniform, generator_of, seed_of


def test_a_row_does_not_depend_on_the_rows_beside_it():
    alone = draw_noise([generator_of(7)], torch.empty(1, 3, 4))
    beside = draw_noise([generator_of(1), generator_of(7)], torch.empty(2, 3, 4))
    assert torch.equal(alone[0], beside[1])
    assert torch.equal(draw_uniform([generator_of(7)], 5)[0], draw_uniform([generator_of(1), generator_of(7)], 5)[1])


def test_different_keys_give_different_numbers_and_equal_keys_equal_ones():
    seeds = {seed_of(video, purpose, i) for video in range(10) for purpose in ("a", "b") for i in range(50)}
    assert len(seeds) == 1000
    assert seed_of(3, "a", 1) == 1946844658  # in any process


def test_noise_has_the_dtype_of_what_it_is_for():
    assert draw_noise([generator_of(0)], torch.empty(1, 2, dtype=torch.float64)).dtype == torch.float64
