"""Invariants of the autoencoder: causality, chunks, factors, whitening."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from lvdm.errors import ParamsError
from lvdm.models.autoencoder import (
    Autoencoder,
    CausalBlock,
    IdentityAutoencoder,
    build_autoencoder,
    resampling_plan,
)
from lvdm.params import AutoencoderNetwork

SMALL = {
    "kind": "causal",
    "time_factor": 4,
    "space_factor": 4,
    "latent_channels": 2,
    "channels": (8, 16),
    "encoder_blocks": 1,
    "decoder_blocks": 1,
}
IDENTITY = {**SMALL, "kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3}


def autoencoder(**changes: object) -> Autoencoder:
    """One with random weights everywhere: those that begin as zeros would hide what a layer sees."""
    torch.manual_seed(0)
    network = build_autoencoder(AutoencoderNetwork(**{**SMALL, **changes}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        network.latent_mean.normal_()
        network.latent_std.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


def clip(frames: int = 16, size: int = 8, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("time", "space"), [*itertools.product((1, 2, 4), (1, 2, 4, 8))])
def test_every_pair_of_factors_gives_its_shapes(time, space):
    network = autoencoder(time_factor=time, space_factor=space, channels=(8, 8) if time * space > 1 else (8,))
    latent = network.encode(clip())
    assert latent.shape == (1, 2, 16 // time, 8 // space, 8 // space)
    assert network.decode(latent).shape == (1, 3, 16, 8, 8)


@pytest.mark.parametrize("channels", [(8,), (8, 8), (8, 8, 8), (8, 8, 8, 8)])
def test_the_number_of_levels_does_not_change_the_shape_of_the_latent(channels):
    assert autoencoder(space_factor=8, channels=channels).encode(clip()).shape == (1, 2, 4, 1, 1)


def test_encoder_and_decoder_have_residual_blocks_of_their_own():
    network = autoencoder(encoder_blocks=1, decoder_blocks=3)
    found = [[len(level.blocks) for level in half.levels] for half in (network.encoder, network.decoder)]
    assert found == [[1, 1], [3, 3]]
    assert network.decode(network.encode(clip())).shape == clip().shape


@pytest.mark.parametrize(
    ("time", "space", "levels", "patch", "resamplings"),
    [
        (4, 8, 1, (4, 8, 8), []),
        (4, 8, 3, (1, 2, 2), [(2, 2, 2), (2, 2, 2)]),
        (2, 8, 4, (1, 1, 1), [(1, 2, 2), (1, 2, 2), (2, 2, 2)]),
        (4, 2, 3, (1, 1, 1), [(2, 1, 1), (2, 2, 2)]),
    ],
)
def test_what_is_halved_fewer_times_than_there_are_levels_is_halved_at_the_coarsest(
    time, space, levels, patch, resamplings
):
    config = AutoencoderNetwork(**{**SMALL, "time_factor": time, "space_factor": space, "channels": (8,) * levels})
    assert resampling_plan(config) == (patch, resamplings)


@pytest.mark.parametrize("channels", [(8,), (8, 16), (8, 8, 8)])
def test_latent_i_sees_every_frame_of_its_group_and_none_later(channels):
    network, video = autoencoder(channels=channels), clip()
    whole = network.encode(video)
    for frame in range(16):
        changed = video.clone()
        changed[:, :, frame] *= -1
        differs = (network.encode(changed) != whole).flatten(3).any(dim=3).any(dim=1)[0]
        assert not differs[: frame // 4].any()
        assert differs[frame // 4]


def test_a_decoded_frame_sees_no_later_latent():
    network = autoencoder()
    latent = network.encode(clip())
    changed = latent.clone()
    changed[:, :, 2] += 1
    differs = (network.decode(changed) != network.decode(latent)).any(dim=1).flatten(2).any(dim=2)[0]
    assert not differs[:8].any()
    assert differs[8:12].all()


def test_a_block_is_a_convolution_in_space_then_one_in_time_over_the_past_and_begins_as_the_identity():
    torch.manual_seed(0)
    block, x = CausalBlock(4).double(), torch.randn(2, 4, 5, 3, 3).double()
    assert torch.equal(block(x, None), x)
    torch.nn.init.normal_(block.in_time.weight)
    h = F.conv3d(F.silu(F.rms_norm(x.movedim(1, -1), (4,)).movedim(-1, 1)), block.in_space.weight, padding=(0, 1, 1))
    h = h + block.in_space.bias[:, None, None, None]
    h = F.silu(F.rms_norm(h.movedim(1, -1), (4,)).movedim(-1, 1))
    h = torch.cat([h[:, :, :1], h[:, :, :1], h], dim=2)
    torch.testing.assert_close(block(x, None), x + F.conv3d(h, block.in_time.weight))


def test_a_still_video_is_still_in_its_latents_from_the_first_one_on():
    """The frames before the first are that one, not black ones."""
    network = autoencoder()
    latent = network.encode(clip(4).mean(dim=2, keepdim=True).expand(-1, -1, 16, -1, -1))
    torch.testing.assert_close(latent, latent[:, :, -1:].expand_as(latent))


FACTORS = pytest.mark.parametrize(("time", "space"), [*itertools.product((4, 2, 1), (8, 4, 2))])
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=6)  # odd ones and ones below a latent's frames among them


@FACTORS
@given(sizes=SIZES)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_encoding_in_chunks_of_any_sizes_gives_the_numbers_of_the_whole(time, space, sizes):
    network, video = autoencoder(time_factor=time, space_factor=space), clip(sum(sizes))
    assume(sum(sizes) >= time)
    chunked = torch.cat(list(network.encode_stream(video.split(sizes, dim=2))), dim=2)
    whole = network.encode(video[:, :, : sum(sizes) // time * time])
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)


@FACTORS
@given(sizes=SIZES)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_decoding_in_chunks_of_any_sizes_gives_the_numbers_of_the_whole(time, space, sizes):
    network = autoencoder(time_factor=time, space_factor=space)
    latent = network.encode(clip(sum(sizes) * time))
    chunked = torch.cat(list(network.decode_stream(latent.split(sizes, dim=2))), dim=2)
    torch.testing.assert_close(chunked, network.decode(latent), atol=1e-5, rtol=0)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that PyTorch's CPU allocator gave out at one time, as it tells the profiler.

    Not the resident memory of a process: beside the interpreter's hundreds of megabytes a network of this size would
    not be seen, and what malloc keeps for later differs from run to run.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        work()
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def exhaust(stream: Iterable[torch.Tensor]) -> None:
    for _ in stream:
        pass


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")  # torch 2.11 says so once
def test_a_stream_of_4096_frames_needs_the_memory_of_64_and_one_piece_does_not():
    network = autoencoder(space_factor=8)
    few, many = (
        peak_bytes(lambda n=n: exhaust(network.decode_stream(torch.zeros(1, 2, 8, 2, 2) for _ in range(n // 32))))
        for n in (64, 4096)
    )
    assert many == pytest.approx(few, rel=0.05)
    few, many = (
        peak_bytes(lambda n=n: exhaust(network.encode_stream(torch.zeros(1, 3, 31, 16, 16) for _ in range(n // 31))))
        for n in (64, 4096)
    )
    assert many == pytest.approx(few, rel=0.05)
    whole = [peak_bytes(lambda n=n: network.decode(torch.zeros(1, 2, n // 4, 2, 2))) for n in (64, 4096)]
    assert whole[1] > 50 * whole[0]


def test_two_streams_at_once_do_not_mix():
    network, one, other = autoencoder(), clip(8), -clip(8)
    streams = network.encode_stream(one.split(4, dim=2)), network.encode_stream(other.split(4, dim=2))
    pairs = list(zip(*streams, strict=True))
    for i, video in enumerate((one, other)):
        chunked = torch.cat([pair[i] for pair in pairs], dim=2)
        torch.testing.assert_close(chunked, network.encode(video), atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_a_pass_returned_is_not_overwritten_by_the_next_as_a_cuda_graph_would():
    network, places = autoencoder(), {}
    for part in (network.encoder, network.decoder):
        part.register_forward_hook(lambda part, _, out: places.setdefault(part, out.clone()).copy_(out))
    first = network.moments(clip())[0]
    decoded = network.reconstruct(first)
    expected = first.clone(), decoded.clone()
    others = network.moments(-clip())[0], network.reconstruct(-first)
    for mine, kept, other in zip((first, decoded), expected, others, strict=True):
        assert torch.equal(mine, kept) and not torch.equal(mine, other)


@pytest.mark.parametrize("changes", [{}, IDENTITY], ids=["causal", "identity"])
def test_measured_latents_are_white(changes):
    network = autoencoder(**changes)
    clips = [3 * clip(batch=3) + 1, 3 * clip(batch=1) + 1]
    network.measure_latents(clips)
    std, mean = torch.std_mean(torch.cat([network.encode(c) for c in clips]).double(), dim=(0, 2, 3, 4), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-4, rtol=0)


def test_a_spread_that_is_small_beside_the_mean_is_measured():
    network, video = autoencoder(**IDENTITY), 1000 + 0.01 * clip().sign()
    network.measure_latents([video])
    assert network.latent_std.tolist() == pytest.approx([0.01] * 3, rel=0.01)


def test_a_log_variance_stays_where_its_exponential_is_a_number():
    network = autoencoder()
    network.encoder.last.bias[2:] = torch.tensor([-1e6, 1e6])
    _, logvar = network.moments(clip())
    assert [channel.unique().tolist() for channel in logvar[0]] == [[-30], [20]]


def test_whitening_does_not_change_what_is_decoded():
    network, video = autoencoder(), clip()
    before = network.decode(network.encode(video))
    network.measure_latents([video])
    torch.testing.assert_close(network.decode(network.encode(video)), before, atol=1e-4, rtol=0)


def test_the_identity_gives_every_pixel_back():
    network = autoencoder(**IDENTITY)
    assert isinstance(network, IdentityAutoencoder)
    network.measure_latents([clip()])
    torch.testing.assert_close(network.decode(network.encode(clip())), clip(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 6, 8, 8), (1, 3, 8, 10, 8)])
def test_a_clip_that_the_factors_do_not_divide_is_an_error(shape):
    with pytest.raises(ParamsError, match="multiples of 4, 4 and 4"):
        autoencoder().encode(torch.zeros(shape))
