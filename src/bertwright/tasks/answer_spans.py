"""Answers as pieces of a text: which tokens of a window they are, and which pieces a model scores highest.

The rules are those of google-research/bert's ``run_squad.py`` and of transformers' ``run_qa.py``, worked out for many
windows at once. W windows, N tokens, E examples, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.encodings import NO_OFFSET, Encodings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN = -2
"""The first character of an unknown answer; its windows are ignored in training."""

ABSENT = -1
"""The first character of the answer to an unanswerable question."""

WINDOWS = 8192
"""Windows in which answers are located at a time, so that memory use is constant."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best answers to one question, best first, and the score of no answer.

    Attributes:
        spans: int32 (K, 2), the first character of each and the one after its last.
        logits: float32 (K, 2), of its first and of its last token.
        null: float32 (2,), those of [CLS], in the window where their sum is least.
    """

    spans: NDArray[np.int32]
    logits: NDArray[np.float32]
    null: NDArray[np.float32]

    @property
    def null_odds(self) -> float:
        """The score of no answer minus that of the best answer, or minus 0 if there are no candidates."""
        return float(self.null.sum(dtype=np.float64) - self.logits[:1].sum(dtype=np.float64))

    def probabilities(self, null: bool) -> Floats:
        """The softmax of the scores of the candidates and, if ``null``, of no answer, which comes last."""
        rows = np.concatenate((self.logits, self.null[None])) if null else self.logits
        scores = rows.sum(1, dtype=np.float64)
        odds = np.exp(scores - scores.max(initial=-np.inf))
        return np.asarray(odds / odds.sum())


def locate(encodings: Encodings, answers: Ints) -> Ints:
    """The first and the last token of the answer in each window, counted from the window's first, int64 (W, 2).

    The first token is the last one that begins no later than the answer, the last token the first one that ends no
    earlier. A window that does not hold the whole answer has [CLS], token 0, for both; IGNORE_INDEX if it is unknown.

    Args:
        encodings: windows, with offsets.
        answers: int64 (E, 2), the answers' characters; :data:`ABSENT` or :data:`UNKNOWN` as the first one.
    """
    targets = np.zeros((len(encodings), 2), np.int64)
    done = 0
    for part, which in encodings.iterate_parts(WINDOWS):
        targets[done : done + len(part)] = _locate_tokens(part, answers[which][part.examples])
        done += len(part)
    return targets


def _locate_tokens(windows: Encodings, answers: Ints) -> Ints:
    begin, end = answers.T
    offsets = _offsets(windows)
    tokens = np.flatnonzero(offsets[:, 0] != NO_OFFSET)
    window = np.repeat(np.arange(len(windows)), windows.lengths)[tokens]
    first, last = offsets[tokens].T
    counts = np.bincount(window, minlength=len(windows))
    heads = np.flatnonzero(counts)  # an empty text has a window without tokens
    at = (np.cumsum(counts) - counts)[heads]
    contains_answer = (first[at] <= begin[heads]) & (last[at + counts[heads] - 1] >= end[heads]) & (begin[heads] >= 0)
    n_before = np.bincount(window[first <= begin[window]], minlength=len(windows))
    n_until = np.bincount(window[last < end[window]], minlength=len(windows))
    targets = np.where(begin[:, None] == UNKNOWN, IGNORE_INDEX, np.zeros((1, 2), np.int64))
    answered = heads[contains_answer]
    base = tokens[at[contains_answer]] - windows.bounds[answered]
    targets[answered] = np.stack((base + n_before[answered] - 1, base + n_until[answered]), 1)
    return targets


def likeliest(
    scores: NDArray[np.float32], windows: Encodings, n_examples: int, n_best: int, max_length: int
) -> list[Candidates]:
    """The ``n_best`` best answers to each question, over all its windows.

    From each window the ``n_best`` best first and last tokens are paired; a pair counts if
    both are of the text, the last does not come before the first, they span at most ``max_length`` tokens, and no
    other window shows the first token with more context. Of equal sums the earlier piece of the text comes first.

    Args:
        scores: (N, 2), how well each token begins and ends the answer.
        windows: of the examples, with offsets and max_context.
        n_examples: E.
        n_best: the maximum number of candidates per question.
        max_length: the maximum number of tokens of an answer.
    """
    starts, lengths, offsets = windows.bounds[:-1], windows.lengths, _offsets(windows)
    max_context = np.zeros(0, bool) if windows.max_context is None else windows.max_context
    column = np.arange(int(lengths.max()))
    place = np.minimum(starts[:, None] + column, len(scores) - 1)
    padded = np.where((column < lengths[:, None])[..., None], scores[place], -np.inf)
    # stable, so that equal logits are in the order of their tokens
    order = np.argsort(-padded, axis=1, kind="stable")[:, :n_best]
    first, last = np.minimum(starts[:, None, None] + order, len(scores) - 1).transpose(2, 0, 1)
    inside = order < lengths[:, None, None]
    begins = max_context[first] & inside[..., 0]
    ends = (offsets[last, 0] != NO_OFFSET) & inside[..., 1]
    span = last[:, None, :] - first[:, :, None]
    valid = begins[:, :, None] & ends[:, None, :] & (span >= 0) & (span < max_length)
    window, i, j = np.nonzero(valid)
    first, last = first[window, i], last[window, j]
    logits = np.stack((scores[first, 0], scores[last, 1]), 1)
    example = windows.examples[window]

    ranked = np.lexsort((last, first, -logits.sum(1, dtype=np.float64), example))
    counts = np.bincount(example, minlength=n_examples)
    rank = np.arange(len(ranked)) - (np.cumsum(counts) - counts)[example[ranked]]
    best = ranked[rank < n_best]
    cuts = np.cumsum(np.minimum(counts, n_best))[:-1]
    spans = np.stack((offsets[first[best], 0], offsets[last[best], 1]), 1)
    null = _least(scores[starts], windows.examples, n_examples)
    parts = zip(np.split(spans, cuts), np.split(logits[best], cuts), null, strict=True)
    return [Candidates(*part) for part in parts]


def _least(scores: NDArray[np.float32], examples: Ints, n_examples: int) -> NDArray[np.float32]:
    """Of the windows (W, 2) of each example the row with the least sum, (E, 2)."""
    order = np.lexsort((scores.sum(1, dtype=np.float64), examples))
    return np.asarray(scores[order[np.searchsorted(examples[order], np.arange(n_examples))]])


def _offsets(windows: Encodings) -> NDArray[np.int32]:
    return np.zeros((0, 2), np.int32) if windows.offsets is None else windows.offsets
