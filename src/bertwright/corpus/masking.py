"""Which tokens of a sequence are hidden, to be guessed from the others (Devlin et al. 2018, section 3.1).

Masks come from a hash of (seed, step, row, place), so a row has other masks each time it is used, the same ones on
every machine, whatever else is in its batch, and nothing of them needs to be stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import models

from bertwright.errors import TokenizerError
from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import splitmix64
from bertwright.tokenization.tokenizer import Tokenizer

Masked = Literal["tokens", "words", "spans"]
"""What is hidden together: single tokens as in the original, whole words (google-research/bert's second release), or
runs of words (Joshi et al. 2019, SpanBERT, arXiv 1907.10529)."""

MASK, RANDOM = 0.8, 0.1
"""Of what is chosen the share that becomes the mask, and that becomes any token; the rest stays as it is."""

SPAN_STOP, LONGEST_SPAN = 0.2, 10
"""SpanBERT, section 3.1: a span ends after each word with this probability, and after so many words at the latest."""

_TOKENS, _KINDS, _WORDS = np.uint64(1), np.uint64(2), np.uint64(3)  # streams of numbers that have nothing in common

Flags = NDArray[np.bool_]
Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class Masker:
    """What hides tokens of a model's vocabulary.

    Attributes:
        tokenizer: of the model.
        together: what is hidden together.
        ratio: the share of each sequence's tokens that is chosen, at least one token.
    """

    tokenizer: Tokenizer
    together: Masked = "tokens"
    ratio: float = 0.15

    def __post_init__(self) -> None:
        if self.tokenizer.mask_id is None:
            raise TokenizerError("model: its tokenizer has no mask, so no words can be hidden; take one that has.")

    @cached_property
    def _special(self) -> NDArray[np.int32]:
        return np.array(sorted(set(self.tokenizer.special_ids.values()) - {self.tokenizer.unk_id}), np.int32)

    @cached_property
    def _continues(self) -> Flags:
        return inner_pieces(self.tokenizer)

    def masked(self, encodings: Encodings, rows: NDArray[np.int64], step: int, seed: int = 0) -> Encodings:
        """The sequences with tokens hidden, and these tokens as targets.

        Args:
            encodings: B sequences; what targets they have already are kept.
            rows: int64 (B,), the number of each in its corpus,
            step: when it is used, and
            seed: of the run: on all three its masks depend.
        """
        lengths = encodings.lengths
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(row)) - np.repeat(encodings.bounds[:-1], lengths)
        with np.errstate(over="ignore"):
            key = splitmix64(splitmix64(np.uint64(seed) + splitmix64(np.uint64(step))) + rows.astype(np.uint64))
            keys = splitmix64(key[row] + splitmix64(place.astype(np.uint64)))
        free = ~np.isin(encodings.ids, self._special)
        wanted = np.maximum(1, np.rint(self.ratio * np.bincount(row, free, len(lengths)))).astype(np.int64)
        if self.together == "tokens":
            chosen = _first_of_each(row, _uniform(keys, _TOKENS), free, wanted)
        else:
            begins = free & ~(self._continues[encodings.ids] & np.concatenate([[False], free[:-1]]) & (place > 0))
            word = np.cumsum(begins) - 1
            if self.together == "words":
                chosen = _whole(row, word, _uniform(keys, _WORDS), begins, free, wanted)
            else:
                chosen = self._spans(row, word, key, free, wanted)
        targets = np.full(len(row), IGNORE_INDEX, np.int64) if encodings.targets is None else encodings.targets.copy()
        targets[chosen] = encodings.ids[chosen]
        ids = encodings.ids.copy()
        kind = _uniform(keys, _KINDS)
        ids[chosen & (kind < MASK)] = self.tokenizer.special_ids["mask"]
        other = chosen & (kind >= MASK) & (kind < MASK + RANDOM)
        # what is left of the same number is as good as another one
        ids[other] = ((kind[other] - MASK) / RANDOM * self.tokenizer.vocab_size).astype(np.int32)
        return replace(encodings, ids=ids, targets=targets)

    def _spans(
        self, row: NDArray[np.int64], word: NDArray[np.int64], key: Numbers, free: Flags, wanted: NDArray[np.int64]
    ) -> Flags:
        chosen = np.zeros(len(row), np.bool_)
        bounds = np.searchsorted(row, np.arange(len(wanted) + 1))
        for i, n in enumerate(wanted.tolist()):
            here = np.arange(bounds[i], bounds[i + 1])
            here = here[free[here]]
            if not len(here):
                continue
            starts = np.flatnonzero(np.diff(word[here], prepend=-1))
            sizes = np.diff(np.append(starts, len(here)))
            rng = np.random.default_rng(int(key[i]))
            taken = np.zeros(len(starts), np.bool_)
            hidden = 0
            while hidden < n:
                length = min(int(rng.geometric(SPAN_STOP)), LONGEST_SPAN)
                first = int(rng.integers(len(starts)))
                for w in range(first, min(first + length, len(starts))):
                    if not taken[w] and (not hidden or hidden + sizes[w] <= n):
                        taken[w] = True
                        hidden += int(sizes[w])
                if bool((taken | (sizes + hidden > n)).all()):
                    break  # what is left would be too much
            chosen[here] = np.repeat(taken, sizes)
        return chosen


def inner_pieces(tokenizer: Tokenizer) -> Flags:
    """For every id whether its piece goes on with the word before it.

    WordPiece marks such pieces with ##; byte-level BPE (Ġ) and SentencePiece (▁) mark most of those that begin one.
    """
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    inner = np.zeros(max(vocabulary.values()) + 1, np.bool_)
    if isinstance(tokenizer.backend.model, models.WordPiece):
        mark = ""
    else:  # as a letter of Maltese, Ġ may stand in a SentencePiece too
        mark = max("Ġ▁", key=lambda mark: sum(piece.startswith(mark) for piece in vocabulary))
    for piece, id_ in vocabulary.items():
        inner[id_] = not piece.startswith(mark) if mark else piece.startswith("##")
    inner[list(tokenizer.special_ids.values())] = False
    return inner


def _first_of_each(row: NDArray[np.int64], u: NDArray[np.float64], free: Flags, wanted: NDArray[np.int64]) -> Flags:
    """Of every row the ``wanted`` tokens with the least numbers."""
    order = np.lexsort((np.where(free, u, 2.0), row))
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    chosen = np.zeros(len(row), np.bool_)
    chosen[order] = rank < wanted[row]
    return chosen & free


def _whole(
    row: NDArray[np.int64],
    word: NDArray[np.int64],
    u: NDArray[np.float64],
    begins: Flags,
    free: Flags,
    wanted: NDArray[np.int64],
) -> Flags:
    """Of every row the words with the least numbers, as many as ``wanted`` tokens have room for, but one at least."""
    chosen = np.zeros(len(row), np.bool_)
    tokens = np.flatnonzero(free)
    number = u[np.flatnonzero(begins)][word[tokens]]
    order = tokens[np.lexsort((tokens, number, row[tokens]))]
    rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    first = np.diff(word[order], prepend=-1) != 0
    group = np.cumsum(first) - 1
    end = rank[first] + np.bincount(group)
    fits = (end <= wanted[row[order][first]]) | (rank[first] == 0)
    chosen[order] = fits[group]
    return chosen


def _uniform(keys: Numbers, stream: np.uint64) -> NDArray[np.float64]:
    """Numbers of at least 0 and below 1."""
    return (splitmix64(keys ^ splitmix64(stream)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
