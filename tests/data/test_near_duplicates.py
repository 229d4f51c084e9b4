"""Against a comparison of all pairs: who looks like whom, whatever the hashes, the groups and the number of bits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lvdm.data import near_duplicates
from lvdm.data.near_duplicates import NOBODY, distance, hashes_of, seen_among, seen_before


def clouds(random: np.random.Generator, num: int, centres: int, flips: int) -> np.ndarray:
    """Hashes around a few centres, `flips` random bits away from them."""
    hashes = random.integers(0, 2**64, centres, dtype=np.uint64)[random.integers(0, centres, num)]
    for _ in range(flips):
        hashes = hashes ^ (np.uint64(1) << random.integers(0, 64, num).astype(np.uint64))
    return hashes


@pytest.mark.parametrize("seed", range(12))
def test_exactly_those_are_found_who_are_alike(seed, monkeypatch):
    random = np.random.default_rng(seed)
    num, max_bits = int(random.integers(0, 200)), int(random.integers(0, 13))
    hashes = clouds(random, num, centres=int(random.integers(1, 6)), flips=int(random.integers(0, 9)))
    groups = random.integers(0, max(1, num // int(random.choice([1, 3, 200]))), num)
    train = random.random(num) < 0.5
    monkeypatch.setattr(near_duplicates, "CHUNK", int(random.choice([1, 50, 10**6])))
    alike = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= max_bits
    for found, may_be in (
        (seen_before(hashes, groups, max_bits), alike & (groups[:, None] > groups[None, :])),
        (seen_among(hashes, train, max_bits), alike & ~train[:, None] & train[None, :]),
    ):
        np.testing.assert_array_equal(found != NOBODY, may_be.any(axis=1))
        (somebody,) = np.nonzero(found != NOBODY)
        assert may_be[somebody, found[somebody]].all()


def test_the_distance_is_the_number_of_bits_that_differ():
    one, other = (
        hashes_of(["00000000000000ff", "8000000000000001"]),
        hashes_of(["0000000000000000", "0000000000000001"]),
    )
    assert distance(one, other).tolist() == [8, 1]


@pytest.mark.parametrize("groups", ["each its own", "all one"])
def test_many_copies_of_one_video_take_no_comparison_of_all_with_all(groups):
    num = 50_000
    hashes = clouds(np.random.default_rng(0), num, centres=1, flips=2)
    own = np.arange(num) if groups == "each its own" else np.zeros(num, dtype=np.int64)
    start = time.process_time()
    found = seen_before(hashes, own, 6)
    assert time.process_time() - start < 10  # all pairs would be 1.25 billion, in each of 84 tables
    assert (found != NOBODY).sum() == (num - 1 if groups == "each its own" else 0)
