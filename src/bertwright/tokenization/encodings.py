"""Sequences of token ids, ready for an encoder, stored column by column.

A data set of a million sequences as a million Python objects costs gigabytes; as a few flat arrays
it costs what its tokens cost, saves and memory-maps as it is, and batches by slicing.
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
"""The offset of a token that stands for no characters of the text that windows run over."""


def piece_index(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of some pieces of one long row, piece after piece: ``starts[0]``, ``starts[0] + 1``, …

    >>> piece_index(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    index: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths)
    return index


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence of ids.

    Attributes:
        ids: int32 (n,), token ids with the special tokens in place.
        types: uint8 (n,), segment ids: 0 for the first text, 1 for the second where the family has two.
        example: the index of the example the sequence comes from.
        target: what is to be learnt from it in numbers, one for all or (n, …) one a token; None where not known.
        dropped: how many tokens truncation left out.
        offsets: int32 (n, 2), each token's first character and the one after its last, in the text that windows run
            over; -1 where a token stands for none of it. None for sequences that were not cut into windows.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    example: int
    target: Any = None
    dropped: int = 0
    offsets: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Encodings(Sequence[Encoded]):
    """Many sequences: B of them with N tokens in all.

    Several may come from one example, as windows of a long text: they then stand side by side. Every sequence has
    more than one token, so the length of a column tells whether it holds something for every sequence or for every
    token.

    Attributes:
        ids: int32 (N,), all ids, one sequence after the other.
        types: uint8 (N,), their segment ids.
        bounds: int64 (B + 1,), sequence i is ``ids[bounds[i]:bounds[i + 1]]``.
        examples: int64 (B,), the index of the example each sequence comes from, never falling.
        dropped: int32 (B,), how many tokens truncation left out of each.
        targets: an array with first axis B, or N for a target a token (:data:`IGNORE_INDEX` for none); or None.
        offsets: int32 (N, 2), as :class:`Encoded` has them; or None.
        max_context: bool (N,), whether this window has the token with most context; true once for every token
            of the text; or None.
        features: what a frozen encoder gave for each sequence (B, …) or token (N, …), to train a head from; or None.
        spell: ids → how they are written, where a task will speak of tokens; or None.
        grouped: whether the sequences of one example are scored together, as the choices of a question are. Such a
            group is never split between batches, and an epoch orders groups.
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
        """The first sequence of each of the U units that an epoch orders, int64 (U,): sequences, or groups of them."""
        if not self.grouped:
            return np.arange(len(self))
        return np.flatnonzero(np.diff(self.examples, prepend=-1))

    @property
    def unit_sizes(self) -> NDArray[np.int64]:
        """The number of sequences of each unit, int64 (U,)."""
        return np.diff(self.unit_starts, append=len(self))

    def sequences_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sequences of some units, unit after unit."""
        return piece_index(self.unit_starts[units], self.unit_sizes[units]) if self.grouped else units

    def with_targets(self, targets: NDArray[Any] | None) -> Encodings:
        """The same sequences with these targets."""
        return replace(self, targets=targets)

    def of(self, column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """What a column, of this length or one a token, holds for some sequences, in their order."""
        if len(column) == len(self):
            return np.ascontiguousarray(column[rows])
        return np.concatenate([column[self.bounds[i] : self.bounds[i + 1]] for i in rows.tolist()])

    def take(self, rows: NDArray[np.int64]) -> Encodings:
        """Some of the sequences, in this order, still with the numbers of their examples."""
        lengths = self.lengths[rows]
        tokens = piece_index(self.bounds[rows], lengths)

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

    def part(self, start: int, stop: int) -> Encodings:
        """The sequences from ``start`` to before ``stop``, as views; their first example has the number 0."""
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
        """The units that one training step uses: these encodings, whatever the step, and the units themselves."""
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

    def in_parts(self, size: int) -> Iterator[tuple[Encodings, slice]]:
        """Parts of at least ``size`` sequences (the last may have fewer), no example cut in two, and its examples."""
        start = 0
        while start < len(self):
            stop = min(start + size, len(self))
            if stop < len(self):  # to the end of the example
                stop = int(np.searchsorted(self.examples, self.examples[stop - 1], side="right"))
            yield self.part(start, stop), slice(int(self.examples[start]), int(self.examples[stop - 1]) + 1)
            start = stop
