"""The benchmark of intervals draws what it says, and holds what it should on features that are easy."""

from __future__ import annotations

import pytest
import torch

from benchmarks import intervals


def test_drawn_gaussians_are_held_and_bootstraps_lie_above(capsys):
    rows = intervals.main(["--sizes", "32", "--sets", "20"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows) == 8
    for name, _, told in rows:
        if "Gaussian" in name:
            assert told.share >= 0.8 and told.bootstraps > told.mean + 2 * told.spread


@pytest.mark.parametrize("spectrum", ["flat", "1/k"])
def test_a_model_differs_by_the_scale_and_the_mean_that_are_said(spectrum):
    draw = intervals.gaussian(8, spectrum)
    real, other = (d(100_000, torch.Generator().manual_seed(1)) for d in (draw, intervals.differing(draw)))
    torch.testing.assert_close(other.std(dim=0), 1.3 * real.std(dim=0), rtol=0.01, atol=0)
    torch.testing.assert_close(other.mean(dim=0) / real.std(dim=0), torch.full((8,), 0.2), rtol=0, atol=0.03)
    variances = torch.ones(8) if spectrum == "flat" else 1 / torch.arange(1, 9)
    torch.testing.assert_close(real.var(dim=0), variances, rtol=0.03, atol=0)


@pytest.mark.parametrize(("around", "share"), [((-2.0, -1.0), 0), ((0.0, 1e9), 1), ((1e9, 2e9), 0)])
def test_an_interval_holds_what_neither_end_leaves_out(monkeypatch, around, share):
    monkeypatch.setattr(intervals, "interval", lambda value, without: around)
    draw, generator = intervals.gaussian(8, "flat"), torch.Generator().manual_seed(0)
    assert intervals.held(intervals.FRECHET, draw(32, generator), draw, 2, generator).share == share
