"""Pictures are PNG files, small, of the size that their content asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lvdm.evaluation.drift import Curve, Drift, Pair
from lvdm.pictures import MAX_BYTES, draw_curves, draw_drift, draw_reconstructions, draw_strips
from tests.evaluation.conftest import moving_square


def test_curves_and_drift_are_drawn(tmp_path: Path) -> None:
    line = ([1, 2, 3], [3.0, 2.0, 1.0])
    draw_curves(tmp_path / "a.png", {"l1": line}, title="Loss", x_label="step", y_label="loss", log_scale=True)
    draw_drift(
        tmp_path / "b.png", Drift({"tn2": Pair(Curve((1.0, 2.0), ((1.0, 2.1),) * 4), Curve((1.0, 1.0)))}), title="Drift"
    )
    for name in ("a.png", "b.png"):
        image = Image.open(tmp_path / name)
        assert image.width > 500
        assert len(image.convert("L").getcolors() or []) > 10


def test_a_grid_has_the_input_the_reconstruction_and_the_error(tmp_path: Path) -> None:
    frames = moving_square(0, frames=4).numpy()
    draw_reconstructions(tmp_path / "grid.png", frames, frames)
    grid = Image.open(tmp_path / "grid.png").convert("RGB")
    assert grid.getpixel((40, 40)) == grid.getpixel((40, 140)) == tuple(frames[0, 13, 13].tolist())
    assert grid.getpixel((40, 240)) == (0, 0, 0)


def test_even_pictures_of_noise_stay_below_the_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    draw_strips(tmp_path / "strip.png", [noise] * 6)
    assert (tmp_path / "strip.png").stat().st_size <= MAX_BYTES
