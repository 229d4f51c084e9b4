"""Drift is seen where there is some, and only there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvdm.errors import ArtefactError
from lvdm.evaluation.drift import WINDOW, Curve, Drift, measure_drift, relative_distance
from lvdm.evaluation.features import Extractor, load_extractor
from lvdm.workspace import Workspace
from tests.evaluation.conftest import CPU, moving_square


class Colour(torch.nn.Module):
    """Mean colour: three features whose drift is known."""

    num_features = 3

    def forward(self, frames: Tensor) -> Tensor:
        return frames.float().mean(dim=(1, 2, 3))


@pytest.fixture
def extractors(workspace: Workspace) -> list[Extractor]:
    return [Extractor("colour", "none", Colour(), CPU), load_extractor("static", workspace, CPU)]


def fading(seed: int, frames: int = 320) -> Tensor:
    """A video that grows darker to half."""
    fade = torch.linspace(1, 0.5, frames)[:, None, None, None]
    return (moving_square(seed, frames) * fade).byte()


def long_videos(first: int, count: int, frames: int = 320) -> list[Tensor]:
    return [moving_square(seed, frames) for seed in range(first, first + count)]


def test_real_video_against_real_video_stays_near_one(extractors: list[Extractor], workspace: Workspace) -> None:
    numbers = measure_drift(long_videos(0, 8), long_videos(100, 8), extractors, workspace).numbers()["colour"]
    for side in ("fake", "real"):
        assert 0.5 < numbers[f"{side}_first"] < 2
        assert numbers[f"{side}_last"] == pytest.approx(numbers[f"{side}_first"], rel=0.05)
        assert abs(numbers[f"{side}_slope_per_1000_frames"]) < 0.1


def test_a_fading_video_moves_away_from_the_real_ones(extractors: list[Extractor], workspace: Workspace) -> None:
    faded = [fading(i) for i in range(100, 108)]
    numbers = measure_drift(long_videos(0, 8), faded, extractors, workspace).numbers()["colour"]
    assert numbers["fake_last"] > numbers["fake_first"] + 0.1
    assert numbers["fake_slope_per_1000_frames"] > 0.3


def test_a_video_that_freezes_is_static_at_its_end(extractors: list[Extractor], workspace: Workspace) -> None:
    video = moving_square(5, 320)
    video[160:] = video[160]
    numbers = measure_drift(long_videos(0, 2), [video], extractors, workspace).numbers()["static"]
    assert (numbers["fake_first"], numbers["fake_last"], numbers["real_last"]) == (0, 1, 0)


def test_the_relative_distance_of_the_reference_to_itself_is_one_in_the_mean_square() -> None:
    reference = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    assert relative_distance(reference, reference).square().mean().item() == pytest.approx(1)


def test_the_slope_and_the_ends_of_a_straight_line_are_its_own() -> None:
    line = tuple(2.0 + 0.5 * i * WINDOW / 1000 for i in range(20))
    numbers = Drift({"tn2": Curve(line, line)}).numbers()["tn2"]
    assert numbers["fake_slope_per_1000_frames"] == pytest.approx(0.5)
    assert numbers["fake_first"] == pytest.approx(sum(line[:3]) / 3)
    assert numbers["fake_last"] == pytest.approx(sum(line[-3:]) / 3)


def test_videos_of_different_lengths_are_compared_where_all_of_them_are(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    drift = measure_drift(long_videos(0, 2, 96), [moving_square(7, 80), moving_square(8, 50)], extractors, workspace)
    assert (len(drift.curves["colour"].fake), len(drift.curves["colour"].real)) == (3, 6)


@pytest.mark.parametrize(("num_real", "num_fake", "frames"), [(1, 1, 32), (2, 0, 32), (2, 1, 15)])
def test_too_little_video_is_an_error(
    extractors: list[Extractor], num_real: int, num_fake: int, frames: int, workspace: Workspace
) -> None:
    with pytest.raises(ArtefactError):
        measure_drift(long_videos(0, num_real), long_videos(9, num_fake, frames), extractors, workspace)


def test_the_table_has_a_row_a_curve_set_and_window(tmp_path: Path) -> None:
    Drift({"tn2": Curve((1.0, 2.0), (1.0,))}).write_csv(tmp_path / "drift.csv")
    rows = list(csv.DictReader((tmp_path / "drift.csv").read_text().splitlines()))
    assert [(r["set"], r["frame"], r["value"]) for r in rows] == [
        ("fake", "0", "1.0"),
        ("fake", "16", "2.0"),
        ("real", "0", "1.0"),
    ]
