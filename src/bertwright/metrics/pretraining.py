"""How well hidden words, and whether sentences follow each other, are guessed. B sequences, R weightings."""

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
"""Of what is guessed of a sequence: summed negative log-likelihoods, how many are right, how many there are."""


@dataclass(frozen=True, slots=True)
class MaskedLMOutcome:
    """What was guessed of B sequences.

    Attributes:
        sums: float (B, 6), with :data:`COLUMNS`.

    Raises:
        DataError: there are none, or nothing in them is hidden.
    """

    sums: Floats

    kind: ClassVar[Literal["pretraining"]] = PRETRAINING
    labels: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not len(self.sums) or not self.sums[:, 2].any():
            raise DataError("evaluation: no word is hidden in what was given, so there is nothing to guess.")

    def __len__(self) -> int:
        return len(self.sums)


Score = Callable[[MaskedLMOutcome, Floats], Floats]


def column_ratio(of: str, among: str) -> Score:
    """The sum of one column over that of another; nan where the latter is 0."""
    over, under = COLUMNS.index(of), COLUMNS.index(among)
    return lambda guessed, weights: ratio(weights @ guessed.sums[:, over], weights @ guessed.sums[:, under], np.nan)


def perplexity(guessed: MaskedLMOutcome, weights: Floats) -> Floats:
    """The exponential of the mean loss of hidden words."""
    return np.exp(column_ratio("word_loss", "words")(guessed, weights))
