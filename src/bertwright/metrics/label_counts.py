"""Counts of predicted, true and correctly predicted labels under several weightings of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LabelPositions = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Pairs (pattern, label), one for each time that a label occurs in a pattern."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts that label metrics need, for R weightings of the same rows.

    Attributes:
        hits, predicted, gold: (R, L), how often each label was correctly predicted, predicted, and true.
        exact: (R,), number of units that are completely correct.
        units: (R,), number of units: rows, or the words of tagged texts.
        multilabel: whether a row may have several labels.
    """

    hits: Floats
    predicted: Floats
    gold: Floats
    exact: Floats
    units: Floats
    multilabel: bool = False


@dataclass(frozen=True, slots=True)
class LabelOccurrences:
    """The labels that were predicted and true in each of K distinct rows (patterns).

    Equal rows share a pattern, so there are few patterns however many rows there are. Rows that all differ, such as
    tagged sentences, have a pattern each.

    Attributes:
        patterns: (B,), the pattern of each row.
        sizes: (K,), the number of rows of each pattern.
        hits, predicted, gold: the occurrences of labels.
        exact: (K,), number of completely correct units in each pattern.
        units: (K,), number of units in each pattern.
        n_labels: L.
        multilabel: whether a row may have several labels.
    """

    patterns: NDArray[np.intp]
    sizes: NDArray[np.intp]
    hits: LabelPositions
    predicted: LabelPositions
    gold: LabelPositions
    exact: Floats
    units: Floats
    n_labels: int
    multilabel: bool = False

    def count(self, weights: Floats | NDArray[np.int64]) -> Counts:
        """Return the counts for R weightings (R, K) of the patterns; ``sizes[None]`` weights all rows equally."""

        def by_label(where: LabelPositions) -> Floats:
            pattern, label = where
            order = np.argsort(label, kind="stable")
            present, starts = np.unique(label[order], return_index=True)
            sums = np.zeros((len(weights), self.n_labels))
            if len(present):
                sums[:, present] = np.add.reduceat(weights[:, pattern[order]], starts, axis=1)
            return sums

        return Counts(
            by_label(self.hits),
            by_label(self.predicted),
            by_label(self.gold),
            np.asarray(weights @ self.exact),
            np.asarray(weights @ self.units),
            self.multilabel,
        )

    def total(self) -> Counts:
        """Return the counts of all rows, as one weighting."""
        return self.count(self.sizes[None])

    @property
    def width(self) -> int:
        """The number of array elements that one weighting needs."""
        return max(len(self.sizes), self.n_labels, *(len(where[0]) for where in (self.hits, self.predicted, self.gold)))
