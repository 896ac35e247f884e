"""Batches of tokenized sequences.

``batch_size`` is the number of units per optimizer step. A unit is a sequence, or a group of sequences that are scored
together. ``max_tokens`` bounds memory: a step is split into micro-batches of complete units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.nn.batch import Batch
from bertwright.nn.layout import Layout
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import Indices, epoch_permutation
from bertwright.tokenization.training_data import TrainingData

_NO_IDS = torch.empty(0, dtype=torch.int64)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many optimizer steps see each of n units once; the last may be smaller, none is dropped."""
    return -(-n // batch_size)


def split_micro_batches(rows: Indices, lengths: NDArray[np.int64], max_tokens: int) -> list[Indices]:
    """Split one step's units, in order, into pieces of at most ``max_tokens`` tokens.

    Raises:
        DataError: one unit alone has more tokens than that.
    """
    sizes = lengths[rows]
    if int(sizes.sum()) <= max_tokens:
        return [rows]
    _check_fits(sizes, max_tokens)
    cuts = []
    total = 0
    for i, size in enumerate(sizes.tolist()):
        total += size
        if total > max_tokens:
            cuts.append(i)
            total = size
    return np.split(rows, cuts)


def _check_fits(sizes: NDArray[np.int64], max_tokens: int) -> None:
    if (largest := int(sizes.max(initial=0))) > max_tokens:
        raise DataError(
            f"batches: max_tokens is {max_tokens}, but {largest} tokens of one example must stay in one batch; "
            "raise train.max_tokens or lower tokens.max_length."
        )


def make_batcher(data: TrainingData, max_tokens: int, seed: int) -> Callable[[Indices, int], list[Batch]]:
    """Return a function (units, step) → batches of at most ``max_tokens`` tokens, on the CPU.

    Raises:
        DataError: one unit alone has more tokens than that; for a corpus, when the returned function is called.
    """
    if (fixed := data.as_encodings()) is not None:
        _check_fits(fixed.unit_tokens, max_tokens)

    def make_batches(units: Indices, step: int) -> list[Batch]:
        encodings, units = data.draw(units, step, seed)
        pieces = split_micro_batches(units, encodings.unit_tokens, max_tokens)
        return [collate(encodings, encodings.sequences_of(piece)) for piece in pieces]

    return make_batches


def collate(encodings: Encodings, rows: Indices, needs_attention: bool = True) -> Batch:
    """Concatenate some sequences into one packed batch.

    Args:
        encodings: contains the sequences.
        rows: indices of the sequences, at least one; complete groups if the encodings are grouped.
        needs_attention: False omits the attention rows.

    Returns:
        A batch on the CPU, with targets if the encodings have any.
    """
    targets, features = (
        None if column is None else torch.from_numpy(encodings.gather(column, rows))
        for column in (encodings.targets, encodings.features)
    )
    group_sizes = _group_sizes(encodings, rows) if encodings.grouped else None
    if features is not None and len(features) == len(rows):  # the head reads one vector per sequence
        return Batch(_NO_IDS, _NO_IDS, Layout.of_single_tokens(len(rows)), targets, rows, features, group_sizes)
    bounds = encodings.bounds
    slices = [slice(bounds[i], bounds[i + 1]) for i in rows.tolist()]
    ids = np.concatenate([encodings.ids[s] for s in slices], dtype=np.int64)
    types = np.concatenate([encodings.types[s] for s in slices], dtype=np.int64)
    # with cached features no attention is computed
    layout = Layout.packed(bounds[rows + 1] - bounds[rows], needs_attention=needs_attention and features is None)
    return Batch(torch.from_numpy(ids), torch.from_numpy(types), layout, targets, rows, features, group_sizes)


def _group_sizes(encodings: Encodings, rows: Indices) -> Indices:
    """The number of sequences of each group, in their order; a group that occurs twice in a row counts twice."""
    begins = (rows == 0) | (encodings.examples[rows] != encodings.examples[rows - 1])
    begins[0] = True
    return np.diff(np.flatnonzero(begins), append=len(rows))


def iterate_in_order(encodings: Encodings, max_tokens: int, needs_attention: bool = True) -> Iterator[Batch]:
    """All sequences in order, in batches of at most ``max_tokens`` tokens; for prediction and evaluation.

    Batches have about equal numbers of tokens. oneDNN keeps the kernel that it compiles for each number. Short last
    batches, with another number in every part of a long file, would let memory grow.
    """
    for units in split_evenly(encodings.unit_tokens, max_tokens):
        yield collate(encodings, encodings.sequences_of(units), needs_attention)


def split_evenly(sizes: NDArray[np.int64], max_tokens: int) -> list[Indices]:
    """Split units, in order, into the fewest pieces of at most ``max_tokens`` tokens, all of about equal size.

    The largest piece is as small as possible, and the last two are about equal. If a unit has more tokens, pieces may
    have as many, because prediction must not fail.

    Args:
        sizes: int64 (U,), tokens of each unit, at least 1.
        max_tokens: the maximum number of tokens of a piece.
    """
    longest, ends = int(sizes.max(initial=1)), np.cumsum(sizes)
    high = max(max_tokens, longest)
    cuts = _fill_pieces(ends, high)
    if not cuts:
        return [np.arange(len(sizes))]
    low = max(longest, -(-int(sizes.sum()) // (len(cuts) + 1)))
    while low < high:  # bisection: larger pieces are never more
        middle = (low + high) // 2
        smaller = _fill_pieces(ends, middle)
        low, high, cuts = (low, middle, smaller) if len(smaller) == len(cuts) else (middle + 1, high, cuts)
    done = int(ends[cuts[-2] - 1]) if len(cuts) > 1 else 0
    half = done + (int(ends[-1]) - done + 1) // 2
    cuts[-1] = min(int(np.searchsorted(ends, half)) + 1, cuts[-1])
    return np.split(np.arange(len(sizes)), cuts)


def _fill_pieces(ends: NDArray[np.int64], budget: int) -> list[int]:
    """Where pieces of at most ``budget`` tokens begin, without the first, if each is filled before the next.

    Args:
        ends: int64 (U,), tokens of each unit and those before it; no unit has more than ``budget``.
        budget: the maximum number of tokens of a piece.
    """
    cuts = list[int]()
    done = 0
    while len(ends) and done + budget < ends[-1]:
        cuts.append(int(np.searchsorted(ends, done + budget, side="right")))
        done = int(ends[cuts[-1] - 1])
    return cuts


def iterate_batches(
    encodings: Encodings, batch_size: int, seed: int = 0, epochs: int = 1, max_tokens: int = 1 << 30
) -> Iterator[Batch]:
    """Shuffled batches of ``batch_size`` examples for your own training loop.

    Raises:
        DataError: a batch has more than ``max_tokens`` tokens; the library's own loop would split it.
    """
    sizes = encodings.unit_tokens
    for epoch in range(epochs):
        order = epoch_permutation(len(sizes), seed, epoch)
        for start in range(0, len(order), batch_size):
            units = order[start : start + batch_size]
            if len(split_micro_batches(units, sizes, max_tokens)) > 1:
                raise DataError(
                    f"batches: a batch of {batch_size} has more than max_tokens={max_tokens} tokens; lower batch_size."
                )
            yield collate(encodings, encodings.sequences_of(units))
