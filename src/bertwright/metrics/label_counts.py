"""What is counted of predictions: how often each label was predicted, true and both, however rows are weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LabelPositions = tuple[NDArray[np.intp], NDArray[np.intp]]
"""(pattern, label) number pairs, one for each time that a label occurs in a pattern."""


@dataclass(frozen=True, slots=True)
class Counts:
    """All that metrics of labels need to know, for R weightings of the same rows at once.

    Attributes:
        hits, predicted, gold: (R, L), how often each label was rightly predicted, predicted, true.
        exact: (R,), units that are wholly right.
        units: (R,), how many units there are: rows, or the words of a tagged text.
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
    """Where labels were predicted and true in the K patterns that B rows are made of.

    A pattern is what equal rows share, so there are few, however many the rows; rows that are all different, such
    as tagged sentences, are each their own.

    Attributes:
        patterns: (B,), the number of each row's pattern.
        sizes: (K,), how many rows are of each.
        hits, predicted, gold: where labels occur.
        exact: (K,), how many units of a pattern are wholly right.
        units: (K,), how many it has.
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
        """The counts of R weightings (R, K) of the patterns; ``sizes[None]`` is the one of all rows alike."""

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
        """The counts of all rows, as one weighting."""
        return self.count(self.sizes[None])

    @property
    def width(self) -> int:
        """How many numbers counting one weighting takes at a time."""
        return max(len(self.sizes), self.n_labels, *(len(where[0]) for where in (self.hits, self.predicted, self.gold)))
