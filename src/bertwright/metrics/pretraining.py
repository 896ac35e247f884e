"""Metrics of the masked-language-model and sentence objectives. Letters: B sequences, R weightings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bertwright.errors import DataError
from bertwright.metrics.formulas import ratio
from bertwright.metrics.label_counts import Floats
from bertwright.metrics.outcome import PRETRAINING

COLUMNS = ("word_loss", "words_right", "words", "sentence_loss", "sentences_right", "sentences")
"""Sums per sequence over masked tokens and sentence pairs: negative log-likelihood, correct predictions, targets."""


@dataclass(frozen=True, slots=True)
class MaskedLMOutcome:
    """Sums over the masked tokens and sentence pairs of B sequences.

    Attributes:
        sums: float (B, 6), with :data:`COLUMNS`.

    Raises:
        DataError: there are no sequences, or no masked tokens.
    """

    sums: Floats

    kind: ClassVar[Literal["pretraining"]] = PRETRAINING
    labels: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not len(self.sums) or not self.sums[:, 2].any():
            raise DataError("evaluation: no token is masked; give longer texts or raise task.mlm_probability.")

    def __len__(self) -> int:
        return len(self.sums)


Score = Callable[[MaskedLMOutcome, Floats], Floats]


def column_ratio(of: str, among: str) -> Score:
    """Return a score function: the sum of one column divided by the sum of another; nan where the latter is 0."""
    over, under = COLUMNS.index(of), COLUMNS.index(among)
    return lambda outcome, weights: ratio(weights @ outcome.sums[:, over], weights @ outcome.sums[:, under], np.nan)


def perplexity(outcome: MaskedLMOutcome, weights: Floats) -> Floats:
    """Return the exponential of the mean loss of masked tokens."""
    return np.exp(column_ratio("word_loss", "words")(outcome, weights))
