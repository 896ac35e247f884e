"""Which sequences go through the model together, in what order, and how they become a batch.

``batch_size`` always means sequences per optimiser step; ``max_tokens`` bounds memory by splitting a step into
micro-batches. The order is a function of (seed, epoch) alone, so a resumed run needs to remember neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.nn.batch import Batch
from bertwright.nn.layout import Layout
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import Indices, epoch_order

_NO_IDS = torch.empty(0, dtype=torch.int64)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many optimiser steps see every sequence once; the last may be smaller, none is dropped."""
    return -(-n // batch_size)


def micro_batches(rows: Indices, lengths: NDArray[np.int64], max_tokens: int) -> list[Indices]:
    """Split one step's sequences, in order, into pieces of at most ``max_tokens`` tokens.

    Raises:
        DataError: one sequence alone is longer than that.
    """
    sizes = lengths[rows]
    if int(sizes.sum()) <= max_tokens:
        return [rows]
    if len(rows) and int(sizes.max()) > max_tokens:
        raise DataError(
            f"batches: max_tokens is {max_tokens}, but a sequence has {sizes.max()} tokens; "
            "raise train.max_tokens or lower tokens.max_length."
        )
    cuts = []
    total = 0
    for i, size in enumerate(sizes.tolist()):
        total += size
        if total > max_tokens:
            cuts.append(i)
            total = size
    return np.split(rows, cuts)


class Drawn(Protocol):
    """Sequences that are made when they are asked for, such as those of a corpus larger than memory."""

    def __len__(self) -> int: ...

    def drawn(self, rows: Indices, step: int, seed: int) -> Encodings:
        """Some of the sequences, in this order, as a step of a run with this seed has them: others mask other words."""
        ...


def pieces_of(data: Encodings | Drawn, max_tokens: int, seed: int) -> Callable[[Indices, int], list[Batch]]:
    """What makes some rows of a step into batches of at most ``max_tokens`` tokens, on the CPU: (rows, step) → batches.

    Raises:
        DataError: when called, one sequence alone is longer than that.
    """
    if isinstance(data, Encodings):
        sizes = _sizes(data)
        return lambda rows, step: [collate(data, piece) for piece in micro_batches(rows, sizes, max_tokens)]

    def pieces(rows: Indices, step: int) -> list[Batch]:
        found = data.drawn(rows, step, seed)
        return [collate(found, piece) for piece in micro_batches(np.arange(len(rows)), found.lengths, max_tokens)]

    return pieces


def _sizes(encodings: Encodings) -> NDArray[np.int64]:
    """How many tokens of each sequence are in memory: one where a frozen encoder's vector stands for all of them."""
    alone = encodings.features is not None and len(encodings.features) == len(encodings)
    return np.ones(len(encodings), np.int64) if alone else encodings.lengths


def collate(encodings: Encodings, rows: Indices) -> Batch:
    """Put some sequences end to end into one packed batch.

    Args:
        encodings: the data set.
        rows: which of its sequences, at least one.

    Returns:
        A batch on the CPU, with targets if the encodings have any.
    """
    targets, features = (
        None if column is None else torch.from_numpy(encodings.of(column, rows))
        for column in (encodings.targets, encodings.features)
    )
    if features is not None and len(features) == len(rows):  # a vector a sequence is all that a head will read
        return Batch(_NO_IDS, _NO_IDS, Layout.of_single_tokens(len(rows)), targets, rows, features)
    bounds = encodings.bounds
    slices = [slice(bounds[i], bounds[i + 1]) for i in rows.tolist()]
    ids = np.concatenate([encodings.ids[s] for s in slices], dtype=np.int64)
    types = np.concatenate([encodings.types[s] for s in slices], dtype=np.int64)
    # where a frozen encoder's features are there, nothing will attend
    layout = Layout.packed(bounds[rows + 1] - bounds[rows], attended=features is None)
    return Batch(torch.from_numpy(ids), torch.from_numpy(types), layout, targets, rows, features)


def in_order(encodings: Encodings, max_tokens: int) -> Iterator[Batch]:
    """All sequences once, in their order, as few batches of at most ``max_tokens`` tokens; for prediction."""
    # a sequence is never refused here: prediction must go through
    sizes = _sizes(encodings)
    budget = max(max_tokens, int(sizes.max(initial=1)))
    for rows in micro_batches(np.arange(len(encodings)), sizes, budget):
        yield collate(encodings, rows)


def batches(
    encodings: Encodings, batch_size: int, seed: int = 0, epochs: int = 1, max_tokens: int = 1 << 30
) -> Iterator[Batch]:
    """Shuffled batches of ``batch_size`` sequences for a training loop of one's own.

    Raises:
        DataError: a batch does not fit into ``max_tokens``; the library's own loop would split it.
    """
    for epoch in range(epochs):
        order = epoch_order(len(encodings), seed, epoch)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            if len(micro_batches(rows, encodings.lengths, max_tokens)) > 1:
                raise DataError(
                    f"batches: a batch of {batch_size} has more than max_tokens={max_tokens} tokens; lower batch_size."
                )
            yield collate(encodings, rows)
