"""Which tokens of one text or two stay when a sequence is longer than it may be.

Everything here works on whole columns of lengths, int64 (B,) for B rows, counted in tokens without the
special ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError, did_you_mean

Truncation = Literal["longest_first", "only_first", "only_second", "head_tail", "windows"]
"""What gives way when a row is too long:

- ``longest_first``: the end of the longer text until both are of one length, then of both in turn;
- ``only_first`` / ``only_second``: the end of that text alone, the other one stays whole;
- ``head_tail``: each text gives up as many tokens as with ``longest_first``, but out of its middle;
- ``windows``: nothing; the text, or the second one of a pair, becomes overlapping windows (text.windows).
"""

HEAD, WHOLE = 128, 510
"""``head_tail`` keeps 128 tokens in 510 at the front and the rest at the end, the best of the ways
compared in Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", table 2 (IMDb, Sogou)."""

Lengths = NDArray[np.int64]


def kept_lengths(
    lengths: Sequence[Lengths], room: int, truncation: Truncation, *, first_row: int = 0
) -> tuple[Lengths, ...]:
    """How many tokens of each text stay so that no row has more than ``room``: one column for each given.

    ``lengths`` is one column, or two for pairs; ``first_row`` is the number of row 0 in the user's data,
    for messages.

    Raises:
        DataError: a row cannot fit: the text that may not be cut fills the room alone.
    """
    if truncation not in get_args(Truncation):
        hint = did_you_mean(truncation, get_args(Truncation))
        raise DataError(f'tokens.truncation: "{truncation}" is not a way to truncate; {hint}.')
    if truncation == "windows":
        raise DataError('tokens.truncation: "windows" cuts nothing; encode such texts with encode_windows.')
    if len(lengths) == 1:
        if truncation == "only_second":
            raise DataError(
                'tokens.truncation: "only_second" cuts the second text, and these examples have one text; '
                'use "longest_first".'
            )
        return (np.minimum(lengths[0], room),)
    first, second = lengths
    if truncation == "only_first":
        return _cut_only("first", first, second, room, first_row), second
    if truncation == "only_second":
        return first, _cut_only("second", second, first, room, first_row)
    # The arithmetic of `tokenizers` (truncate_encodings, LongestFirst), so that ids are the same:
    # the longer text is cut to what the shorter one leaves, but no further than to an even share;
    # of an odd room the longer text gets the larger half, the second one where both are equally long.
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    even = shorter > room - shorter
    small = np.where((shorter + longer > room) & even, room // 2, shorter)
    large = np.minimum(longer, room - small)
    swapped = first > second
    return np.where(swapped, large, small), np.where(swapped, small, large)


def _cut_only(name: str, cut: Lengths, whole: Lengths, room: int, first_row: int) -> Lengths:
    """The lengths of the texts that give way, each to what the other text of its row leaves of the room."""
    # As in `tokenizers`, a text may be cut down to one token but not away.
    impossible = np.flatnonzero((cut + whole > room) & (whole >= room))
    if len(impossible):
        row = int(impossible[0])
        raise DataError(
            f'example {first_row + row} (counted from 0): tokens.truncation is "only_{name}", but the other text alone '
            f"has {whole[row]} tokens and there is room for {room} beside the special tokens; "
            f'raise tokens.max_length or use "longest_first".'
        )
    return np.minimum(cut, np.maximum(room - whole, 0))


def head_and_tail(kept: Lengths, length: Lengths, truncation: Truncation) -> tuple[Lengths, Lengths]:
    """How many of the kept tokens stand at the front of a text and how many at its end.

    Rows that lose nothing, and ways that cut only the end, have all of them at the front.
    """
    if truncation != "head_tail":
        return kept, np.zeros_like(kept)
    head = np.where(kept < length, kept * HEAD // WHOLE, kept)
    return head, kept - head
