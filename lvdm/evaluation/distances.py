"""What is done with features: Frechet and kernel distances, gaps of means, and the same without some of the samples.

The value is that of torchmetrics, in float64, from features read a block at a time. What it would be without a group of
the samples (of which interval.py makes an interval) comes from sums that are there already, and without torchmetrics,
whose eigenvalues of a product that is not symmetric take minutes at 2,048 features. It is imported inside: it
loads so much that every stage which measures nothing would pay seconds.
Not here: where features come from (features.py, extraction.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

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


class _Given(nn.Module):
    """A feature network whose input already is the features."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(
    real: Features, fake: Features, groups: Sequence[range] = (), covariance: Covariance = "n - 1"
) -> Distance:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)); what rounding takes below 0 is 0.

    `covariance` is what S is divided by. With fewer rows than features, these are first written in an orthonormal basis
    of the space that the rows span, which changes no distance.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = _in_span(real, fake)
    metric = FrechetInceptionDistance(feature=_Given(real.shape[2])).set_dtype(torch.float64)
    for rows, is_real in ((real, True), (fake, False)):
        for block in _blocks(rows):
            metric.update(block, real=is_real)
    value = metric.compute().item()
    if covariance == "n - 1" and not groups:
        return Distance(max(value, 0.0))
    of_real, of_fake = Moments.of(real), Moments.of(fake)
    if covariance == "n":
        means = (of_real.mean - of_fake.mean).square().sum().item()
        n = of_fake.count
        value = means + (value - means) * (n - 1) / n  # both sides have as many rows
    root = _root(of_real.covariance(covariance))
    without = (of_fake - Moments.of(fake[group.start : group.stop]) for group in groups)
    return Distance(max(value, 0.0), tuple(_frechet(of_real, root, rest, covariance) for rest in without))


@dataclass(frozen=True)
class Moments:
    """Of some rows: how many, their sum, and the sum of their outer products, all that a Frechet distance needs."""

    count: int
    total: Float64[Tensor, "d"]
    outer: Float64[Tensor, "d d"]

    @classmethod
    def of(cls, features: Features) -> Moments:
        d = features.shape[2]
        moments = cls(0, torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64))
        for block in _blocks(features):
            moments = cls(moments.count + len(block), moments.total + block.sum(0), moments.outer + block.T @ block)
        return moments

    def __sub__(self, part: Moments) -> Moments:
        return Moments(self.count - part.count, self.total - part.total, self.outer - part.outer)

    @property
    def mean(self) -> Float64[Tensor, "d"]:
        return self.total / self.count

    def covariance(self, divided_by: Covariance) -> Float64[Tensor, "d d"]:
        centred = self.outer - self.count * torch.outer(self.mean, self.mean)
        return centred / (self.count - (divided_by == "n - 1"))


def _frechet(real: Moments, root: Float64[Tensor, "d d"], fake: Moments, covariance: Covariance) -> float:
    """The distance through tr (R S R)^(1/2), R the root of the real covariance: of a symmetric matrix, so fast."""
    of_fake = fake.covariance(covariance)
    cross = torch.linalg.eigvalsh(root @ of_fake @ root).clamp_min(0).sqrt().sum()
    traces = real.covariance(covariance).trace() + of_fake.trace()
    return max(((real.mean - fake.mean).square().sum() + traces - 2 * cross).item(), 0.0)


def _root(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _in_span(real: Features, fake: Features) -> tuple[Float[Tensor, "_ rows k"], Float[Tensor, "_ rows k"]]:
    """Both, in coordinates about the first row, if those are fewer than the features."""
    rows, d = sum(x.shape[0] * x.shape[1] for x in (real, fake)), real.shape[2]
    if rows > d:
        return real, fake
    origin = real[0, 0].double()
    offsets = torch.cat([(x.flatten(0, 1).double() - origin) for x in (real, fake)])
    basis, _ = torch.linalg.qr(offsets.T)
    moved = offsets @ basis
    split = real.shape[0] * real.shape[1]
    return moved[:split].unflatten(0, real.shape[:2]), moved[split:].unflatten(0, fake.shape[:2])


def kernel_distance(real: Features, fake: Features, groups: Sequence[range] = ()) -> Distance:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 over all rows at once; 0 on average for equal sets."""
    parts = [fake[group.start : group.stop] for group in groups] or [fake]
    n, sizes = _rows(real), torch.tensor([float(_rows(part)) for part in parts], dtype=torch.float64)
    within_real = _kernel_sum(real, real) / (n * (n - 1))
    across = torch.tensor([_kernel_sum(real, part) for part in parts], dtype=torch.float64)
    within = torch.zeros(len(parts), len(parts), dtype=torch.float64)
    for i, one in enumerate(parts):
        for j, other in enumerate(parts[: i + 1]):
            within[i, j] = within[j, i] = _kernel_sum(one, other) if i != j else _kernel_sum(one, one)

    def unbiased(m: Tensor, of_fake: Tensor, cross: Tensor) -> float:
        return (within_real + of_fake / (m * (m - 1)) - 2 * cross / (n * m)).item()

    value = unbiased(sizes.sum(), within.sum(), across.sum())
    rest = within.sum() - 2 * within.sum(dim=1) + within.diagonal()
    without = [unbiased(sizes.sum() - sizes[g], rest[g], across.sum() - across[g]) for g in range(len(parts)) if groups]
    return Distance(value, tuple(without))


def _kernel_sum(one: Features, other: Features) -> float:
    """The sum of the kernel over all pairs of rows, of a set with itself without the pairs of a row with itself."""
    from torchmetrics.image.kid import poly_kernel

    total = sum(poly_kernel(a, b).sum().item() for a in _blocks(one) for b in _blocks(other))
    if one is other:
        total -= sum(((block.square().sum(dim=1) / block.shape[1] + 1) ** 3).sum().item() for block in _blocks(one))
    return total


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
