"""What is done with features: Frechet and kernel distances, gaps of means, and the same without some of the samples.

All in float64, from features read a block at a time. What a distance would be without a group of the samples (of which
interval.py makes an interval) comes from sums over the groups. torchmetrics, to which the tests hold the Frechet
distance, takes minutes for one of 2,048 features, as it asks for the eigenvalues of a product that is not symmetric;
its kernel is imported inside: it loads so much that every stage which measures nothing would pay seconds.
Not here: where features come from (features.py, extraction.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lvdm.evaluation.metrics import Metric

BLOCK = 1024  # rows in memory at a time

Features = Float[Tensor, "_ rows d"]  # of so many clips
Covariance = Literal["n", "n - 1"]


@dataclass(frozen=True)
class Distance:
    """A value, and the values without each group of the samples."""

    value: float
    without: tuple[float, ...] = ()


def distance(
    metric: Metric, real: Features, fake: Features, groups: Sequence[range] = (), covariance: Covariance = "n - 1"
) -> Distance:
    """`metric` of two sets of features, and without each of `groups` of the fakes, contiguous clips that are all."""
    match metric.measure:
        case "frechet":
            return frechet_distance(real, fake, groups, covariance)
        case "kernel":
            return kernel_distance(real, fake, groups)
        case "mean_gap":
            of_real = _mean(real)
            gaps = [abs(_mean(part) - of_real) for part in _without(fake, groups)]
            return Distance(abs(_mean(fake) - of_real), tuple(gaps))
        case "caption":
            return Distance(_mean(fake), tuple(map(_mean, _without(fake, groups))))
        case "identity":
            raise AssertionError("measured of long videos, not of features: identity.py")


def frechet_distance(
    real: Features, fake: Features, groups: Sequence[range] = (), covariance: Covariance = "n - 1"
) -> Distance:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)); what rounding takes below 0 is 0.

    `covariance` is what S is divided by.
    """
    return Gaussian.of(real, covariance).distance(fake, groups)


@dataclass(frozen=True)
class Gaussian:
    """That of real features, in the form that a Frechet distance needs, for many sets to be held against it.

    tr (S_r S_f)^(1/2) is the sum of the singular values of A R for any A, R with A^T A = S_f and R R^T = S_r. So
    it is that of a small matrix where there are few rows on either side, however many features there are.
    """

    mean: Float64[Tensor, "d"]
    root: Float64[Tensor, "d k"]  # R
    covariance: Covariance

    @classmethod
    def of(cls, features: Features, covariance: Covariance = "n - 1") -> Gaussian:
        n, d = _rows(features), features.shape[2]
        mean = sum((block.sum(dim=0) for block in _blocks(features)), torch.zeros(d, dtype=torch.float64)) / n
        centred = (block - mean for block in _blocks(features))
        if n <= d:
            root = torch.cat(list(centred)).T
        else:
            values, vectors = torch.linalg.eigh(sum(block.T @ block for block in centred))
            root = vectors * values.clamp_min(0).sqrt()
        return cls(mean, root / math.sqrt(_divisor(n, covariance)), covariance)

    def distance(self, fake: Features, groups: Sequence[range] = ()) -> Distance:
        """The Frechet distance to `fake`, and to that without each of `groups` of its clips."""
        groups = [range(0), *groups]
        whole = Moments.of(fake, self.mean)
        rests = [whole - Moments.of(fake[group.start : group.stop], self.mean) for group in groups]
        singular = self._of_rows if _rows(fake) <= self.root.shape[1] else self._of_columns
        value, *without = map(self._value, rests, singular(fake, groups))
        return Distance(value, tuple(without))

    def _value(self, fake: Moments, singular: float) -> float:
        n, divisor = fake.count, _divisor(fake.count, self.covariance)
        mean = (fake.total / n).square().sum().item()
        traces = self.root.square().sum().item() + (fake.square - n * mean) / divisor
        return max(mean + traces - 2 * singular / math.sqrt(divisor), 0.0)

    def _of_rows(self, fake: Features, groups: Sequence[range]) -> Iterator[float]:
        """The singular values of the centred rows times R, summed, without each group: of no more columns than rows."""
        seen = torch.cat([(block - self.mean) @ self.root for block in _blocks(fake)])
        seen = torch.linalg.qr(seen.T, mode="r").R.T.unflatten(0, fake.shape[:2])
        for rest in _without(seen, groups):
            rows = rest.flatten(0, 1)
            yield torch.linalg.svdvals(rows - rows.mean(dim=0)).sum().item()

    def _of_columns(self, fake: Features, groups: Sequence[range]) -> Iterator[float]:
        """The same through the eigenvalues of sums over rows."""
        (total, outer), n = self._sums(fake), _rows(fake)
        for group in groups:
            part = fake[group.start : group.stop]
            (of_part, outer_of_part), left = self._sums(part), n - _rows(part)
            mean = (total - of_part) / left
            centred = outer - outer_of_part - left * torch.outer(mean, mean)
            yield torch.linalg.eigvalsh(centred).clamp_min(0).sqrt().sum().item()

    def _sums(self, fake: Features) -> tuple[Float64[Tensor, "k"], Float64[Tensor, "k k"]]:
        """Of the rows times R, and of their outer products."""
        k = self.root.shape[1]
        total, outer = torch.zeros(k, dtype=torch.float64), torch.zeros(k, k, dtype=torch.float64)
        for block in _blocks(fake):
            seen = (block - self.mean) @ self.root
            total, outer = total + seen.sum(dim=0), outer.addmm(seen.T, seen)
        return total, outer


@dataclass(frozen=True)
class Moments:
    """Of some rows, about an origin: how many, their sum and the sum of their squared lengths."""

    count: int
    total: Float64[Tensor, "d"]
    square: float

    @classmethod
    def of(cls, features: Features, origin: Float64[Tensor, "d"]) -> Moments:
        moments = cls(0, torch.zeros_like(origin), 0.0)
        for block in _blocks(features):
            rows = block - origin
            moments = cls(
                moments.count + len(rows), moments.total + rows.sum(dim=0), moments.square + rows.square().sum().item()
            )
        return moments

    def __sub__(self, part: Moments) -> Moments:
        return Moments(self.count - part.count, self.total - part.total, self.square - part.square)


def _divisor(count: int, covariance: Covariance) -> int:
    return count - (covariance == "n - 1")


def kernel_distance(real: Features, fake: Features, groups: Sequence[range] = ()) -> Distance:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 over all rows at once; 0 on average for equal sets."""
    parts = [fake[group.start : group.stop] for group in groups] or [fake]
    n, sizes = _rows(real), torch.tensor([float(_rows(part)) for part in parts], dtype=torch.float64)
    within_real = _kernel_sum_within(real) / (n * (n - 1))
    across = torch.tensor([_kernel_sum(real, part) for part in parts], dtype=torch.float64)
    within = torch.zeros(len(parts), len(parts), dtype=torch.float64)
    for i, one in enumerate(parts):
        for j, other in enumerate(parts[: i + 1]):
            within[i, j] = within[j, i] = _kernel_sum(one, other) if i != j else _kernel_sum_within(one)

    def unbiased(m: Tensor, of_fake: Tensor, cross: Tensor) -> float:
        return (within_real + of_fake / (m * (m - 1)) - 2 * cross / (n * m)).item()

    value = unbiased(sizes.sum(), within.sum(), across.sum())
    rest = within.sum() - 2 * within.sum(dim=1) + within.diagonal()
    without = [unbiased(sizes.sum() - sizes[g], rest[g], across.sum() - across[g]) for g in range(len(parts)) if groups]
    return Distance(value, tuple(without))


def _kernel_sum(one: Features, other: Features) -> float:
    """The sum of the kernel over all pairs of rows."""
    from torchmetrics.image.kid import poly_kernel

    return sum(poly_kernel(a, b).sum().item() for a in _blocks(one) for b in _blocks(other))


def _kernel_sum_within(one: Features) -> float:
    """The sum of the kernel over all pairs of two different rows."""
    of_itself = sum(((block.square().sum(dim=1) / block.shape[1] + 1) ** 3).sum().item() for block in _blocks(one))
    return _kernel_sum(one, one) - of_itself


def _blocks(features: Features) -> Iterator[Float64[Tensor, "n d"]]:
    clips = max(1, BLOCK // features.shape[1])
    for start in range(0, len(features), clips):
        yield features[start : start + clips].flatten(0, 1).double()


def _rows(features: Features) -> int:
    return features.shape[0] * features.shape[1]


def _mean(features: Features) -> float:
    return math.fsum(block.sum().item() for block in _blocks(features)) / features.numel()


def _without(features: Features, groups: Sequence[range]) -> Iterator[Features]:
    for group in groups:
        yield torch.cat([features[: group.start], features[group.stop :]])
