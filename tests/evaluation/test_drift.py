"""Drift is seen where there is some, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvdm.evaluation import extraction
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


class PerFrame(torch.nn.Module):
    """The mean colour of each frame, as Inception sees them one by one."""

    num_features = 3

    def forward(self, frames: Tensor) -> Tensor:
        return frames[0].float().mean(dim=(1, 2))


@pytest.fixture
def extractors(workspace: Workspace) -> list[Extractor]:
    return [Extractor("colour", "none", Colour(), CPU), load_extractor("static", workspace, CPU)]


def grey(levels: Sequence[int]) -> Tensor:
    """A plain video of the grey levels of its frames."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 8, 8, 3)


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


def test_a_video_that_brightens_evenly_has_the_slope_and_the_ends_of_its_closed_form(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    """Real video lies at 10 and 20: about 15, spread 5 a channel. The video is at 20 and 1 brighter every 8 frames."""
    real = windows(grey([10] * 1024), grey([20] * 1024))
    numbers = measure_drift(real, windows(grey([20 + t // 8 for t in range(1024)])), extractors, workspace).numbers()
    expected = [(20.5 + 2 * k - 15) / 5 for k in range(64)]  # of the k-th window
    found = numbers["colour"]
    assert found["fake_slope_per_1000_frames"] == pytest.approx(2 / 5 / 16 * 1000)
    assert found["fake_mean"] == pytest.approx(sum(expected) / 64)
    assert (found["fake_first"], found["fake_last"]) == pytest.approx(
        (sum(expected[:10]) / 10, sum(expected[-10:]) / 10)
    )
    assert found["fake_change"] == pytest.approx(2 / 5 * 54)


def test_the_interval_of_a_mean_over_videos_is_that_of_student(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    """Five videos that lie 1 to 5 spreads of real video away: their variance is 2.5, and t of four degrees 2.7764."""
    real, fake = windows(grey([10] * 32), grey([20] * 32)), windows(*(grey([15 + 5 * i] * 32) for i in range(1, 6)))
    found = measure_drift(real, fake, extractors, workspace).numbers()["colour"]
    reach = 2.7764 * (2.5 / 5) ** 0.5
    assert found["fake_mean"] == pytest.approx(3)
    assert (found["fake_mean_low"], found["fake_mean_high"]) == pytest.approx((3 - reach, 3 + reach), rel=1e-4)


def test_each_real_video_is_measured_against_the_others(extractors: list[Extractor], workspace: Workspace) -> None:
    """10 against 20 and 60 is 30 of their spread of 20 away; 20 is 15 of 25, 60 is 45 of 5."""
    real = windows(*(grey([level] * 32) for level in (10, 20, 60)))
    curves = measure_drift(real, windows(grey([30] * 32)), extractors, workspace).curves
    assert curves["colour"].real.values == pytest.approx([(30 / 20 + 15 / 25 + 45 / 5) / 3] * 2)


def test_a_video_that_freezes_at_frame_500_is_static_from_there(
    extractors: list[Extractor], workspace: Workspace
) -> None:
    """Of the window of frames 496 to 511 the last 11 of 15 steps are still."""
    video = grey([20 * (min(t, 500) % 2) for t in range(1024)])
    found = measure_drift(windows(video, video), windows(video), extractors, workspace)
    values = found.curves["static"].fake.values
    assert values == pytest.approx([0.0] * 31 + [11 / 15] + [1.0] * 32)
    numbers = found.numbers()["static"]
    assert (numbers["fake_first"], numbers["fake_last"]) == (0, 1)


def test_the_relative_distance_of_the_reference_to_itself_is_one_in_the_mean_square() -> None:
    reference = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    assert relative_distance(reference, reference).square().mean().item() == pytest.approx(1)


def test_the_slope_and_the_ends_of_a_straight_line_are_its_own() -> None:
    line = tuple(2.0 + 0.5 * i * WINDOW / 1000 for i in range(20))
    numbers = Drift({"tn2": Pair(Curve(line), Curve(line))}).numbers()["tn2"]
    assert numbers["fake_slope_per_1000_frames"] == pytest.approx(0.5)
    assert numbers["fake_first"] == pytest.approx(sum(line[:3]) / 3)
    assert numbers["fake_last"] == pytest.approx(sum(line[-3:]) / 3)
    assert [*Curve(line).frames] == [WINDOW * i for i in range(20)]
    alone = {"frames": 16, "mean": 3, "first": 3, "last": 3, "change": 0, "slope_per_1000_frames": 0}
    assert Curve((3.0,)).numbers() == alone


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
    brightening = windows(grey([20 + t // 8 for t in range(320)]))
    drift = measure_drift(long_videos(0, 6, WINDOW), brightening, extractors, workspace)
    assert lengths(drift.curves["colour"]) == (20, 1)
    assert drift.numbers()["colour"]["fake_last"] != drift.numbers()["colour"]["fake_first"]


def test_the_table_has_the_first_curve_in_columns_and_nan_where_real_video_has_ended(tmp_path: Path) -> None:
    curves = {"tn2": Pair(Curve((1.0, 2.0)), Curve((1.0,))), "static": Pair(Curve((0.0,)), Curve((0.0,)))}
    Drift(curves).write_csv(tmp_path / "drift.csv")
    header, *rows = (tmp_path / "drift.csv").read_text().splitlines()
    assert header == "curve,frame,fake,fake_low,fake_high,real"
    assert rows == ["tn2,0,1.0,nan,nan,1.0", "tn2,16,2.0,nan,nan,nan"]


def test_every_clip_is_extracted_in_one_go(
    extractors: list[Extractor], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which reads each once, for however many networks."""
    rounds: list[int] = []
    extracting = extraction._extract
    monkeypatch.setattr(extraction, "_extract", lambda jobs, *rest: rounds.append(len(jobs)) or extracting(jobs, *rest))
    clips = ClipSet([moving_square(seed, WINDOW, 16) for seed in range(500, 532)])
    curves = measure_drift(long_videos(600, 4, 16), long_videos(0, 32, 16), extractors, workspace, clips).curves
    of_clips = sum(extractor.num_features > 1 for extractor in extractors)
    assert rounds == [2 * len(extractors) + of_clips] and "fd_colour" in curves


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
    more = ClipSet([*clips.clips, *[torch.full((WINDOW, 16, 16, 3), 255, dtype=torch.uint8)] * 8])
    again = measure_drift(long_videos(600, 4, 48), windows(*videos), extractors, workspace, more).curves
    assert again["fd_colour"].fake.values == fake.values, "as many real clips as there are videos"
    real = long_videos(600, 32, 48)
    assert lengths(measure_drift(real, windows(*videos), extractors, workspace, clips).curves["fd_colour"]) == (3, 3)
    of_them = measure_drift(real, windows(*videos), extractors, workspace, clips, apart=False).curves
    assert lengths(of_them["fd_colour"]) == (3, 0)


def test_a_network_that_sees_single_frames_compares_means_over_a_window_with_means_over_a_clip(
    workspace: Workspace,
) -> None:
    """Not with single frames, which vary more."""
    per_frame = Extractor("colour", "none", PerFrame(), CPU)
    levels = torch.randint(0, 256, (64, WINDOW), generator=torch.Generator().manual_seed(0)).tolist()
    clips, videos = ClipSet([grey(of) for of in levels[:32]]), windows(*(grey(of) for of in levels[32:]))
    measured = measure_drift(long_videos(0, 4, WINDOW), videos, [per_frame], workspace, clips)
    real, fake = (torch.tensor(side).double().mean(dim=1) for side in (levels[:32], levels[32:]))
    expected = 3 * ((real.mean() - fake.mean()) ** 2 + (real.std() - fake.std()) ** 2)  # of three equal colours
    assert measured.curves["fd_colour"].fake.values[0] == pytest.approx(expected.item(), rel=1e-6)
