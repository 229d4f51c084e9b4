"""How clips come back, measured: a perfect autoencoder and a bad one, and what is left out without a network."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from lvdm.evaluation.distances import frechet_distance
from lvdm.evaluation.features import load_extractor
from lvdm.evaluation.reconstruction import frechet_distances, measure_reconstruction, psnr
from lvdm.models.autoencoder import Autoencoder, IdentityAutoencoder
from lvdm.params import AutoencoderNetwork
from lvdm.workspace import Workspace
from tests.evaluation.conftest import CPU, moving_square

PIXELS = {"kind": "identity", "time_factor": 1, "space_factor": 1, "latent_channels": 3, "channels": (8,)}


class Darker(IdentityAutoencoder):
    """Gives back a tenth of the range less of everything."""

    def reconstruct(self, raw_latent, state=None):
        return raw_latent - 0.2


def build(kind: type[Autoencoder]) -> Autoencoder:
    return kind(AutoencoderNetwork(**PIXELS, encoder_blocks=1, decoder_blocks=1)).eval()


def clips(count: int = 4) -> list[torch.Tensor]:
    """Of 4 frames, in the brighter half of their range."""
    return [128 + moving_square(seed, frames=4) // 2 for seed in range(count)]


def test_a_perfect_autoencoder_has_no_distance_and_a_bad_one_has(with_weights: Workspace) -> None:
    perfect, bad = (
        measure_reconstruction(build(kind), clips(), with_weights) for kind in (IdentityAutoencoder, Darker)
    )
    assert set(perfect.numbers) == {"psnr", "ssim", "pd_efflite0", "rfd_tn2", "rfd_efflite0"}
    assert 100 < perfect.numbers["psnr"] < math.inf
    assert perfect.numbers["ssim"] == pytest.approx(1, abs=1e-12)
    for name in ("pd_efflite0", "rfd_tn2", "rfd_efflite0"):
        assert perfect.numbers[name] == pytest.approx(0, abs=1e-3)
        assert bad.numbers[name] > 1e-2
    assert bad.numbers["psnr"] == pytest.approx(20, abs=1e-3)  # 20 log10(2 / 0.2)
    assert torch.equal(torch.stack(perfect.clips), torch.stack(perfect.reconstructions))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
def test_nothing_is_compiled_for_a_few_passes_of_what_was_compiled_to_train(workspace: Workspace) -> None:
    compiled: list[torch.fx.GraphModule] = []
    autoencoder = build(Darker)
    whole = autoencoder.reconstruct

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        compiled.append(graph)
        return graph

    autoencoder.reconstruct = torch.compile(whole, backend=backend)
    measure_reconstruction(autoencoder, clips(), workspace)
    assert compiled == []
    autoencoder.reconstruct(torch.zeros(1, 3, 1, 4, 4))
    assert len(compiled) == 1


def test_the_similarity_of_plain_frames_has_the_closed_form_of_their_grey_levels(workspace: Workspace) -> None:
    """Not of values about zero, of which it is near 0 where mid-grey frames are a little off."""
    grey = [torch.full((4, 16, 16, 3), 126, dtype=torch.uint8)] * 2
    darker = 126 - 127.5 * 0.2
    expected = (2 * 126 * darker + 2.55**2) / (126**2 + darker**2 + 2.55**2)
    found = measure_reconstruction(build(Darker), grey, workspace).numbers["ssim"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_signal_to_noise_of_each_frame_is_that_of_torchmetrics_and_finite_where_frames_are_equal() -> None:
    one, other = torch.rand(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = [peak_signal_noise_ratio(a, b, data_range=(-1.0, 1.0)) for a, b in zip(one, other, strict=True)]
    torch.testing.assert_close(psnr(one, other), torch.stack(expected))
    assert psnr(one, one).isfinite().all()


def test_the_frechet_distance_is_that_of_the_features_of_the_two_sets(with_weights: Workspace) -> None:
    one, two = ([moving_square(seed, frames=4) for seed in seeds] for seeds in (range(4), range(4, 8)))
    extract = load_extractor("tn2", with_weights, CPU)
    of_one, of_two = (torch.cat([extract(clip) for clip in side]) for side in (one, two))
    expected = frechet_distance(of_one[:, None], of_two[:, None]).value
    assert frechet_distances(one, two, with_weights)["rfd_tn2"] == pytest.approx(expected, rel=1e-5)


def test_what_needs_a_network_that_is_not_there_is_left_out_with_a_line_that_says_why(workspace, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        measured = measure_reconstruction(build(Darker), clips(), workspace)
    assert set(measured.numbers) == {"psnr", "ssim"}
    lines = {line.split(":")[0]: line for line in caplog.messages}
    assert set(lines) == {"pd_efflite0", "lpips", "rfd_tn2", "rfd_efflite0", "rfvd", "rfid"}
    assert all("left out" in line and "lvdm weights --install" in line for line in lines.values())
    assert len(caplog.messages) == len(lines)


@pytest.mark.parametrize(("count", "names"), [(0, set()), (1, {"psnr", "ssim", "pd_efflite0"})])
def test_too_few_clips_give_fewer_numbers_and_no_error(with_weights, count, names) -> None:
    assert set(measure_reconstruction(build(Darker), clips(count), with_weights).numbers) == names
