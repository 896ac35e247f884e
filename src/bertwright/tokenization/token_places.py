"""Where each token of a sequence is in the text that it was encoded from."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bertwright.tokenization.encodings import NO_OFFSET
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Ragged, Tokenizer, assemble
from bertwright.tokenization.windows import build_windows, default_stride, truncate_each

SPECIAL: Final = -1
"""The text of a token that belongs to none, such as [CLS]."""


class TokenPlaces(NamedTuple):
    """The places of N tokens.

    Attributes:
        texts: int64 (N,), 0 for tokens of the first text, 1 for those of the second one, :data:`SPECIAL` for others.
        offsets: int32 (N, 2), first character of each token and the one after its last, without white space around it;
            :data:`~bertwright.tokenization.encodings.NO_OFFSET` for special tokens.
    """

    texts: NDArray[np.int64]
    offsets: NDArray[np.int32]


def locate_tokens(tokenizer: Tokenizer, text: str, pair: str | None, tokens: TokenSettings) -> TokenPlaces:
    """Find the places of all tokens that a text, or a pair of texts, is encoded to, window after window.

    The tokens are truncated, or divided into windows, by the same functions that encode texts, with the index of each
    token instead of its id.

    Args:
        tokenizer: of the encoder.
        text: the text, or the first text of a pair.
        pair: the second text; None if there is none.
        tokens: maximum length and truncation of the encoded texts.

    Raises:
        DataError: a text is not valid Unicode, or cannot be truncated to the maximum length.
    """
    sides = [tokenizer.tokenize([side], offsets=True) for side in (text, pair) if side is not None]
    offsets = np.concatenate([_offsets_of(side) for side in sides])
    counts = [len(side.ids) for side in sides]
    starts = np.cumsum([0, *counts[:-1]])
    indices = [
        Ragged(np.arange(start, start + n, dtype=np.int32), side.lengths, side.offsets)
        for start, n, side in zip(starts.tolist(), counts, sides, strict=True)
    ]
    template = tokenizer.template(len(sides))
    template = template._replace(ids=np.full_like(template.ids, SPECIAL))
    room = tokens.max_length - template.n_special
    if tokens.truncation == "windows":
        overlap = default_stride(tokens.max_length) if tokens.stride is None else tokens.stride
        first = truncate_each(indices[0], room // 2) if pair is not None else None
        index = build_windows(template, first, indices[-1], room, overlap, 0)[0]
    else:
        index = assemble(template, indices, room, tokens.truncation, 0)[0]
    is_special = index == SPECIAL
    texts = np.where(is_special, SPECIAL, np.searchsorted(starts, index, side="right") - 1)
    characters = np.append(offsets, [[NO_OFFSET, NO_OFFSET]], axis=0)[index]  # SPECIAL is the last row
    for i, (side, (start, end)) in enumerate(zip(texts.tolist(), characters.tolist(), strict=True)):
        if side != SPECIAL:
            characters[i] = _trim((text, pair or "")[side], start, end)
    return TokenPlaces(texts, characters)


def _offsets_of(side: Ragged) -> NDArray[np.int32]:
    return np.zeros((0, 2), np.int32) if side.offsets is None else side.offsets


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Remove white space from both ends of a piece of a text, unless there is nothing else."""
    piece = text[start:end]
    if not piece.strip():
        return start, end
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
