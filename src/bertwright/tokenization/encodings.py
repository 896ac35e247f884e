"""Tokenized sequences, stored in flat columns.

A million sequences as Python objects take gigabytes. Flat arrays take the memory of their tokens, can be
memory-mapped, and are batched by slicing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import ReadReport, fingerprint
from bertwright.data.example import Example
from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.sampling import EpochOrder, Sampling, build_sampling_order, build_shuffle_order

NO_OFFSET: Final = -1
"""The offset of a token that is not part of the text that is split into windows, such as a special token."""


def expand_ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of consecutive ranges: ``starts[0]``, ``starts[0] + 1``, …, ``starts[1]``, …

    >>> expand_ranges(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    index: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths)
    return index


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenized sequence.

    Attributes:
        ids: int32 (n,), token ids with special tokens.
        types: uint8 (n,), segment ids: 0 for the first text, 1 for the second if the family has two segments.
        example: index of the example that the sequence belongs to.
        target: numeric target of the sequence, or (n, …) one per token; None if it is unknown.
        dropped: number of tokens that truncation removed.
        offsets: int32 (n, 2), first character of each token and the one after its last, in the text that is split into
            windows; :data:`NO_OFFSET` for other tokens. None for sequences that are not windows.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    example: int
    target: Any = None
    dropped: int = 0
    offsets: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Encodings(Sequence[Encoded]):
    """B tokenized sequences with N tokens in total.

    The sequences of one example, such as the windows of a long text or the choices of a question, are adjacent. Every
    sequence has more than one token, so the length of a column shows whether it has an entry per sequence or per token.

    Attributes:
        ids: int32 (N,), the ids of all sequences, concatenated.
        types: uint8 (N,), their segment ids.
        bounds: int64 (B + 1,), sequence i is ``ids[bounds[i]:bounds[i + 1]]``.
        examples: int64 (B,), index of the example of each sequence, in ascending order.
        dropped: int32 (B,), number of tokens that truncation removed from each.
        targets: one target per sequence (B, …) or per token (N, …), :data:`IGNORE_INDEX` for no target; or None.
        offsets: int32 (N, 2), see :class:`Encoded`; or None.
        max_context: bool (N,), whether this is the window that shows the token with most context; true once for every
            token of the text; or None.
        features: cached output of a frozen encoder per sequence (B, …) or token (N, …); or None.
        spell: converts ids to their text, for tasks whose messages name tokens; or None.
        grouped: whether the sequences of one example are scored together, such as the choices of a question. Batches
            then contain complete groups, and an epoch orders groups.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    examples: NDArray[np.int64]
    dropped: NDArray[np.int32]
    targets: NDArray[Any] | None = None
    offsets: NDArray[np.int32] | None = None
    max_context: NDArray[np.bool_] | None = None
    features: NDArray[Any] | None = None
    spell: Callable[[NDArray[np.int64]], list[str]] | None = field(default=None, kw_only=True)
    grouped: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        i = index % len(self)
        tokens = slice(self.bounds[i], self.bounds[i + 1])
        target = None
        if self.targets is not None:
            target = self.targets[i] if len(self.targets) == len(self) else self.targets[tokens]
        offsets = None if self.offsets is None else self.offsets[tokens]
        example, dropped = int(self.examples[i]), int(self.dropped[i])
        return Encoded(self.ids[tokens], self.types[tokens], example, target, dropped, offsets)

    def __iter__(self) -> Iterator[Encoded]:
        for i in range(len(self)):
            yield self[i]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each sequence, int64 (B,)."""
        return np.diff(self.bounds)

    @cached_property
    def unit_starts(self) -> NDArray[np.int64]:
        """First sequence of each of the U units, int64 (U,); an epoch orders units: sequences, or groups if grouped."""
        if not self.grouped:
            return np.arange(len(self))
        return np.flatnonzero(np.diff(self.examples, prepend=-1))

    @cached_property
    def unit_sizes(self) -> NDArray[np.int64]:
        """The number of sequences of each unit, int64 (U,)."""
        return np.diff(self.unit_starts, append=len(self))

    def sequences_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of the sequences of these units, in their order."""
        return expand_ranges(self.unit_starts[units], self.unit_sizes[units]) if self.grouped else units

    def with_targets(self, targets: NDArray[Any] | None) -> Encodings:
        """The same sequences with these targets."""
        return replace(self, targets=targets)

    def gather(self, column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """The entries of a column, which has one per sequence or per token, for some sequences in their order."""
        if len(column) == len(self):
            return np.ascontiguousarray(column[rows])
        return np.concatenate([column[self.bounds[i] : self.bounds[i + 1]] for i in rows.tolist()])

    def take(self, rows: NDArray[np.int64]) -> Encodings:
        """Some of the sequences, in this order; the indices of their examples stay the same."""
        lengths = self.lengths[rows]
        tokens = expand_ranges(self.bounds[rows], lengths)

        def pick(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[rows if len(column) == len(self) else tokens]

        return Encodings(
            self.ids[tokens],
            self.types[tokens],
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            self.examples[rows],
            self.dropped[rows],
            *(pick(column) for column in (self.targets, self.offsets, self.max_context, self.features)),
            spell=self.spell,
            grouped=self.grouped,
        )

    def with_known_targets(self) -> Encodings:
        """The sequences whose targets are not all :data:`IGNORE_INDEX`."""
        if self.targets is None or not np.issubdtype(self.targets.dtype, np.integer):
            return self
        known = (self.targets != IGNORE_INDEX).reshape(len(self.targets), -1).any(1)
        if len(known) != len(self):
            known = np.logical_or.reduceat(known, self.bounds[:-1])
        return self if known.all() else self.take(np.flatnonzero(known))

    def slice_sequences(self, start: int, stop: int) -> Encodings:
        """The sequences from ``start`` up to ``stop``, as views; their first example gets the index 0."""
        tokens = slice(self.bounds[start], self.bounds[stop])

        def cut(column: NDArray[Any] | None) -> NDArray[Any] | None:
            if column is None:
                return None
            return column[start:stop] if len(column) == len(self) else column[tokens]

        return Encodings(
            self.ids[tokens],
            self.types[tokens],
            self.bounds[start : stop + 1] - self.bounds[start],
            self.examples[start:stop] - (self.examples[start] if stop > start else 0),
            self.dropped[start:stop],
            *(cut(column) for column in (self.targets, self.offsets, self.max_context, self.features)),
            spell=self.spell,
            grouped=self.grouped,
        )

    @cached_property
    def unit_tokens(self) -> NDArray[np.int64]:
        """The tokens of each unit in a batch, int64 (U,); 1 per sequence whose cached features are one vector."""
        one_vector = self.features is not None and len(self.features) == len(self)
        tokens = np.ones(len(self), np.int64) if one_vector else self.lengths
        return np.add.reduceat(tokens, self.unit_starts) if self.grouped and len(tokens) else tokens

    def draw(self, units: NDArray[np.int64], step: int, seed: int) -> tuple[Encodings, NDArray[np.int64]]:
        """The units that one training step uses: these encodings for every step, and the units themselves."""
        return self, units

    def epoch_order(
        self, sampling: Sampling, strata: Sequence[str], seed: int, batch_size: int, steps: int
    ) -> EpochOrder:
        """The units that each epoch trains on, in order: :meth:`TrainingData.epoch_order`."""
        examples = self.examples[self.unit_starts]
        if sampling == "all":
            return build_shuffle_order(len(examples), seed)
        return build_sampling_order(sampling, [strata[i] for i in examples.tolist()], seed)

    def as_encodings(self) -> Encodings:
        """Itself: the sequences are the same in every epoch."""
        return self

    @property
    def phase_shares(self) -> tuple[float, ...]:
        """One phase."""
        return (1.0,)

    def fingerprint(self, examples: Sequence[Example]) -> str:
        """A hash of the examples; augmented copies are part of it."""
        return fingerprint(examples)

    def summarize(self, report: ReadReport, n_examples: int) -> dict[str, str | int]:
        """Counts of rows, sequences and tokens for the report of a run."""
        sequences = {} if len(self) == n_examples else {"choices" if self.grouped else "windows": len(self)}
        return {
            "source": report.source,
            "rows": n_examples,
            **sequences,
            "tokens": int(self.lengths.sum()),
            "truncated_rows": len(np.unique(self.examples[self.dropped > 0])),
            "dropped_tokens": int(self.dropped.sum()),
            "skipped_rows": sum(report.skipped.values()),
            "fingerprint": report.fingerprint,
        }

    def row_lengths(self, n: int) -> NDArray[np.int64] | None:
        """Tokens of the longest sequence of each of the first n examples before truncation.

        None if an example has windows, or none of its sequences is in these encodings.
        """
        n_units = len(self.unit_starts)
        if n_units < n or self.examples[-1] != n_units - 1:
            return None
        longest: NDArray[np.int64] = np.maximum.reduceat(self.lengths + self.dropped, self.unit_starts)[:n]
        return longest

    def iterate_parts(self, size: int) -> Iterator[tuple[Encodings, slice]]:
        """Parts of at least ``size`` sequences (the last may have fewer) with their examples; no example is split."""
        start = 0
        while start < len(self):
            stop = min(start + size, len(self))
            if stop < len(self):  # to the end of the example
                stop = int(np.searchsorted(self.examples, self.examples[stop - 1], side="right"))
            yield self.slice_sequences(start, stop), slice(int(self.examples[start]), int(self.examples[stop - 1]) + 1)
            start = stop
