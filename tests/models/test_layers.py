"""Invariants of the shared layers."""

from __future__ import annotations

import pytest
import torch

from lvdm.models.layers import (
    CausalConvolution,
    CausalState,
    PointwiseConvolution,
    channel_norm,
    depth_to_space,
    space_to_depth,
)


def video(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_norm_of_a_position_depends_on_that_position_alone():
    x = video(1, 8, 4, 3, 3)
    changed = x.clone()
    changed[:, 0, 2, 1, 1] += 5
    differs = (channel_norm(x) != channel_norm(changed)).any(dim=1)[0]
    assert differs[2, 1, 1] and differs.sum() == 1


def test_the_norm_leaves_a_root_mean_square_of_one():
    assert torch.allclose(channel_norm(5 * video(2, 16, 3, 4, 4)).square().mean(dim=1), torch.ones(()), atol=1e-5)


def test_the_norm_of_zeros_is_zero_and_has_a_gradient():
    x = torch.zeros(1, 4, 1, 2, 2, requires_grad=True)
    channel_norm(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1e-5, 1e-3, 1.0, 60_000.0])
def test_the_norm_in_float16_is_finite_and_where_it_is_not_tiny_that_of_float32(value):
    x = torch.full((1, 512, 1, 1, 1), value, dtype=torch.float16)
    normed = channel_norm(x).float()
    assert normed.isfinite().all()
    if value != 1e-5:
        torch.testing.assert_close(normed, channel_norm(x.float()), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("factors", [(1, 1, 1), (4, 8, 8), (2, 1, 2)])
def test_depth_to_space_undoes_space_to_depth(factors):
    x = video(2, 3, 8, 16, 8)
    assert torch.equal(depth_to_space(space_to_depth(x, factors), factors), x)


def test_space_to_depth_keeps_the_frames_of_a_group_together():
    x = torch.arange(8.0).reshape(1, 1, 8, 1, 1)
    assert space_to_depth(x, (4, 1, 1)).flatten(2).tolist() == [[[0, 4], [1, 5], [2, 6], [3, 7]]]


def test_a_causal_convolution_does_not_see_the_future():
    layer, x = CausalConvolution(2, 3, (3, 3, 3)), video(1, 2, 6, 4, 4)
    changed = x.clone()
    changed[:, :, 4:] += 1
    before, after = layer(x), layer(changed)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.allclose(before[:, :, 4], after[:, :, 4])


@pytest.mark.parametrize("sizes", [[1] * 7, [3, 1, 3], [2, 5]])
def test_a_convolution_in_chunks_is_the_convolution_of_the_whole(sizes):
    layer, x, state = CausalConvolution(2, 3, (4, 1, 1)), video(1, 2, 7, 2, 2), CausalState()
    chunks = [layer(chunk, state) for chunk in x.split(sizes, dim=2)]
    assert torch.allclose(torch.cat(chunks, dim=2), layer(x), atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_pointwise_convolution_is_that_of_torch_with_channels_last_in_memory(layout):
    layer, x = PointwiseConvolution(6, 5), video(2, 6, 3, 4, 7).contiguous(memory_format=layout)
    expected = torch.nn.functional.conv3d(x, layer.weight[:, :, None, None, None], layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert layer(x).is_contiguous(memory_format=torch.channels_last_3d)
