"""SSIM against the library's implementation and against its closed form."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from lvdm.evaluation.ssim import ssim


def test_ssim_is_that_of_torchmetrics() -> None:
    one, other = torch.randint(0, 256, (2, 3, 3, 20, 33), generator=torch.Generator().manual_seed(0)).double()
    for image in (other, 0.9 * one + 0.1 * other, one):
        expected = structural_similarity_index_measure(one, image, data_range=255.0)
        assert ssim(one, image).mean().item() == pytest.approx(expected.item(), abs=1e-10)
