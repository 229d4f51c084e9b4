"""params.yaml: values that are each possible, and not together, or not with what measures them."""

from __future__ import annotations

import pytest

from lvdm.errors import ParamsError
from lvdm.params import parse_params
from tests.test_params import DOCUMENT, changed

NETWORK = DOCUMENT["train_autoencoder"]["network"]
DENOISER = DOCUMENT["train_denoiser"]["network"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("experiments", {"a" * 64: DOCUMENT["experiments"]["perturbed"]}, "names of at most 63 small letters"),
        ("validate.min_side", 100_000, "a minimum that is not above its maximum"),
        ("validate.severities", {"both_splits": "off"}, "severities.both_splits of warning or critical"),
        ("validate.severities", {"beautiful": "warning"}, "severities of expectations, which are decodable, "),
        ("train_autoencoder.network", NETWORK | {"kind": "identity"}, "time_factor 1, space_factor 1 and latent_chan"),
        ("train_autoencoder.network.channels", [8] * 5, "at most 4 numbers in channels, not 5"),
        ("train_denoiser.network.head_channels", 3, "even head_channels that divide the channels"),
        ("train_denoiser.network.head_channels", 34, "even head_channels that divide the channels"),
        ("train_denoiser.network", DENOISER | {"channels": 9, "attention_levels": []}, "an even number of channels"),
        ("train_denoiser.network.attention_levels", [9], "attention_levels below the number of channel_multipliers"),
        ("sample", DOCUMENT["sample"] | {"sampler": "ddpm", "eta": 0.5}, "eta 0 with ddpm"),
        ("clips.size", 14, "clips.size: expected greater than or equal to 16"),
        ("evaluate.metrics", ["beauty"], "evaluate.metrics.0: expected one of fd_tn2, "),
    ],
)
def test_what_does_not_go_together_is_one_line_that_says_what_would(path, value, says):
    with pytest.raises(ParamsError) as caught:
        parse_params(changed(path, value))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_window_of_two_has_no_inside_to_interpolate():
    document = changed("train_denoiser.window", 2)
    document["train_denoiser"]["objective"]["max_given"] = document["sample"]["overlap"] = 1
    document["train_denoiser"]["strides"] = [1]
    with pytest.raises(ParamsError, match="a window of at least 3 to interpolate, or objective"):
        parse_params(document)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("sample.num_clips", 511, "sample.num_clips of perturbed: expected at least 512"),
        ("sample.num_long_videos", 511, "sample.num_long_videos of perturbed: expected at least 512"),
        ("sample.long_frames", 1023, "sample.long_frames of perturbed: expected at least 1024"),
        ("clips.frames", 20, "clips.frames: expected 16"),
    ],
)
def test_what_a_protocol_fixes_has_to_be_made(path, value, says):
    section, key = path.split(".")
    document = changed("evaluate", {"protocol": "lvdm-long", "metrics": ["fvd"], "max_drift": 1})
    document["sample"] |= {"num_clips": 512, "num_long_videos": 512, "long_frames": 1024}
    parse_params(document)
    document[section][key] = value
    with pytest.raises(ParamsError, match=f"{says}, which evaluate.protocol lvdm-long measures, got {value}"):
        parse_params(document)
