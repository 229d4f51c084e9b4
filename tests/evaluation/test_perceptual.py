"""Perceptual distances against torchmetrics' LPIPS and a computation by hand, and what each name asks for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from einops import rearrange
from torchmetrics.functional.image import lpips as reference

from lvdm.errors import WeightsError
from lvdm.evaluation.perceptual import PerceptualDistance, Vgg16, load_perceptual
from lvdm.fingerprints import sha256
from lvdm.models.pretrained import NETWORKS
from lvdm.workspace import Workspace
from tests.evaluation.conftest import moving_square


def clip(seed: int, size: int = 32) -> torch.Tensor:
    """Two frames of a moving square, "1 3 t h w" in [-1, 1]."""
    return rearrange(moving_square(seed, frames=2, size=size).float() / 127.5 - 1, "t h w c -> 1 c t h w")


def torchvision_layout() -> torch.nn.Sequential:
    """VGG-16's convolutions as torchvision builds them (configuration D), which is not at hand here."""
    layers: list[torch.nn.Module] = []
    c_in = 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        if isinstance(width, int):
            layers += [torch.nn.Conv2d(c_in, width, 3, padding=1), torch.nn.ReLU(inplace=True)]
            c_in = width
        else:
            layers.append(torch.nn.MaxPool2d(2, 2))
    return torch.nn.Sequential(*layers)


def test_lpips_is_that_of_torchmetrics_on_the_same_backbone(workspace: Workspace, monkeypatch) -> None:
    torch.manual_seed(0)
    features = torchvision_layout()
    path = workspace.weights / NETWORKS["vgg16"].file
    path.parent.mkdir()
    classifier = {"classifier.0.weight": torch.zeros(1)}
    torch.save({f"features.{name}": tensor for name, tensor in features.state_dict().items()} | classifier, path)
    ours = load_perceptual(
        "lpips", workspace, {**NETWORKS, "vgg16": dataclasses.replace(NETWORKS["vgg16"], sha256=sha256(path))}
    )
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: features)
    theirs = reference._LPIPS(net="vgg").eval()
    one, two = clip(0), clip(1)
    expected = theirs(*(rearrange(x, "1 c t h w -> t c h w") for x in (one, two))).mean()
    assert expected > 1e-3
    torch.testing.assert_close(ours(one, two), expected, atol=1e-6, rtol=1e-4)


def test_lpips_without_its_network_is_refused_with_the_remedy(with_weights: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"vgg16-397923af.*lvdm weights --install vgg16=PATH"):
        load_perceptual("lpips", with_weights)


def test_pd_without_its_network_is_refused_with_the_remedy(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"lvdm weights --install efflite0"):
        load_perceptual("pd_efflite0", workspace)


@pytest.fixture
def pd(with_weights: Workspace) -> PerceptualDistance:
    return load_perceptual("pd_efflite0", with_weights)


def test_pd_is_the_mean_over_taps_of_the_squared_difference_of_unit_features(pd: PerceptualDistance) -> None:
    one, two = clip(0), clip(1)
    at_taps = []
    pairs = [pd.backbone.taps((x[0].transpose(0, 1) + 1) * 127.5) for x in (one, two)]
    for f, g in zip(*pairs, strict=True):
        cosine = torch.nn.functional.cosine_similarity(f.double(), g.double(), dim=1)
        at_taps.append((2 - 2 * cosine).mean())  # |f - g|^2 of unit vectors
    assert len(at_taps) == 5
    assert pd(one, two).item() == pytest.approx(torch.stack(at_taps).mean().item(), rel=1e-4)


def test_the_taps_are_the_resolutions_of_the_network(pd: PerceptualDistance) -> None:
    taps = pd.backbone.taps(torch.zeros(1, 3, 64, 64))
    assert [tuple(tap.shape[1:]) for tap in taps] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_pd_is_zero_for_equal_clips_and_grows_with_noise_and_blur(pd: PerceptualDistance) -> None:
    original = clip(0, size=64)
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    noisy = [pd(original + sigma / 127.5 * noise, original).item() for sigma in (0, 4, 8, 16, 32)]
    assert noisy[0] == pytest.approx(0, abs=1e-6)
    assert noisy == sorted(noisy) and noisy[1] > 0.05
    blurred = []
    for side in (1, 3, 5, 9):
        kernel = torch.full((3, 1, 1, side, side), 1 / side**2)
        smooth = torch.nn.functional.conv3d(original, kernel, padding=(0, side // 2, side // 2), groups=3)
        blurred.append(pd(smooth, original).item())
    assert blurred == sorted(blurred) and blurred[1] > 0.05


def test_gradients_reach_the_clip_and_stay_finite_where_clips_are_equal(pd: PerceptualDistance) -> None:
    same = clip(0).requires_grad_()
    pd(same, clip(0)).backward()
    assert same.grad is not None and same.grad.isfinite().all()
    other = clip(1).requires_grad_()
    pd(other, clip(0)).backward()
    assert other.grad is not None and other.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in pd.parameters())


def test_vgg_has_the_number_of_parameters_of_vgg16_without_its_classifier() -> None:
    assert sum(parameter.numel() for parameter in Vgg16().parameters()) == 14_714_688
