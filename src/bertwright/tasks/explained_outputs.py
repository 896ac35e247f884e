"""Which number of a prediction an attribution explains, as a differentiable function of the scores of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertwright.data.example import Span
from bertwright.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

LOG_ODDS = "log odds"
"""The logarithm of p / (1 - p). In contrast to a logit it depends only on the probability p, and in contrast to p its
gradient does not vanish for confident predictions."""

THE_VALUE = "the value"
"""The target of a model that predicts one number."""

NO_ANSWER = "no answer"
"""The target of a question that the context does not answer."""


@dataclass(frozen=True)
class ExplanationRequest:
    """What a user wants to have explained.

    Attributes:
        target: a label, a tag, an answer, or a choice or its position; None for what the model predicts.
        word: for tagging, a word or its position, counted from 0; None for the first word of the most probable span.
        n_steps: number of gradients; None for as many as the accuracy needs.
    """

    target: str | None = None
    word: int | str | None = None
    n_steps: int | None = None

    def refuse_word(self) -> None:
        """Refuse a word, for tasks that predict nothing about words.

        Raises:
            DataError: a word is requested.
        """
        if self.word is not None:
            raise DataError("word: only tagging models predict something for each word; remove it.")


@dataclass(frozen=True)
class ExplainedOutput:
    """A number that a model computes for one example.

    Attributes:
        target: what it is the score of, such as a label.
        quantity: the name of the number.
        sequences: int64 (S,), the sequences of the example that it depends on.
        compute: scores of K copies of these sequences, (K, S, C) or (K, N, C) for scores of tokens → (K,).
        word: for tagging, the characters of the word.
        notes: sentences that a reader should know.
    """

    target: str
    quantity: str
    sequences: NDArray[np.int64]
    compute: Callable[[Tensor], Tensor]
    word: Span | None = None
    notes: tuple[str, ...] = field(default=())


def compute_log_odds(scores: Tensor, index: int) -> Tensor:
    """Compute the log odds of one class: logits or log probabilities (…, C) → (…)."""
    import torch

    others = torch.cat((scores[..., :index], scores[..., index + 1 :]), -1)
    return scores[..., index] - others.logsumexp(-1)


def find_label(target: str, names: Sequence[str], noun: str = "label") -> int:
    """Return the number of a label.

    Raises:
        DataError: there is no such label.
    """
    if target not in names:
        raise DataError(f'target: there is no {noun} "{target}"; {did_you_mean(target, names)}')
    return list(names).index(target)


def all_sequences(n: int) -> NDArray[np.int64]:
    """All sequences of an example that has ``n``."""
    return np.arange(n, dtype=np.int64)


def describe_window(number: int, n: int, contents: str) -> tuple[str, ...]:
    """A note if only one of several windows is explained.

    Args:
        number: of the window, counted from 0.
        n: the number of windows.
        contents: what the window shows.
    """
    if n == 1:
        return ()
    return (f"the text is split into {n} windows; attributions are those of window {number + 1}, which has {contents}",)
