"""Invariants of attention: what sees what, and what rotary positions depend on."""

from __future__ import annotations

import math

import pytest
import torch

from lvdm.models.attention import (
    CrossAttention,
    SelfAttention,
    SpatialAttention,
    TemporalAttention,
    positions_together,
    rotary_turns,
    rotate,
)


def awake(layer: SelfAttention) -> SelfAttention:
    """`layer` with random weights in place of the zeros that it begins with."""
    torch.manual_seed(0)
    torch.nn.init.normal_(layer.out.weight)
    return layer.requires_grad_(False)


def changed_positions(layer: SelfAttention) -> torch.Tensor:
    """Where (t h w) the output changes when position (1, 2, 0) of the input does."""
    x = torch.randn(1, 8, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, 1, 2, 0] *= -1
    return (layer(other) != layer(x)).any(dim=1)[0]


def test_spatial_attention_stays_within_a_frame():
    changed = changed_positions(awake(SpatialAttention(8, 4)))
    assert changed[1].all() and changed.sum() == 8


def test_temporal_attention_stays_within_a_position():
    changed = changed_positions(awake(TemporalAttention(8, 4)))
    assert changed[:, 2, 0].all() and changed.sum() == 3


@pytest.mark.parametrize(
    ("frames", "sides", "together"), [(3, (4, 4), 16), (5, (2, 6), 4), (2, (3, 5), 1), (70, (2, 2), 1)]
)
def test_positions_that_share_a_sequence_get_what_each_gets_alone(frames, sides, together):
    layer = awake(TemporalAttention(8, 4))
    x = torch.randn(2, 8, frames, *sides, generator=torch.Generator().manual_seed(0))
    assert positions_together(frames, math.prod(sides)) == together
    alone = [[layer(x[..., i : i + 1, j : j + 1]) for j in range(sides[1])] for i in range(sides[0])]
    torch.testing.assert_close(layer(x), torch.cat([torch.cat(row, dim=4) for row in alone], dim=3))


def test_attention_begins_as_the_identity():
    x = torch.randn(1, 8, 3, 4, 2)
    assert torch.equal(TemporalAttention(8, 4)(x), x)


@pytest.mark.parametrize("layer", [SpatialAttention(8, 4), TemporalAttention(8, 4)])
def test_self_attention_is_the_formula(layer):
    """x + out(softmax(q k / sqrt(d)) v), head by head, at one frame or one position; a product of rotated queries and
    keys is the real part of a product of complex numbers.
    """
    x = torch.randn(1, 8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    spatial = isinstance(awake(layer), SpatialAttention)
    here = x[0, :, 1].flatten(1).T if spatial else x[0, :, :, 1, 0].T
    q, k, v = layer.qkv(here / here.square().mean(dim=1, keepdim=True).sqrt()).chunk(3, dim=1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        one, other = (torch.complex(*each[:, head].chunk(2, dim=1)) for each in (q, k))
        if not spatial:
            turn = torch.exp(1j * torch.arange(3)[:, None] * torch.tensor([1.0, 0.1]))
            one, other = one * turn, other * turn
        heads.append(torch.softmax((one @ other.mH).real / 4**0.5, dim=1) @ v[:, head])
    expected = here + layer.out(torch.cat(heads, dim=1))
    found = layer(x)[0, :, 1].flatten(1).T if spatial else layer(x)[0, :, :, 1, 0].T
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rotary_angles_are_those_of_the_paper():
    """Position n turns pair i by n / base^(2 i / d), here of base 100 and d = 4."""
    angles = torch.tensor([[0.0, 0.0], [1.0, 0.1], [2.0, 0.2]])
    torch.testing.assert_close(rotary_turns(3, 4), torch.stack([angles.cos(), angles.sin()]))


def test_rotated_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)).double()
    turns = rotary_turns(20, 8).double()
    products = rotate(q.expand(20, 8), turns) @ rotate(k.expand(20, 8), turns).T
    torch.testing.assert_close(products[3:, 3:], products[:-3, :-3], rtol=0, atol=1e-5)
    assert (products[0] - products[0, 0]).abs()[1:].min() > 1e-3


def test_temporal_attention_tells_the_order_of_frames():
    layer, x = awake(TemporalAttention(8, 4)), torch.randn(1, 8, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(layer(x.flip(2)).flip(2), layer(x), atol=1e-4)


def test_temporal_attention_depends_on_the_distances_of_frames_alone():
    layer, x = awake(TemporalAttention(8, 4)), torch.randn(1, 8, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    before = layer(x)
    layer.turns = layer.turns.roll(-9, dims=1)  # as if the window began at position 9
    torch.testing.assert_close(layer(x), before)


def cross_attention_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x of two windows, and texts of five and of three tokens."""
    generator = torch.Generator().manual_seed(0)
    x, tokens = torch.randn(2, 8, 3, 2, 2, generator=generator), torch.randn(2, 5, 6, generator=generator)
    return x, tokens, torch.arange(5) < torch.tensor([[5], [3]])


def awake_cross_attention() -> CrossAttention:
    torch.manual_seed(0)
    layer = CrossAttention(8, 6, 4)
    torch.nn.init.normal_(layer.out.weight)
    return layer.requires_grad_(False)


def test_cross_attention_is_the_formula_in_float64():
    """softmax(q k / sqrt(d)) v over the real tokens alone, head by head and position by position."""
    layer, (x, tokens, mask) = awake_cross_attention(), cross_attention_inputs()
    exact = CrossAttention(8, 6, 4).double().requires_grad_(False)
    exact.load_state_dict(layer.state_dict())
    expected = x.double()
    for window, length in enumerate(mask.sum(dim=1).tolist()):
        real = tokens[window, :length].double()
        normalised = (real - real.mean(1, keepdim=True)) / (real.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        k, v = exact.kv(normalised).chunk(2, dim=1)
        for position in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(2)).tolist():
            here = x[(window, slice(None), *position)].double()
            q = exact.q(here / here.square().mean().sqrt())
            heads = [
                torch.softmax(k[:, head] @ q[head] / 4**0.5, dim=0) @ v[:, head] for head in (slice(0, 4), slice(4, 8))
            ]
            expected[(window, slice(None), *position)] += exact.out(torch.cat(heads))
    torch.testing.assert_close(layer(x, tokens, mask).double(), expected, atol=1e-5, rtol=1e-5)


def test_padding_of_a_text_changes_nothing():
    layer, (x, tokens, mask) = awake_cross_attention(), cross_attention_inputs()
    before = layer(x, tokens, mask)
    other = torch.where(mask[..., None], tokens, 100.0)
    assert torch.equal(layer(x, other, mask), before)
    longer = torch.nn.functional.pad(tokens, (0, 0, 0, 4)), torch.nn.functional.pad(mask, (0, 4))
    torch.testing.assert_close(layer(x, *longer), before, atol=1e-6, rtol=1e-6)
    shown = torch.nn.functional.pad(mask[:, :3], (0, 2), value=True)
    assert not torch.allclose(layer(x, other, shown)[1], before[1], atol=1e-3)


def test_cross_attention_begins_as_the_identity():
    x, tokens, mask = cross_attention_inputs()
    assert torch.equal(CrossAttention(8, 6, 4)(x, tokens, mask), x)
