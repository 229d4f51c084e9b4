"""Invariants of the denoiser."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from lvdm import presets
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser, FrameEmbedding, SpatialBlock, TemporalConvolution, sinusoids
from lvdm.params import DenoiserNetwork

ROOT = Path(__file__).parents[2]
SMALL = {
    "channels": 8,
    "channel_multipliers": (1, 2),
    "num_blocks": 1,
    "attention_levels": (0, 1),
    "head_channels": 4,
    "temporal_convolution": True,
    "condition": "label",
}


LABELS = Vocabulary(labels=("a", "b", "c"))


def asked(*labels: int) -> Condition:
    return Condition(torch.tensor(labels), Prompts.of_labels(3))


def denoiser(**changes: object) -> Denoiser:
    """One with random weights everywhere: it begins as zeros."""
    torch.manual_seed(0)
    network = Denoiser(DenoiserNetwork(**{**SMALL, **changes}), 2, LABELS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.requires_grad_(False)


def inputs(batch: int = 2, frames: int = 4, height: int = 8, width: int = 8) -> list:
    g = torch.Generator().manual_seed(1)
    z = torch.randn(batch, 2, frames, height, width, generator=g)
    return [z, torch.rand(batch, frames, generator=g), torch.arange(1, batch + 1), asked(*range(batch))]


def test_it_begins_as_zero():
    network = Denoiser(DenoiserNetwork(**SMALL), 2, LABELS)
    assert not network(*inputs()).any()


@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 2, 3), (1, 1, 2, 2)])
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 2)])
def test_any_size_and_number_of_levels_gives_the_shape_of_the_input_and_each_level_has_half_the_sides(
    multipliers, size
):
    network, (z, *rest), sides = (
        denoiser(channel_multipliers=multipliers, attention_levels=(0,)),
        inputs(1, 3, *size),
        [],
    )
    for level in (*network.stem.before, *network.body.before):
        level.blocks.register_forward_pre_hook(lambda _, given: sides.append(tuple(given[0].shape[3:])))
    assert network(z, *rest).shape == z.shape
    assert sides == [tuple(-(-side // 2**i) for side in size) for i in range(len(multipliers))]


def test_little_of_the_gradients_is_left_when_those_of_the_body_are_exchanged():
    """At the official sizes; a third of the operations of a backward pass is still to come then."""
    network = yaml.safe_load(presets.render("reference"))["train_denoiser"]["network"]
    with torch.device("meta"):
        denoiser = Denoiser(DenoiserNetwork(**network), 4, Vocabulary())
    of_stem, of_all = (sum(p.numel() for p in part.parameters()) for part in (denoiser.stem, denoiser))
    assert of_stem < 0.07 * of_all


def test_a_sample_does_not_depend_on_its_batch():
    network, (*batch, condition) = denoiser(), inputs(3)
    together = network(*batch, condition)
    for rows in ([2, 0, 1], [0]):
        some = network(*(x[rows] for x in batch), asked(*rows))
        torch.testing.assert_close(some, together[rows], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_one_network_takes_windows_of_any_length(frames):
    assert denoiser()(*inputs(frames=frames)).isfinite().all()


def test_the_level_of_each_frame_matters():
    network, (z, level, stride, condition) = denoiser(), inputs(1)
    before = network(z, level, stride, condition)
    for frame in range(4):
        changed = level.clone()
        changed[:, frame] += 0.5
        assert not torch.allclose(network(z, changed, stride, condition)[:, :, frame], before[:, :, frame], atol=1e-4)


def test_a_level_and_a_stride_are_told_by_cosines_and_sines_of_wavelengths_up_to_10000():
    angles = [[0.0, 0.0], [3.0, 0.03]]
    expected = [[math.cos(a), math.cos(b), math.sin(a), math.sin(b)] for a, b in angles]
    torch.testing.assert_close(sinusoids(torch.tensor([0.0, 3.0]), 4), torch.tensor(expected))


def test_a_frame_is_told_its_level_and_how_often_the_stride_is_doubled():
    told, level, doubled = FrameEmbedding(8, 16, 0), torch.rand(3, 5), torch.tensor([0.0, 2.0, 4.0])
    of_level, of_stride = told.level(sinusoids(1000 * level, 8)), told.stride(sinusoids(100 * doubled, 8))
    found = told(level, torch.tensor([1, 4, 16]), asked(0, 0, 0))
    torch.testing.assert_close(found, F.silu(of_level + of_stride[:, None]))


def test_levels_a_hundredth_apart_are_told_apart():
    told = denoiser().stem.condition(torch.linspace(0, 1, 101)[None], torch.tensor([1]), asked(1))[0]
    distances = torch.cdist(told, told)
    assert distances.diagonal(1).min() > 0.1 * distances.max()


def test_without_temporal_layers_a_frame_and_its_level_touch_no_other_frame():
    network, (z, level, stride, condition) = denoiser(temporal_convolution=False, attention_levels=()), inputs(1)
    changed_z, changed_level = z.clone(), level.clone()
    changed_z[:, :, 1] += 1
    changed_level[:, 1] += 0.1
    differs = (network(changed_z, changed_level, stride, condition) != network(z, level, stride, condition)).any(dim=1)
    assert differs.flatten(2).any(dim=2)[0].tolist() == [False, True, False, False]


def test_blocks_are_residual_and_modulated_between_their_convolutions():
    torch.manual_seed(0)
    spatial, temporal = SpatialBlock(4, 6, 3).double(), TemporalConvolution(4).double()
    for parameter in [*spatial.parameters(), *temporal.parameters()]:
        torch.nn.init.normal_(parameter, std=0.5)
    x, told = torch.randn(2, 4, 3, 5, 5).double(), torch.randn(2, 3, 3).double()

    def norm(h: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(h.movedim(1, -1), h.shape[1:2]).movedim(-1, 1)

    scale, shift = spatial.modulation(told).movedim(-1, 1)[..., None, None].chunk(2, dim=1)
    h = norm(spatial.in_conv(F.silu(norm(x)))) * (1 + scale) + shift
    torch.testing.assert_close(spatial(x, told), spatial.skip(x) + spatial.out_conv(F.silu(h)))
    torch.testing.assert_close(temporal(x), x + temporal.conv(F.silu(norm(x))))


def test_the_past_sees_the_future():
    network, (z, level, stride, condition) = denoiser(), inputs(1)
    changed = z.clone()
    changed[:, :, 3] += 1
    assert not torch.allclose(
        network(changed, level, stride, condition)[:, :, 0], network(z, level, stride, condition)[:, :, 0]
    )


def reading(**changes: object) -> Denoiser:
    """One that reads texts of 6 channels."""
    torch.manual_seed(0)
    changes = {**SMALL, "condition": "text", "text": {"encoder": "minilm"}, **changes}
    network = Denoiser(DenoiserNetwork(**changes), 2, Vocabulary(text_encoder="x", token_channels=6))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.requires_grad_(False)


def texts(*lengths: int) -> list[torch.Tensor]:
    return [torch.randn(length, 6, generator=torch.Generator().manual_seed(length)) for length in lengths]


def test_a_text_matters_and_its_padding_does_not():
    network, (z, level, stride, _) = reading(), inputs(1)
    short, long, null = texts(3, 9, 2)
    beside = Prompts.of_texts([short, long], null)
    alone = Prompts(short[None], torch.ones(1, 3, dtype=torch.bool))
    before = network(z, level, stride, Condition(torch.tensor([0]), alone))
    torch.testing.assert_close(network(z, level, stride, Condition(torch.tensor([0]), beside)), before)
    for other in (1, 2):
        changed = network(z, level, stride, Condition(torch.tensor([other]), beside))
        assert not torch.allclose(changed, before, atol=1e-3)


def test_a_network_that_reads_texts_has_no_labels_and_one_with_labels_reads_none():
    names = {name.split(".")[-2] for name, _ in reading().named_parameters() if "text" in name or "label" in name}
    assert names == {"q", "kv", "out"}
    assert not any("text" in name for name, _ in denoiser().named_parameters())
    assert not [
        name for name, _ in Denoiser(DenoiserNetwork(**SMALL), 2, Vocabulary()).named_parameters() if "label" in name
    ]


def test_stride_and_label_matter_and_the_label_past_the_last_is_none():
    network, (z, level, stride, condition) = denoiser(), inputs(1)
    before = network(z, level, stride, condition)
    assert not torch.allclose(network(z, level, stride * 4, condition), before, atol=1e-4)
    outputs = [network(z, level, stride, asked(i)) for i in range(4)]
    assert all(not torch.allclose(outputs[3], output, atol=1e-4) for output in outputs[:3])
    with pytest.raises(IndexError):
        network(z, level, stride, asked(4))


def compiled_as_one_graph() -> None:
    """What the test below runs."""
    network = reading(channel_multipliers=(1,), attention_levels=(0,))
    z, level, stride, _ = inputs(1)
    condition = Condition(torch.tensor([0]), Prompts.of_texts(texts(3), texts(2)[0]))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(z, level, stride, condition), network(z, level, stride, condition))


def test_with_its_condition_it_compiles_as_one_graph():
    """In a process of its own, since Dynamo cannot follow the checks of shapes that tests add."""
    program = "from tests.models.test_denoiser import compiled_as_one_graph as run; run()"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
