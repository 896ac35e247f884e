"""Masking of tokens for masked language modeling (Devlin et al. 2018, section 3.1).

Masks are derived from a hash of (seed, step, row, position). A row gets different masks each time it is used, the same
masks on every machine and in every batch, and no masks are stored.
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

MaskingUnit = Literal["tokens", "words", "spans"]
"""What is masked together: single tokens as in the original, whole words (google-research/bert's second release), or
spans of words (Joshi et al. 2019, SpanBERT, arXiv 1907.10529)."""

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the chosen tokens replaced by the mask token and by a random token; the others are unchanged."""

SPAN_END_PROBABILITY, MAX_SPAN_WORDS = 0.2, 10
"""SpanBERT, section 3.1: a span ends after each word with this probability, and at this number of words."""

_TOKENS, _KINDS, _WORDS = np.uint64(1), np.uint64(2), np.uint64(3)  # independent streams of random numbers

Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Masker:
    """Masks tokens of sequences.

    Attributes:
        tokenizer: the tokenizer of the model.
        unit: what is masked together.
        probability: share of each sequence's tokens that is chosen, at least one token.
    """

    tokenizer: Tokenizer
    unit: MaskingUnit = "tokens"
    probability: float = 0.15

    def __post_init__(self) -> None:
        if self.tokenizer.mask_id is None:
            raise TokenizerError(
                "model: the tokenizer has no mask token, which masking needs; use a tokenizer that has one."
            )

    @cached_property
    def _special(self) -> NDArray[np.int32]:
        return np.array(sorted(set(self.tokenizer.special_ids.values()) - {self.tokenizer.unk_id}), np.int32)

    @cached_property
    def _continues(self) -> Bools:
        return find_continuation_tokens(self.tokenizer)

    def mask(self, encodings: Encodings, rows: NDArray[np.int64], step: int, seed: int = 0) -> Encodings:
        """Mask tokens of the sequences, and return the original tokens as targets.

        Args:
            encodings: B sequences; existing targets are kept.
            rows: int64 (B,), the number of each sequence in its corpus.
            step: the training step that uses the sequences.
            seed: random seed of the run.
        """
        lengths = encodings.lengths
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(row)) - np.repeat(encodings.bounds[:-1], lengths)
        with np.errstate(over="ignore"):
            key = splitmix64(splitmix64(np.uint64(seed) + splitmix64(np.uint64(step))) + rows.astype(np.uint64))
            keys = splitmix64(key[row] + splitmix64(place.astype(np.uint64)))
        free = ~np.isin(encodings.ids, self._special)
        n_masked = np.maximum(1, np.rint(self.probability * np.bincount(row, free, len(lengths)))).astype(np.int64)
        if self.unit == "tokens":
            chosen = _choose_tokens(row, _uniform(keys, _TOKENS), free, n_masked)
        else:
            begins = free & ~(self._continues[encodings.ids] & np.concatenate([[False], free[:-1]]) & (place > 0))
            word = np.cumsum(begins) - 1
            if self.unit == "words":
                chosen = _choose_words(row, word, _uniform(keys, _WORDS), begins, free, n_masked)
            else:
                chosen = self._choose_spans(row, word, key, free, n_masked)
        targets = np.full(len(row), IGNORE_INDEX, np.int64) if encodings.targets is None else encodings.targets.copy()
        targets[chosen] = encodings.ids[chosen]
        ids = encodings.ids.copy()
        kind = _uniform(keys, _KINDS)
        ids[chosen & (kind < MASK_SHARE)] = self.tokenizer.special_ids["mask"]
        other = chosen & (kind >= MASK_SHARE) & (kind < MASK_SHARE + RANDOM_SHARE)
        # the rest of the same random number is uniform and independent
        ids[other] = ((kind[other] - MASK_SHARE) / RANDOM_SHARE * self.tokenizer.vocab_size).astype(np.int32)
        return replace(encodings, ids=ids, targets=targets)

    def _choose_spans(
        self, row: NDArray[np.int64], word: NDArray[np.int64], key: Keys, free: Bools, n_masked: NDArray[np.int64]
    ) -> Bools:
        chosen = np.zeros(len(row), np.bool_)
        bounds = np.searchsorted(row, np.arange(len(n_masked) + 1))
        for i, n in enumerate(n_masked.tolist()):
            tokens = np.arange(bounds[i], bounds[i + 1])
            tokens = tokens[free[tokens]]
            if not len(tokens):
                continue
            starts = np.flatnonzero(np.diff(word[tokens], prepend=-1))
            sizes = np.diff(np.append(starts, len(tokens)))
            rng = np.random.default_rng(int(key[i]))
            chosen_words = np.zeros(len(starts), np.bool_)
            n_chosen = 0
            while n_chosen < n:
                length = min(int(rng.geometric(SPAN_END_PROBABILITY)), MAX_SPAN_WORDS)
                first = int(rng.integers(len(starts)))
                for w in range(first, min(first + length, len(starts))):
                    if not chosen_words[w] and (not n_chosen or n_chosen + sizes[w] <= n):
                        chosen_words[w] = True
                        n_chosen += int(sizes[w])
                if bool((chosen_words | (sizes + n_chosen > n)).all()):
                    break  # every other word has too many tokens
            chosen[tokens] = np.repeat(chosen_words, sizes)
        return chosen


def find_continuation_tokens(tokenizer: Tokenizer) -> Bools:
    """For every id, whether its token continues the word before it.

    WordPiece marks such tokens with ##; byte-level BPE (Ġ) and SentencePiece (▁) mark most tokens that begin a word.
    """
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    inner = np.zeros(max(vocabulary.values()) + 1, np.bool_)
    if isinstance(tokenizer.backend.model, models.WordPiece):
        mark = ""
    else:  # Ġ is also a letter of Maltese, which a SentencePiece token may contain
        mark = max("Ġ▁", key=lambda mark: sum(piece.startswith(mark) for piece in vocabulary))
    for piece, id_ in vocabulary.items():
        inner[id_] = not piece.startswith(mark) if mark else piece.startswith("##")
    inner[list(tokenizer.special_ids.values())] = False
    return inner


def _choose_tokens(row: NDArray[np.int64], u: NDArray[np.float64], free: Bools, n_masked: NDArray[np.int64]) -> Bools:
    """In every row, choose the ``n_masked`` tokens with the smallest numbers."""
    order = np.lexsort((np.where(free, u, 2.0), row))
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    chosen = np.zeros(len(row), np.bool_)
    chosen[order] = rank < n_masked[row]
    return chosen & free


def _choose_words(
    row: NDArray[np.int64],
    word: NDArray[np.int64],
    u: NDArray[np.float64],
    begins: Bools,
    free: Bools,
    n_masked: NDArray[np.int64],
) -> Bools:
    """In every row, choose the words with the smallest numbers, at most ``n_masked`` tokens but at least one word."""
    chosen = np.zeros(len(row), np.bool_)
    tokens = np.flatnonzero(free)
    number = u[np.flatnonzero(begins)][word[tokens]]
    order = tokens[np.lexsort((tokens, number, row[tokens]))]
    rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    first = np.diff(word[order], prepend=-1) != 0
    group = np.cumsum(first) - 1
    end = rank[first] + np.bincount(group)
    fits = (end <= n_masked[row[order][first]]) | (rank[first] == 0)
    chosen[order] = fits[group]
    return chosen


def _uniform(keys: Keys, stream: np.uint64) -> NDArray[np.float64]:
    """Uniform random numbers in [0, 1)."""
    return (splitmix64(keys ^ splitmix64(stream)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
