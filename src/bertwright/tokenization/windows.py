"""Long texts as overlapping windows, so that no token is dropped and every token has context on both sides.

The method and the rule for the best of several windows are those of google-research/bert's ``run_squad.py``
(``doc_span`` and ``_check_is_max_context``). The overlap is defined as in transformers: ``stride`` is the number of
tokens that adjacent windows share; ``doc_stride`` of the original is the distance between windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.tokenization.encodings import NO_OFFSET, Encodings, expand_ranges
from bertwright.tokenization.tokenizer import CHUNK, Ragged, Template, Tokenizer

Ints = NDArray[np.int64]


def default_stride(max_length: int) -> int:
    """The default overlap: a third of a window, as 128 of 384 tokens in transformers' run_qa.py."""
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
    """Encode every text as overlapping windows; of a pair the second text, with the first text in every window.

    A first text may use at most half of the room; the rest is truncated and counted, once per example.
    The encodings have ``offsets`` and ``max_context``; an empty text gives one window of special tokens.

    Args:
        tokenizer: the tokenizer of the encoder.
        texts: the texts, or the first texts of the pairs, such as questions.
        pairs: the second texts, the same number; None if examples have one text.
        max_length: maximum length of a window in tokens, including special tokens.
        stride: tokens that adjacent windows share, at most half of a window; None for a third of ``max_length``.
        on_progress: called every few thousand examples with the number of encoded examples.

    Raises:
        DataError: a text is not a string, or ``max_length`` leaves no room.
    """
    template = tokenizer.template(1 if pairs is None else 2)
    room = max_length - template.n_special
    if room < 2 * template.n_texts:
        raise DataError(
            f"tokens.max_length: {max_length} leaves no room for windows next to the {template.n_special} special "
            f"tokens; use at least {template.n_special + 2 * template.n_texts}."
        )
    overlap = default_stride(max_length) if stride is None else stride
    parts = []
    for start in range(0, max(len(texts), 1), CHUNK):
        rows = slice(start, start + CHUNK)
        first = None if pairs is None else truncate_each(tokenizer.tokenize(texts[rows], start), room // 2)
        long = tokenizer.tokenize((texts if pairs is None else pairs)[rows], start, offsets=True)
        parts.append(build_windows(template, first, long, room, overlap, start))
        if on_progress is not None:
            on_progress(min(start + CHUNK, len(texts)))
    ids, types, lengths, examples, dropped, offsets, max_context = (np.concatenate(c) for c in zip(*parts, strict=True))
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Encodings(ids, types, bounds, examples, dropped, None, offsets, max_context)


def truncate_each(text: Ragged, max_tokens: int) -> tuple[Ragged, Ints]:
    """Truncate each text to ``max_tokens``; also return how many tokens each lost."""
    lengths = np.minimum(text.lengths, max_tokens)
    index = expand_ranges(np.cumsum(text.lengths) - text.lengths, lengths)
    return Ragged(text.ids[index], lengths), text.lengths - lengths


def build_windows(
    template: Template, first: tuple[Ragged, Ints] | None, long: Ragged, room: int, overlap: int, first_row: int
) -> tuple[NDArray[Any], ...]:
    """Build the windows of some texts: ids, types, lengths, examples, dropped, offsets, max_context."""
    n = len(long.lengths)
    taken = np.zeros(n, np.int64) if first is None else first[0].lengths
    text_of, begin, size = _spans(long.lengths, room - taken, overlap)
    special_starts = np.cumsum(template.lengths) - template.lengths
    sources = [(template.ids, template.types)]
    starts, lengths = [np.full(len(size), special_starts[0])], [np.full(len(size), template.lengths[0])]
    position = template.n_special
    if first is not None:
        before = first[0]
        sources.append((before.ids, np.full(len(before.ids), template.text_types[0], np.uint8)))
        starts += [position + (np.cumsum(taken) - taken)[text_of], np.full(len(size), special_starts[1])]
        lengths += [taken[text_of], np.full(len(size), template.lengths[1])]
        position += len(before.ids)
    sources.append((long.ids, np.full(len(long.ids), template.text_types[-1], np.uint8)))
    text_starts = position + (np.cumsum(long.lengths) - long.lengths)[text_of] + begin
    starts += [text_starts, np.full(len(size), special_starts[-1])]
    lengths += [size, np.full(len(size), template.lengths[-1])]

    index = expand_ranges(np.stack(starts, 1).ravel(), np.stack(lengths, 1).ravel())
    ids, types = (np.concatenate(columns)[index] for columns in zip(*sources, strict=True))
    offsets = np.full((len(index), 2), NO_OFFSET, np.int32)
    in_text = index >= position
    if long.offsets is not None:
        offsets[in_text] = long.offsets[index[in_text] - position]
    max_context = np.zeros(len(index), bool)
    max_context[in_text] = _find_max_context(index[in_text] - position, size)
    dropped = np.zeros(len(size), np.int32)
    if first is not None:
        dropped[np.searchsorted(text_of, np.arange(n))] = first[1]
    return ids, types, np.sum(lengths, 0), text_of + first_row, dropped, offsets, max_context


def _spans(lengths: Ints, rooms: Ints, overlap: int) -> tuple[Ints, Ints, Ints]:
    """The windows over texts of these lengths: the text of each window, its first token there, and its length."""
    step = np.maximum(rooms - np.minimum(overlap, rooms // 2), 1)
    counts = 1 + np.maximum(-(-(lengths - rooms) // step), 0)
    text_of = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(text_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = number * step[text_of]
    return text_of, begin, np.minimum(rooms[text_of], lengths[text_of] - begin)


def _find_max_context(tokens: Ints, sizes: Ints) -> NDArray[np.bool_]:
    """For the tokens of consecutive windows of these sizes: whether no other window has it with more context.

    Context is the smaller number of tokens on either side; ties go to the longer window, then to the earlier one.
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
    max_context = np.zeros(len(tokens), bool)
    max_context[order[first]] = True
    return max_context
