"""Long texts as overlapping windows: no token is dropped, and every token is shown with context on both sides.

The idea and the rule for the best of several windows are those of google-research/bert's ``run_squad.py``
(``doc_span`` and ``_check_is_max_context``). The overlap is counted as in transformers: ``stride`` tokens are shared by
neighbouring windows, where ``doc_stride`` of the original was the step from one window to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.tokenization.encodings import NOT_OF_THE_TEXT, Encodings, piece_index
from bertwright.tokenization.tokenizer import CHUNK, Ragged, Template, Tokenizer

Ints = NDArray[np.int64]


def default_stride(max_length: int) -> int:
    """The overlap where none is said: a third of a window, as 128 of 384 tokens in transformers' run_qa.py."""
    return max_length // 3


def encode_windows(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    stride: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Encodings:
    """Every text as the windows it takes; of pairs the second one, with the first in front of each of its windows.

    A first text may take half of the room at most; what it has more is dropped and counted, once for each example.
    The encodings have ``offsets`` and ``core``; an empty text is one window of special tokens.

    Args:
        tokenizer: the encoder's.
        texts: the texts, or the first texts of the pairs, such as questions.
        pairs: the second texts, as many; None where examples have one text.
        max_length: the most tokens of a window, special tokens included.
        stride: tokens that neighbouring windows share, at most half of a window; None for a third of ``max_length``.
        on_progress: called every few thousand examples with the number of those done so far.

    Raises:
        DataError: a text is not text, or ``max_length`` leaves no room.
    """
    template = tokenizer.template(1 if pairs is None else 2)
    room = max_length - template.n_special
    if room < 2 * template.n_texts:
        raise DataError(
            f"tokens.max_length: {max_length} leaves no room for windows beside the {template.n_special} special "
            f"tokens; use at least {template.n_special + 2 * template.n_texts}."
        )
    overlap = default_stride(max_length) if stride is None else stride
    parts = []
    for start in range(0, max(len(texts), 1), CHUNK):
        here = slice(start, start + CHUNK)
        first = None if pairs is None else _shortened(tokenizer.split(texts[here], start), room // 2)
        cut = tokenizer.split((texts if pairs is None else pairs)[here], start, offsets=True)
        parts.append(_windows(template, first, cut, room, overlap, start))
        if on_progress is not None:
            on_progress(min(start + CHUNK, len(texts)))
    ids, types, lengths, examples, dropped, offsets, core = (np.concatenate(c) for c in zip(*parts, strict=True))
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Encodings(ids, types, bounds, examples, dropped, None, offsets, core)


def _shortened(text: Ragged, most: int) -> tuple[Ragged, Ints]:
    """The texts cut to their first ``most`` tokens, and how many each has lost."""
    kept = np.minimum(text.lengths, most)
    index = piece_index(np.cumsum(text.lengths) - text.lengths, kept)
    return Ragged(text.ids[index], kept), text.lengths - kept


def _windows(
    template: Template, first: tuple[Ragged, Ints] | None, cut: Ragged, room: int, overlap: int, first_row: int
) -> tuple[NDArray[Any], ...]:
    """Some texts' windows: ids, types, lengths, examples, dropped, offsets, core."""
    n = len(cut.lengths)
    taken = np.zeros(n, np.int64) if first is None else first[0].lengths
    text_of, begin, size = _spans(cut.lengths, room - taken, overlap)
    special_starts = np.cumsum(template.lengths) - template.lengths
    sources = [(template.ids, template.types)]
    starts, lengths = [np.full(len(size), special_starts[0])], [np.full(len(size), template.lengths[0])]
    at = template.n_special
    if first is not None:
        before = first[0]
        sources.append((before.ids, np.full(len(before.ids), template.text_types[0], np.uint8)))
        starts += [at + (np.cumsum(taken) - taken)[text_of], np.full(len(size), special_starts[1])]
        lengths += [taken[text_of], np.full(len(size), template.lengths[1])]
        at += len(before.ids)
    sources.append((cut.ids, np.full(len(cut.ids), template.text_types[-1], np.uint8)))
    starts += [at + (np.cumsum(cut.lengths) - cut.lengths)[text_of] + begin, np.full(len(size), special_starts[-1])]
    lengths += [size, np.full(len(size), template.lengths[-1])]

    index = piece_index(np.stack(starts, 1).ravel(), np.stack(lengths, 1).ravel())
    ids, types = (np.concatenate(columns)[index] for columns in zip(*sources, strict=True))
    offsets = np.full((len(index), 2), NOT_OF_THE_TEXT, np.int32)
    shown = index >= at  # tokens of the text itself
    if cut.offsets is not None:
        offsets[shown] = cut.offsets[index[shown] - at]
    core = np.zeros(len(index), bool)
    core[shown] = _widest_context(index[shown] - at, size)
    dropped = np.zeros(len(size), np.int32)
    if first is not None:
        dropped[np.searchsorted(text_of, np.arange(n))] = first[1]
    return ids, types, np.sum(lengths, 0), text_of + first_row, dropped, offsets, core


def _spans(lengths: Ints, rooms: Ints, overlap: int) -> tuple[Ints, Ints, Ints]:
    """The windows over texts of so many tokens: which text each is of, its first token there, and how many it has."""
    step = np.maximum(rooms - np.minimum(overlap, rooms // 2), 1)
    counts = 1 + np.maximum(-(-(lengths - rooms) // step), 0)
    text_of = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(text_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = number * step[text_of]
    return text_of, begin, np.minimum(rooms[text_of], lengths[text_of] - begin)


def _widest_context(tokens: Ints, sizes: Ints) -> NDArray[np.bool_]:
    """Of the tokens shown by windows of these sizes, in turn: whether no other window shows it with more context.

    Context is the smaller of the two sides; of equal ones the longer window's, then the earlier's.
    """
    if len(np.unique(tokens)) == len(tokens):
        return np.ones(len(tokens), bool)
    size = np.repeat(sizes, sizes)
    place = np.arange(len(tokens)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    context = np.minimum(place, size - 1 - place) + 0.01 * size
    order = np.lexsort((np.arange(len(tokens)), -context, tokens))
    ordered = tokens[order]
    first = np.ones(len(tokens), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    core = np.zeros(len(tokens), bool)
    core[order[first]] = True
    return core
