"""Which rows an epoch trains on, and in what order: a function of (seed, epoch) alone.

Where some labels are rare, their rows may be drawn more often. Rows are dealt like cards: of each label, every row
comes once before any comes again, from one epoch to the next too, so that nothing is left unseen by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

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

_BLOCK = 4096  # at least so many rows are shuffled at a time: a label of one row would need as many generators as draws


def epoch_order(n: int, seed: int, epoch: int) -> Indices:
    """A permutation of n rows, the same on every machine."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)


class Order(NamedTuple):
    """Which rows the epochs of a run train on.

    Attributes:
        size: rows an epoch, repeated ones counted each time.
        rows: epoch, counted from 0 → int64 (size,), in their order.
    """

    size: int
    rows: Callable[[int], Indices]


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
        strata: the label of every row, as :func:`bertwright.text.split.strata` has them.
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
