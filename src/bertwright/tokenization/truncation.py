"""Truncation: how many tokens of one text, or of two, remain when a sequence exceeds the maximum length.

All functions work on columns of lengths, int64 (B,) for B rows, in tokens without special tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError, did_you_mean

Truncation = Literal["longest_first", "only_first", "only_second", "head_tail", "windows"]
"""How rows that are too long are truncated:

- ``longest_first``: the end of the longer text until both have the same length, then the ends of both alternately;
- ``only_first`` / ``only_second``: only the end of that text;
- ``head_tail``: as many tokens of each text as with ``longest_first``, but from its middle;
- ``windows``: not at all; the text, or the second one of a pair, becomes overlapping windows (see ``windows``).
"""

HEAD_TOKENS, HEAD_LENGTH = 128, 510
"""``head_tail`` keeps 128 of 510 tokens at the front and the rest at the end, the best method in Sun et al. 2019,
"How to Fine-Tune BERT for Text Classification?", table 2 (IMDb, Sogou)."""

Lengths = NDArray[np.int64]


def compute_kept_lengths(
    lengths: Sequence[Lengths], room: int, truncation: Truncation, *, first_row: int = 0
) -> tuple[Lengths, ...]:
    """Compute how many tokens of each text remain so that no row has more than ``room``: one column per text.

    ``lengths`` is one column, or two for pairs; ``first_row`` is the number of row 0 in the user's data,
    for messages.

    Raises:
        DataError: a row cannot fit, because a text that must not be truncated fills the room alone.
    """
    if truncation not in get_args(Truncation):
        hint = did_you_mean(truncation, get_args(Truncation))
        raise DataError(f'tokens.truncation: unknown value "{truncation}"; {hint}')
    if truncation == "windows":
        raise DataError('tokens.truncation: "windows" does not truncate; encode such texts with encode_windows.')
    if len(lengths) == 1:
        if truncation == "only_second":
            raise DataError(
                'tokens.truncation: "only_second" truncates the second text, but these examples have one text; '
                'use "longest_first".'
            )
        return (np.minimum(lengths[0], room),)
    first, second = lengths
    if truncation == "only_first":
        return _truncate_one("first", first, second, room, first_row), second
    if truncation == "only_second":
        return first, _truncate_one("second", second, first, room, first_row)
    # The arithmetic of `tokenizers` (truncate_encodings, LongestFirst), so that the ids are the same:
    # the longer text is truncated to what the shorter one leaves, but not below half of the room;
    # of an odd room the longer text gets the larger half, the second one if both have the same length.
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    even = shorter > room - shorter
    small = np.where((shorter + longer > room) & even, room // 2, shorter)
    large = np.minimum(longer, room - small)
    swapped = first > second
    return np.where(swapped, large, small), np.where(swapped, small, large)


def _truncate_one(name: str, truncated: Lengths, complete: Lengths, room: int, first_row: int) -> Lengths:
    """Lengths of the truncated texts; each gets the room that the complete text of its row leaves."""
    # As in `tokenizers`, a text may be truncated to one token but not to none.
    impossible = np.flatnonzero((truncated + complete > room) & (complete >= room))
    if len(impossible):
        row = int(impossible[0])
        raise DataError(
            f'example {first_row + row} (counted from 0): tokens.truncation is "only_{name}", but the other text alone '
            f"has {complete[row]} tokens and only {room} fit next to the special tokens; "
            f'raise tokens.max_length or use "longest_first".'
        )
    return np.minimum(truncated, np.maximum(room - complete, 0))


def split_head_tail(remaining: Lengths, length: Lengths, truncation: Truncation) -> tuple[Lengths, Lengths]:
    """Split the remaining tokens of each text into tokens from its front and tokens from its end.

    All are at the front in rows that are not truncated, and for methods that truncate only the end.
    """
    if truncation != "head_tail":
        return remaining, np.zeros_like(remaining)
    head = np.where(remaining < length, remaining * HEAD_TOKENS // HEAD_LENGTH, remaining)
    return head, remaining - head
