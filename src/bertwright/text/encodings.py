"""Sequences of token ids, ready for an encoder, stored column by column.

A data set of a million sequences as a million Python objects costs gigabytes; as four flat arrays
it costs what its tokens cost, saves and memory-maps as it is, and batches by slicing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence of ids.

    Attributes:
        ids: int32 (n,), token ids with the special tokens in place.
        types: uint8 (n,), segment ids: 0 for the first text, 1 for the second where the family has two.
        example: the index of the example the sequence comes from.
        target: the example's target in numbers, or None.
        dropped: how many tokens truncation left out.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    example: int
    target: Any = None
    dropped: int = 0


@dataclass(frozen=True)
class Encodings(Sequence[Encoded]):
    """Many sequences: B of them with N tokens in all.

    Attributes:
        ids: int32 (N,), all ids, one sequence after the other.
        types: uint8 (N,), their segment ids.
        bounds: int64 (B + 1,), sequence i is ``ids[bounds[i]:bounds[i + 1]]``.
        examples: int64 (B,), the index of the example each sequence comes from.
        dropped: int32 (B,), how many tokens truncation left out of each.
        targets: any array with first axis B, or None.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    examples: NDArray[np.int64]
    dropped: NDArray[np.int32]
    targets: NDArray[Any] | None = None

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
        start, stop = self.bounds[i], self.bounds[i + 1]
        target = None if self.targets is None else self.targets[i]
        return Encoded(
            self.ids[start:stop], self.types[start:stop], int(self.examples[i]), target, int(self.dropped[i])
        )

    def __iter__(self) -> Iterator[Encoded]:
        for i in range(len(self)):
            yield self[i]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each sequence, int64 (B,)."""
        return np.diff(self.bounds)

    def with_targets(self, targets: NDArray[Any] | None) -> Encodings:
        """The same sequences with these targets."""
        return replace(self, targets=targets)
