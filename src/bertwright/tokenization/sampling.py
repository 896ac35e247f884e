"""The rows of an epoch and their order, as a function of (seed, epoch): shuffling and class-balanced sampling.

Rows of rare labels can be oversampled. For each label, every row is drawn once before any row is drawn again, also
across epochs, so no row stays unused by chance.
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
"""How often the rows of a label occur in an epoch.

``all``: every row once. ``balanced``: as many draws as there are rows, the same number for each label. ``sqrt``: as
many draws as there are rows, for each label in proportion to the square root of its number of rows, halfway to
balanced. ``oversample``: every label as often as the most frequent one, whose rows occur once; the epoch is longer.
"""


class Sliceable(Protocol):
    """Row indices in epoch order that support slicing: an array, or an object that computes each slice."""

    def __getitem__(self, index: slice, /) -> Indices: ...


_BLOCK = 4096
"""Minimum number of rows to shuffle at a time; otherwise a label with one row would need one generator per draw."""


def epoch_permutation(n: int, seed: int, epoch: int) -> Indices:
    """A permutation of n rows, the same on every machine."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)


@dataclass(frozen=True)
class Permutation:
    """A permutation of 0 … n - 1, determined by (seed, epoch), of which only slices are computed.

    A Feistel network over the next power of four, iterated until the value is less than n (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains"). A permutation of a billion rows needs no memory.
    >>> sorted(Permutation(10, seed=0, epoch=0)[0:10].tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    n: int
    seed: int
    epoch: int

    def __getitem__(self, index: slice) -> Indices:
        half = max(1, (max(self.n - 1, 1).bit_length() + 1) // 2)
        keys = np.random.SeedSequence([self.seed, self.epoch]).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
        values = np.arange(*index.indices(self.n)).astype(np.uint64)
        outside = np.ones(len(values), np.bool_)
        while outside.any():
            values[outside] = _feistel(values[outside], np.uint64(half), keys)
            outside = values >= self.n
        return values.astype(np.int64)


_ROUNDS = 6


def _feistel(x: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for key in keys:
        mixed = splitmix64(right ^ key) & mask
        left, right = right, left ^ mixed
    return (left << half) | right


def splitmix64(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195), a fast 64-bit hash."""
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


class EpochOrder(NamedTuple):
    """The rows that each epoch of a run trains on, in order.

    Attributes:
        size: rows per epoch, counting repetitions.
        indices: function of the epoch, from 0, that returns its int64 row indices; they support slices of 0 … size.
    """

    size: int
    indices: Callable[[int], Sliceable]


def build_sampling_order(kind: Sampling, strata: Sequence[str], seed: int) -> EpochOrder:
    """Build the order of a run with class-balanced sampling; arguments and errors as for :func:`draw_epoch`."""
    return EpochOrder(epoch_size(kind, strata), partial(draw_epoch, kind, strata, seed))


def build_shuffle_order(n: int, seed: int) -> EpochOrder:
    """Build the order of a run in which every epoch shuffles n rows."""
    return EpochOrder(n, partial(epoch_permutation, n, seed))


def epoch_size(kind: Sampling, strata: Sequence[str]) -> int:
    """Number of rows per epoch, counting repetitions; arguments and errors as for :func:`draw_epoch`."""
    return len(strata) if kind == "all" else int(_quotas(kind, _members(kind, strata)).sum())


def draw_epoch(kind: Sampling, strata: Sequence[str], seed: int, epoch: int) -> Indices:
    """Draw the rows of one epoch, in order.

    Args:
        kind: how often the rows of each label occur.
        strata: the label of every row, from :func:`bertwright.data.holdout.assign_strata`.
        seed: random seed of the run.
        epoch: counted from 0.

    Returns:
        int64 (:func:`epoch_size`,); a permutation for ``all``.

    Raises:
        DataError: all rows have the same label, so there is nothing to balance.
    """
    if kind == "all":
        return epoch_permutation(len(strata), seed, epoch)
    members = _members(kind, strata)
    draws = [
        _draw_label(rows, int(quota), seed, label, epoch)
        for label, (rows, quota) in enumerate(zip(members, _quotas(kind, members), strict=True))
    ]
    rows = np.concatenate(draws)
    return rows[epoch_permutation(len(rows), seed, epoch)]


def _members(kind: Sampling, strata: Sequence[str]) -> list[Indices]:
    """The rows of each label, sorted by label."""
    names, labels = np.unique(np.asarray(strata, dtype=object), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"train.sampling: {kind} needs at least 2 labels, but the rows have {len(names)}; set train.sampling=all."
        )
    return np.split(np.argsort(labels, kind="stable").astype(np.int64), np.cumsum(np.bincount(labels))[:-1])


def _quotas(kind: Sampling, members: Sequence[Indices]) -> Indices:
    """Number of draws per epoch for each label."""
    sizes = np.array([len(rows) for rows in members], np.int64)
    if kind == "oversample":
        return np.full_like(sizes, sizes.max())
    shares = np.sqrt(sizes) if kind == "sqrt" else np.ones(len(sizes))
    exact = shares / shares.sum() * sizes.sum()
    quotas: Indices = np.floor(exact).astype(np.int64)
    # Round the largest remainders up first, then the larger labels, so that the sum is the number of rows.
    order = np.lexsort((-sizes, quotas - exact))
    quotas[order[: sizes.sum() - quotas.sum()]] += 1
    return quotas


def _draw_label(rows: Indices, quota: int, seed: int, label: int, epoch: int) -> Indices:
    """Take an epoch's quota from an endless sequence of shuffled copies of the rows of a label."""
    copies = np.tile(rows, (max(1, _BLOCK // len(rows)), 1))
    begin, size = epoch * quota, copies.size
    blocks = range(begin // size, -(-(begin + quota) // size))
    # numpy treats [seed, epoch] and [seed, epoch, 0] as the same seed, so the last number is never 0
    shuffled = [np.random.default_rng([seed, block, 1 + label]).permuted(copies, axis=1).ravel() for block in blocks]
    draws: Indices = np.concatenate([rows[:0], *shuffled])
    return draws[begin % size :][:quota]
