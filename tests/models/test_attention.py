"""Invariants of attention: what sees what, and what rotary positions depend on."""

from __future__ import annotations

import torch

from lvdm.models.attention import SelfAttention, SpatialAttention, TemporalAttention, rotary_angles, rotate


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


def test_attention_begins_as_the_identity():
    x = torch.randn(1, 8, 3, 4, 2)
    assert torch.equal(TemporalAttention(8, 4)(x), x)


def test_rotated_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)).double()
    angles = rotary_angles(20, 8, torch.device("cpu")).double()
    products = rotate(q.expand(20, 8), angles) @ rotate(k.expand(20, 8), angles).T
    torch.testing.assert_close(products[3:, 3:], products[:-3, :-3], rtol=0, atol=1e-5)
    assert (products[0] - products[0, 0]).abs()[1:].min() > 1e-3


def test_temporal_attention_tells_the_order_of_frames():
    layer, x = awake(TemporalAttention(8, 4)), torch.randn(1, 8, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(layer(x.flip(2)).flip(2), layer(x), atol=1e-4)
