"""Drift is seen where there is some, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvdm.evaluation.drift import WINDOW, Curve, Drift, Pair, Windows, measure_drift, relative_distance
from lvdm.evaluation.extraction import ClipSet
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


def long_videos(first: int, count: int, frames: int = 320) -> Windows:
    return windows(*(moving_square(seed, frames) for seed in range(first, first + count)))


def windows(*videos: Tensor) -> Windows:
    """The videos as `measure_drift` takes them: their whole windows, end to end."""
    cut = [video[: len(video) // WINDOW * WINDOW].unflatten(0, (-1, WINDOW)) for video in videos]
    return Windows(ClipSet([window for video in cut for window in video]), tuple(map(len, cut)))


def lengths(pair: Pair) -> tuple[int, int]:
    return len(pair.fake.values), len(pair.real.values)


def test_real_video_against_real_video_stays_near_one(extractors: list[Extractor], workspace: Workspace) -> None:
    numbers = measure_drift(long_videos(0, 8), long_videos(100, 8), extractors, workspace).numbers()["colour"]
    for side in ("fake", "real"):
        assert 0.5 < numbers[f"{side}_first"] < 2
        assert numbers[f"{side}_last"] == pytest.approx(numbers[f"{side}_first"], rel=0.05)
        assert abs(numbers[f"{side}_slope_per_1000_frames"]) < 0.1


def test_a_fading_video_moves_away_from_the_real_ones(extractors: list[Extractor], workspace: Workspace) -> None:
    faded = windows(*map(fading, range(100, 108)))
    numbers = measure_drift(long_videos(0, 8), faded, extractors, workspace).numbers()["colour"]
    assert numbers["fake_last"] > numbers["fake_first"] + 0.1
    assert numbers["fake_slope_per_1000_frames"] > 0.3


def test_a_video_that_freezes_is_static_at_its_end(extractors: list[Extractor], workspace: Workspace) -> None:
    video = moving_square(5, 320)
    video[160:] = video[160]
    numbers = measure_drift(long_videos(0, 2), windows(video), extractors, workspace).numbers()["static"]
    assert (numbers["fake_first"], numbers["fake_last"], numbers["real_last"]) == (0, 1, 0)


def test_the_relative_distance_of_the_reference_to_itself_is_one_in_the_mean_square() -> None:
    reference = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    assert relative_distance(reference, reference).square().mean().item() == pytest.approx(1)


def test_the_slope_and_the_ends_of_a_straight_line_are_its_own() -> None:
    line = tuple(2.0 + 0.5 * i * WINDOW / 1000 for i in range(20))
    numbers = Drift({"tn2": Pair(Curve(line), Curve(line))}).numbers()["tn2"]
    assert numbers["fake_slope_per_1000_frames"] == pytest.approx(0.5)
    assert numbers["fake_first"] == pytest.approx(sum(line[:3]) / 3)
    assert numbers["fake_last"] == pytest.approx(sum(line[-3:]) / 3)


def test_videos_of_different_lengths_are_compared_where_all_of_them_are(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    fakes = windows(moving_square(7, 80), moving_square(8, 50))
    drift = measure_drift(long_videos(0, 2, 96), fakes, extractors, workspace)
    assert lengths(drift.curves["colour"]) == (3, 6)


@pytest.mark.parametrize(
    ("num_real", "real_frames", "num_fake", "frames"), [(1, 64, 1, 32), (2, 16, 1, 32), (2, 64, 0, 32), (2, 64, 1, 15)]
)
def test_too_little_video_is_a_reason(
    extractors: list[Extractor], num_real: int, real_frames: int, num_fake: int, frames: int, workspace: Workspace
) -> None:
    fakes = long_videos(9, num_fake, frames)
    drift = measure_drift(long_videos(0, num_real, real_frames), fakes, extractors, workspace)
    assert drift.curves == {}
    assert "at least 16 frames" in drift.not_available


def test_short_real_videos_are_a_reference_for_the_whole_of_a_long_one(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    drift = measure_drift(long_videos(0, 6, WINDOW), windows(fading(7)), extractors, workspace)
    assert lengths(drift.curves["colour"]) == (20, 1)
    assert drift.numbers()["colour"]["fake_last"] != drift.numbers()["colour"]["fake_first"]


def test_the_table_has_the_first_curve_in_columns_and_nan_where_real_video_has_ended(tmp_path: Path) -> None:
    curves = {"tn2": Pair(Curve((1.0, 2.0)), Curve((1.0,))), "static": Pair(Curve((0.0,)), Curve((0.0,)))}
    Drift(curves).write_csv(tmp_path / "drift.csv")
    header, *rows = (tmp_path / "drift.csv").read_text().splitlines()
    assert header == "frame,fake,fake_low,fake_high,real"
    assert rows == ["0,1.0,nan,nan,1.0", "16,2.0,nan,nan,nan"]


def test_many_videos_have_a_frechet_distance_a_window_that_sees_the_one_that_is_dark(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    clips = ClipSet([moving_square(seed, WINDOW, 16) for seed in range(500, 532)])
    videos = [moving_square(seed, 3 * WINDOW, 16) for seed in range(32)]
    for video in videos:
        video[2 * WINDOW :] //= 3
    curves = measure_drift(long_videos(600, 4, 48), windows(*videos), extractors, workspace, clips).curves
    fake = curves["fd_colour"].fake
    assert fake.values[2] > 5 * max(fake.values[:2])
    low, high = fake.intervals()[2] or (0, 0)
    assert max(fake.values[:2]) < low < fake.values[2] < high
    assert curves["fd_colour"].real.values == ()  # four real videos would have another floor
