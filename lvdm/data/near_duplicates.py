"""Videos that look and move alike: whose 64-bit hashes (`looks` of appearance.py) differ in few bits.

Hashes cut into d + 3 blocks that differ in d bits are equal in three blocks at least; only those that share three are
compared, bit by bit (Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007).
Not here: how many bits are few, and what is done about such videos; that is contract.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Bool, Int, UInt64

BITS, SHARED = 64, 3
NOBODY = -1
CHUNK = 1_000_000  # pairs compared at once

Indices = Int[np.ndarray, " _"]


def hashes_of(looks: Iterable[str]) -> UInt64[np.ndarray, " n"]:
    """The hashes as numbers, of 16 hexadecimal digits each."""
    return np.array([int(digits, 16) for digits in looks], dtype=np.uint64)


def distance(one: UInt64[np.ndarray, " n"], other: UInt64[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The number of bits in which hashes differ."""
    return _bits(one ^ other).sum(axis=1, dtype=np.int64)


def seen_before(
    hashes: UInt64[np.ndarray, " n"], groups: Int[np.ndarray, " n"], max_bits: int
) -> Int[np.ndarray, " n"]:
    """For each video one of a group of a lower number that differs in at most `max_bits` bits, or NOBODY."""
    order = np.argsort(groups, kind="stable")
    hashes, groups = hashes[order], groups[order]
    found = np.full(len(hashes), NOBODY)
    for key in _keys(hashes, max_bits):
        by_key = np.argsort(key, kind="stable")  # and by group among equal keys
        first_of_key = _run_starts(key[by_key])
        first_of_group = np.maximum(first_of_key, _run_starts(groups[by_key]))
        _seek(hashes, found, by_key, by_key, first_of_key, first_of_group, max_bits)
    original = np.full(len(hashes), NOBODY)
    original[order] = np.where(found == NOBODY, NOBODY, order[found])
    return original


def seen_among(
    hashes: UInt64[np.ndarray, " n"], others: Bool[np.ndarray, " n"], max_bits: int
) -> Int[np.ndarray, " n"]:
    """For each video that is not of `others` one of them that differs in at most `max_bits` bits, or NOBODY."""
    found = np.full(len(hashes), NOBODY)
    (seekers,), (sought,) = np.nonzero(~others), np.nonzero(others)
    for key in _keys(hashes, max_bits):
        candidates = sought[np.argsort(key[sought], kind="stable")]
        start, end = (np.searchsorted(key[candidates], key[seekers], side) for side in ("left", "right"))
        _seek(hashes, found, seekers, candidates, start, end, max_bits)
    return found


def _seek(
    hashes: np.ndarray,
    found: np.ndarray,
    seekers: Indices,
    candidates: Indices,
    start: Indices,
    end: Indices,
    max_bits: int,
) -> None:
    """Fills in `found` for the seekers from candidates[start:end] of each, beginning at the end.

    Who has found one seeks no further, so that a thousand copies of one video take no million comparisons.
    """
    step = 1
    while True:
        left = (found[seekers] == NOBODY) & (end > start)
        seekers, start, end = seekers[left], start[left], end[left]
        if len(seekers) == 0:
            return
        stop = np.maximum(start, end - step)
        for index, place in _expanded(stop, end):
            seeker, candidate = seekers[index], candidates[place]
            alike = distance(hashes[seeker], hashes[candidate]) <= max_bits
            found[seeker[alike]] = candidate[alike]
        end, step = stop, 2 * step


def _run_starts(values: np.ndarray) -> Indices:
    """For each place the first of the equal values that it stands among."""
    places = np.arange(len(values))
    begins = np.append(True, values[1:] != values[:-1])[: len(values)]
    return np.maximum.accumulate(np.where(begins, places, 0))


def _keys(hashes: UInt64[np.ndarray, " n"], max_bits: int) -> Iterator[UInt64[np.ndarray, " n"]]:
    """For every three blocks their content. Bits that hardly vary tell little, so each block gets as many of them."""
    bits = _bits(hashes).astype(np.uint64)
    order = np.argsort(np.abs(bits.mean(axis=0) - 0.5), kind="stable") if len(bits) else np.arange(BITS)
    num = max_bits + SHARED
    blocks = []
    for block in range(num):
        own = bits[:, order[block::num]]
        blocks.append((own << np.arange(own.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64))
    width = np.uint64(-(-BITS // num))
    for one, two, three in combinations(blocks, SHARED):
        yield (one << (width + width)) | (two << width) | three


def _expanded(start: Indices, end: Indices) -> Iterator[tuple[Indices, Indices]]:
    """(index, place) of every place of each range start[index]:end[index], about CHUNK at once."""
    counts = end - start
    total = np.cumsum(counts)
    cuts = np.unique(np.searchsorted(total, np.arange(0, total[-1], CHUNK)))
    for low, high in pairwise([*cuts.tolist(), len(counts)]):
        index = np.repeat(np.arange(low, high), counts[low:high])
        before = total[low:high] - counts[low:high] - (total[low] - counts[low])
        yield index, np.arange(len(index)) + np.repeat(start[low:high] - before, counts[low:high])


def _bits(values: UInt64[np.ndarray, " n"]) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8), axis=1)
