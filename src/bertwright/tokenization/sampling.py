"""Which rows an epoch trains on, and in what order: a function of (seed, epoch) alone.

Where some labels are rare, their rows may be drawn more often. Rows are dealt like cards: of each label, every row
comes once before any comes again, from one epoch to the next too, so that nothing is left unseen by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError

Indices = NDArray[np.int64]

Sampling = Literal["all", "balanced", "sqrt", "oversample"]
"""How often the rows of a label come in an epoch.

``all``: every row once. ``balanced``: as many draws as there are rows, as many of each label. ``sqrt``: as many draws
as there are rows, of each label in proportion to the square root of its rows, halfway to balanced. ``oversample``:
every label as often as the most frequent one, whose rows come once; the epoch is longer for it.
"""


class Sliced(Protocol):
    """Rows in their order, of which one takes a slice: an array, or what works it out then."""

    def __getitem__(self, which: slice, /) -> Indices: ...


_BLOCK = 4096  # at least so many rows are shuffled at a time: a label of one row would need as many generators as draws


def epoch_order(n: int, seed: int, epoch: int) -> Indices:
    """A permutation of n rows, the same on every machine."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)


@dataclass(frozen=True)
class Permutation:
    """n numbers in an order that (seed, epoch) decides, of which only a slice is ever worked out.

    A Feistel network over the next power of four, walked until it leads below n (Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"): a permutation of a billion rows takes no memory.

    >>> sorted(Permutation(10, seed=0, epoch=0)[0:10].tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    n: int
    seed: int
    epoch: int

    def __getitem__(self, which: slice) -> Indices:
        half = max(1, (max(self.n - 1, 1).bit_length() + 1) // 2)
        keys = np.random.SeedSequence([self.seed, self.epoch]).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
        found = np.arange(*which.indices(self.n)).astype(np.uint64)
        outside = np.ones(len(found), np.bool_)
        while outside.any():
            found[outside] = _feistel(found[outside], np.uint64(half), keys)
            outside = found >= self.n
        return found.astype(np.int64)


_ROUNDS = 6


def _feistel(x: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for key in keys:
        mixed = mixed_bits(right ^ key) & mask
        left, right = right, left ^ mixed
    return (left << half) | right


def mixed_bits(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Splitmix64's output function (Steele et al. 2014, doi 10.1145/2660193.2660195): neighbours become unrelated."""
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


class Order(NamedTuple):
    """Which rows the epochs of a run train on.

    Attributes:
        size: rows an epoch, repeated ones counted each time.
        rows: epoch, counted from 0 → what gives int64 rows, in their order, for a slice of 0 … size.
    """

    size: int
    rows: Callable[[int], Sliced]


def order_of(kind: Sampling, strata: Sequence[str], seed: int) -> Order:
    """The order of a run's epochs; arguments, and what is refused at once, as for :func:`epoch_rows`."""
    return Order(epoch_size(kind, strata), partial(epoch_rows, kind, strata, seed))


def shuffled(n: int, seed: int) -> Order:
    """Every one of n rows once an epoch."""
    return Order(n, partial(epoch_order, n, seed))


def epoch_size(kind: Sampling, strata: Sequence[str]) -> int:
    """How many rows an epoch has, repeated ones counted each time; otherwise as :func:`epoch_rows`."""
    return len(strata) if kind == "all" else int(_quotas(kind, _members(kind, strata)).sum())


def epoch_rows(kind: Sampling, strata: Sequence[str], seed: int, epoch: int) -> Indices:
    """The rows of one epoch in their order.

    Args:
        kind: how often the rows of each label come.
        strata: the label of every row, as :func:`bertwright.data.holdout.strata` has them.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        int64 (:func:`epoch_size`,); for ``all`` a permutation.

    Raises:
        DataError: rows of one label only have nothing to balance.
    """
    if kind == "all":
        return epoch_order(len(strata), seed, epoch)
    members = _members(kind, strata)
    dealt = [
        _dealt(rows, int(quota), seed, label, epoch)
        for label, (rows, quota) in enumerate(zip(members, _quotas(kind, members), strict=True))
    ]
    rows = np.concatenate(dealt)
    return rows[epoch_order(len(rows), seed, epoch)]


def _members(kind: Sampling, strata: Sequence[str]) -> list[Indices]:
    """The rows of each label, labels in order of their names."""
    names, labels = np.unique(np.asarray(strata, dtype=object), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"train.sampling: {kind} needs rows of two labels at least, found {len(names)}; set it to all.")
    return np.split(np.argsort(labels, kind="stable").astype(np.int64), np.cumsum(np.bincount(labels))[:-1])


def _quotas(kind: Sampling, members: Sequence[Indices]) -> Indices:
    """How many draws each label has in every epoch."""
    sizes = np.array([len(rows) for rows in members], np.int64)
    if kind == "oversample":
        return np.full_like(sizes, sizes.max())
    shares = np.sqrt(sizes) if kind == "sqrt" else np.ones(len(sizes))
    exact = shares / shares.sum() * sizes.sum()
    quotas: Indices = np.floor(exact).astype(np.int64)
    # Largest remainders first, then the larger labels, so that the whole is as many as there are rows.
    first = np.lexsort((-sizes, quotas - exact))
    quotas[first[: sizes.sum() - quotas.sum()]] += 1
    return quotas


def _dealt(rows: Indices, quota: int, seed: int, label: int, epoch: int) -> Indices:
    """An epoch's share of an endless row of shuffled decks, each of all the rows of a label."""
    decks = np.tile(rows, (max(1, _BLOCK // len(rows)), 1))
    begin, size = epoch * quota, decks.size
    blocks = range(begin // size, -(-(begin + quota) // size))
    # numpy takes [seed, epoch] and [seed, epoch, 0] for the same seed, so the last number is never 0
    decked = [np.random.default_rng([seed, block, 1 + label]).permuted(decks, axis=1).ravel() for block in blocks]
    dealt: Indices = np.concatenate([rows[:0], *decked])
    return dealt[begin % size :][:quota]
