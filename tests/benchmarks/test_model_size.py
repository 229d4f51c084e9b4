"""The sizes of the reference preset, against those of the official code."""

from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.model_size import Size, autoencoder, denoiser, official_denoiser, table
from lvdm import presets
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import DenoiserNetwork, Params, parse_params


@pytest.fixture(scope="module")
def reference() -> Params:
    return parse_params(yaml.safe_load(presets.render("reference")))


def total(sizes: dict[str, Size]) -> Size:
    return sum(sizes.values(), Size(0, 0))


def test_the_official_denoiser_counted_layer_by_layer_has_the_size_that_is_known_of_it():
    official = total(official_denoiser())
    assert official.parameters == pytest.approx(548.9e6, rel=1e-4)
    assert official.macs == pytest.approx(181e9, rel=2e-3)


def test_the_encoder_costs_what_the_official_one_does_and_the_decoder_a_seventh(reference):
    ours = autoencoder(reference.train_autoencoder.network)
    assert ours["encoder"].macs == pytest.approx(95e9, rel=0.1)
    assert ours["decoder"].macs < 0.15 * 1372e9
    assert total(ours).parameters == pytest.approx(0.78 * 19.45e6, rel=0.01)


def test_the_denoiser_is_smaller_by_the_blocks_that_its_one_skip_a_level_saves(reference):
    """docs/model.md explains the difference; here it is followed to the layers."""
    ours, official = denoiser(reference.train_denoiser.network), official_denoiser()
    saved = total(official).parameters - total(ours).parameters
    assert saved / total(official).parameters == pytest.approx(0.062, abs=0.002)
    in_space = official["convolution in space"].parameters - ours["convolution in space"].parameters
    in_time = ours["convolution in time"].parameters
    assert saved == pytest.approx(in_space - in_time, rel=0.2)


def test_the_kinds_of_layers_add_up_to_the_network(reference):
    with torch.device("meta"):
        whole = Denoiser(reference.train_denoiser.network, 4, Vocabulary())
    assert total(denoiser(reference.train_denoiser.network)).parameters == sum(p.numel() for p in whole.parameters())


def test_a_convolution_is_counted_as_by_hand():
    """Four frames of 32x32 through the first and last convolution, 4 -> c -> 4, and nothing else that resamples."""
    config = DenoiserNetwork(
        channels=16,
        channel_multipliers=(1,),
        num_blocks=1,
        attention_levels=(),
        head_channels=8,
        temporal_convolution=False,
        condition="none",
    )
    assert denoiser(config)["resampling, first, last"] == Size(
        9 * 4 * 16 + 16 + 9 * 16 * 4 + 4, 2 * 9 * 4 * 16 * 4 * 1024
    )


def test_the_command_prints_a_row_for_every_part_and_for_both_networks_as_the_docs_show():
    rows = table("reference")
    assert "\n".join(rows) in (Path(__file__).parents[2] / "docs/model.md").read_text()
    assert [row.split("|")[1].strip() for row in rows if "GMAC" not in row and "---" not in row] == [
        *("autoencoder: encoder", "autoencoder: decoder", "autoencoder"),
        *("denoiser: convolution in space", "denoiser: convolution in time", "denoiser: attention"),
        *("denoiser: condition", "denoiser: resampling, first, last", "denoiser"),
    ]
