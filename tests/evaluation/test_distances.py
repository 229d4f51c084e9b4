"""Distances against closed forms and against independent computations."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from scipy import linalg
from scipy.stats import binomtest
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from lvdm.evaluation import distances
from lvdm.evaluation.distances import distance
from lvdm.evaluation.interval import groups_of, interval, share_interval
from lvdm.evaluation.metrics import METRICS


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Of a row a clip."""
    return distances.frechet_distance(real[:, None], fake[:, None]).value


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    return distances.kernel_distance(real[:, None], fake[:, None]).value


def whitened(x: Tensor) -> Tensor:
    """`x` with mean exactly 0 and covariance exactly the identity."""
    x = x - x.mean(dim=0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T


def test_frechet_distance_has_the_closed_form_of_gaussians() -> None:
    real, fake = whitened(normal(0, 500, 6)), whitened(normal(1, 500, 6))
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 0.1], dtype=torch.float64)
    shift = torch.tensor([0.0, 1.0, -2.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    expected = shift.square().sum() + (1 - scale).square().sum()
    for unit in (1, 1e-3):
        found = frechet_distance(unit * real, unit * (fake * scale + shift))
        assert found == pytest.approx(unit**2 * expected.item(), rel=1e-9)


def test_frechet_distance_of_fewer_samples_than_features_equals_the_nuclear_norm_form() -> None:
    real, fake = normal(0, 20, 64), 2 * normal(1, 20, 64) + 0.3
    a, b = (x - x.mean(dim=0) for x in (real, fake))
    root = np.linalg.norm((a @ b.T).numpy(), "nuc") / 19
    shift = (real.mean(dim=0) - fake.mean(dim=0)).square().sum().item()
    expected = shift + (a.square().sum().item() + b.square().sum().item()) / 19 - 2 * root
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-11)


def test_frechet_distance_of_a_set_to_itself_is_zero_and_never_below() -> None:
    for seed in range(5):
        real = normal(seed, 30, 50) * 10
        assert 0 <= frechet_distance(real, real) < 1e-3


@pytest.mark.parametrize("n", [5, 12, 40], ids=lambda n: f"{n} fakes")
@pytest.mark.parametrize("m", [6, 30], ids=lambda m: f"{m} reals")
@pytest.mark.parametrize("covariance", ["n", "n - 1"])
def test_frechet_distances_with_and_without_groups_are_the_singular_values_of_whole_matrices(
    m: int, n: int, covariance: distances.Covariance
) -> None:
    """tr (S_r S_f)^(1/2) = |A B^T|_* for centred rows A, B; two rows of 20 features a clip, so each way is taken."""
    real, fake = normal(0, m, 2, 20) + 5, 1.4 * normal(1, n, 2, 20) + 5.2
    groups = groups_of(n)
    found = distances.frechet_distance(real, fake, groups, covariance)

    def plain(x: Tensor, y: Tensor) -> float:
        a, b = (side - side.mean(dim=0) for side in (x, y))
        by_a, by_b = (len(side) - (covariance == "n - 1") for side in (x, y))
        cross = np.linalg.norm((a @ b.T).numpy(), "nuc") / (by_a * by_b) ** 0.5
        shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
        return float(shift + a.square().sum() / by_a + b.square().sum() / by_b - 2 * cross)

    rests = [fake, *(torch.cat([fake[: group.start], fake[group.stop :]]) for group in groups)]
    expected = [plain(real.flatten(0, 1), rest.flatten(0, 1)) for rest in rests]
    assert len(expected) == min(n, 20) + 1
    assert [found.value, *found.without] == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = 12

        def forward(self, features: Tensor) -> Tensor:
            return features

    metric = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    real, fake = normal(0, 60, 12) + 1, 1.3 * normal(1, 60, 12)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert frechet_distance(real, fake) == pytest.approx(metric.compute().item(), rel=1e-9)


def test_kernel_distance_equals_the_sums_written_out() -> None:
    x, y = normal(0, 9, 4), normal(1, 9, 4) + 0.5

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / (9 * 8)
    across = sum(k(x[i], y[j]) for i, j in pairs) / 81
    assert kernel_distance(x, y) == pytest.approx(within - 2 * across, rel=1e-12)


def test_the_kernel_distance_of_a_set_to_itself_is_that_to_a_copy_of_it() -> None:
    features = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    of_itself, of_a_copy = (distances.kernel_distance(features, other) for other in (features, features.clone()))
    assert of_itself == of_a_copy


def test_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    values = torch.tensor([kernel_distance(normal(2 * i, 50, 8), normal(2 * i + 1, 50, 8)) for i in range(200)])
    assert values.min() < 0
    assert values.mean().abs() < 3 * values.std() / 200**0.5


def test_gaps_of_means_and_caption_means_are_what_they_say() -> None:
    real, fake = torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([[[4.0]], [[8.0]]])
    assert distance(METRICS["motion_gap"], real, fake).value == 4
    assert distance(METRICS["clipsim"], real, fake).value == 6
    large = torch.tensor([[[2.0**24], [1.0]]])  # the sum of which float32 does not have
    assert distance(METRICS["clipsim"], large, large).value == 2.0**23 + 0.5


@pytest.mark.parametrize(("n", "rows", "d"), [(40, 1, 6), (12, 3, 64)])
def test_distances_equal_those_of_scipy_and_scikit_learn(n: int, rows: int, d: int) -> None:
    real, fake = normal(0, n, rows, d), 1.3 * normal(1, n, rows, d) + 0.2
    x, y = real.flatten(0, 1).numpy(), fake.flatten(0, 1).numpy()
    one, other = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    jitter = 1e-9 * np.eye(d)  # sqrtm of a singular matrix is not defined
    root = linalg.sqrtm((one + jitter) @ (other + jitter)).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(one + other - 2 * root)
    assert distances.frechet_distance(real, fake).value == pytest.approx(expected, rel=1e-4)
    kernel = functools.partial(polynomial_kernel, degree=3, gamma=1 / d, coef0=1)
    m = len(x)
    within = [(k.sum() - k.trace()) / (m * (m - 1)) for k in (kernel(x, x), kernel(y, y))]
    expected = sum(within) - 2 * kernel(x, y).mean()
    assert distances.kernel_distance(real, fake).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("key", ["fd_tn2", "kd_efflite0", "motion_gap", "clipsim"])
def test_what_a_distance_is_without_a_group_is_the_distance_of_the_rest(key: str) -> None:
    d = 1 if METRICS[key].measure in ("mean_gap", "caption") else 8
    real, fake = normal(0, 24, 2, d), 2 * normal(1, 24, 2, d)
    groups = groups_of(24)
    found = distance(METRICS[key], real, fake, groups)
    assert len(found.without) == 20
    for group, value in zip(groups, found.without, strict=True):
        rest = torch.cat([fake[: group.start], fake[group.stop :]])
        assert value == pytest.approx(distance(METRICS[key], real, rest).value, rel=1e-6, abs=1e-9)
    assert distance(METRICS[key], real, fake).value == pytest.approx(found.value, rel=1e-12)


def test_rows_are_taken_a_block_at_a_time_without_changing_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(0, 50, 1, 8), normal(1, 50, 1, 8) + 1
    whole = [distance(METRICS[key], real, fake).value for key in ("fd_tn2", "kd_efflite0", "motion_gap")]
    monkeypatch.setattr(distances, "BLOCK", 7)
    blocks = [distance(METRICS[key], real, fake).value for key in ("fd_tn2", "kd_efflite0", "motion_gap")]
    assert blocks == pytest.approx(whole, rel=1e-10)


def test_divided_by_n_a_frechet_distance_is_that_of_smaller_covariances() -> None:
    real, fake = normal(0, 10, 1, 3), 2 * normal(1, 10, 1, 3)
    mean = (real.mean(dim=0) - fake.mean(dim=0)).square().sum().item()
    one, other = (distances.frechet_distance(real, fake, covariance=by).value for by in ("n", "n - 1"))
    assert one - mean == pytest.approx((other - mean) * 9 / 10)


def test_the_interval_covers_the_mean_of_other_samples_and_a_bootstrap_lies_above_it() -> None:
    """64 Gaussian samples of 16 features from a true distance of 1.6: the number is biased, its interval is not."""
    real, generator = normal(0, 64, 1, 16), torch.Generator().manual_seed(5)
    values, intervals, resampled = [], [], []
    for seed in range(100, 160):
        fake = normal(seed, 64, 1, 16) * 1.2 + 0.245
        found = distances.frechet_distance(real, fake, groups_of(64))
        values.append(found.value)
        intervals.append(interval(found.value, found.without))
        again = fake[torch.randint(64, (64,), generator=generator)]
        resampled.append(distances.frechet_distance(real, again).value)
    centre = sum(values) / 60
    covered = sum(low <= centre <= high for low, high in filter(None, intervals))
    assert 53 <= covered <= 60
    assert sum(resampled) / 60 > centre + 3 * np.std(values)


def test_an_interval_ends_at_the_lowest_value_there_is() -> None:
    without = (0.0, 2.0, 0.0, 2.0)
    (low, high), cut = interval(1.0, without) or (0, 0), interval(1.0, without, least=0.0)
    assert low < 0 and cut == (0.0, high)


def test_of_three_clips_there_is_no_interval() -> None:
    assert groups_of(3) == []
    assert interval(1.0, ()) is None


def test_groups_are_contiguous_and_all_there_is() -> None:
    groups = groups_of(1024)
    assert [i for group in groups for i in group] == list(range(1024))
    assert {len(group) for group in groups} == {51, 52}


@pytest.mark.parametrize(("kept", "videos"), [(0, 4), (4, 4), (3, 10)])
def test_the_interval_of_a_share_is_that_of_wilson(kept: int, videos: int) -> None:
    expected = binomtest(kept, videos).proportion_ci(method="wilson")
    assert share_interval(kept / videos, videos) == pytest.approx((expected.low, expected.high))
