"""Predictions and gold targets of tasks with one prediction per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.label_counts import Floats as Floats
from bertwright.metrics.label_counts import LabelOccurrences

RowOutcomeKind = Literal["classification", "multilabel", "regression", "multiple_choice"]
OutcomeKind = Literal["classification", "multilabel", "regression", "tagging", "qa", "pretraining", "multiple_choice"]

CLASSIFICATION: Final = "classification"
MULTILABEL: Final = "multilabel"
REGRESSION: Final = "regression"
TAGGING: Final = "tagging"
QA: Final = "qa"
PRETRAINING: Final = "pretraining"
MULTIPLE_CHOICE: Final = "multiple_choice"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Predictions for B examples with the gold targets.

    Attributes:
        kind: classification (one label each), multilabel (any number of labels each), regression or multiple choice.
        gold: int (B,) label indices; 0/1 (B, L); or float (B,).
        predicted: the same shape as gold.
        labels: the L label names in order; empty for regression.
        probabilities: float (B, L), or None; metrics that need them then fail.

    Raises:
        DataError: the shapes do not match, there are no rows, or a number is NaN or infinite.
    """

    kind: RowOutcomeKind
    gold: NDArray[Any]
    predicted: NDArray[Any]
    labels: tuple[str, ...] = ()
    probabilities: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        dtype = np.float64 if self.kind == REGRESSION else np.int64
        n_labels = len(self.labels)
        for name in ("gold", "predicted"):
            values = np.asarray(getattr(self, name))
            if not np.isfinite(values).all():
                raise DataError(
                    f"evaluation: {np.sum(~np.isfinite(values))} of {values.size} values of {name} are NaN or "
                    "infinite; check whether the training loss diverged or the model is damaged."
                )
            object.__setattr__(self, name, values.astype(dtype))
        rows = len(self.gold)
        if not rows:
            raise DataError("evaluation: there are no examples; give data with at least one row.")
        shape = (rows, n_labels) if self.kind == MULTILABEL else (rows,)
        for name, array in (("gold", self.gold), ("predicted", self.predicted)):
            if array.shape != shape:
                raise DataError(f"evaluation: {name} must have shape {shape}, but has {array.shape}; pass one per row.")
            top = {CLASSIFICATION: n_labels - 1, MULTIPLE_CHOICE: n_labels - 1, MULTILABEL: 1}.get(self.kind)
            if top is not None and (array.min() < 0 or array.max() > top):
                raise DataError(
                    f"evaluation: {name} must be in 0…{top}, but ranges from {array.min()} to {array.max()}; "
                    "number the labels from 0 and remove rows without a label."
                )
        if self.probabilities is not None:
            probabilities = np.asarray(self.probabilities, dtype=np.float64)
            if probabilities.shape != (rows, n_labels) or not np.isfinite(probabilities).all():
                raise DataError(
                    f"evaluation: probabilities must be finite with shape {(rows, n_labels)}, but have "
                    f"shape {probabilities.shape}; pass one for every label of every row."
                )
            object.__setattr__(self, "probabilities", probabilities)

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each row is completely correct, (B,)."""
        right: NDArray[np.bool_] = (self.gold == self.predicted).reshape(len(self), -1).all(1)
        return right

    def count_labels(self) -> LabelOccurrences:
        """Count how often each label was predicted and true in the K distinct (gold, predicted) rows."""
        n_labels = len(self.labels)
        if self.kind == MULTILABEL:
            both = np.concatenate((self.gold, self.predicted), 1).astype(np.uint8)
            rows, numbers, sizes = np.unique(both, axis=0, return_inverse=True, return_counts=True)
            gold, predicted = rows[:, :n_labels], rows[:, n_labels:]
            exact = (gold == predicted).all(1)
            places = [np.nonzero(side) for side in (gold & predicted, predicted, gold)]
        else:
            cells, numbers, sizes = np.unique(
                self.gold * n_labels + self.predicted, return_inverse=True, return_counts=True
            )
            number, (g, p) = np.arange(len(cells)), np.divmod(cells, n_labels)
            exact = g == p
            places = [(number[exact], g[exact]), (number, p), (number, g)]
        units = np.ones(len(sizes))
        hits, said, true = ((pattern, label) for pattern, label in places)
        return LabelOccurrences(
            numbers.ravel(), sizes, hits, said, true, exact.astype(float), units, n_labels, self.kind == MULTILABEL
        )

    def concatenate(self, other: Outcome) -> Outcome:
        """Append the rows of another system for the same examples, (2B); the labels may be in another order.

        Raises:
            DataError: the other outcome has other examples, labels or another kind of task.
        """
        other = other._reorder_labels(self.labels)
        if self.kind != other.kind or not np.array_equal(self.gold, other.gold):
            raise DataError(
                f"comparison: the gold targets differ ({len(self)} of {self.kind}, {len(other)} of {other.kind}); "
                "evaluate both systems on the same rows in the same order."
            )
        probabilities = None
        if self.probabilities is not None and other.probabilities is not None:
            probabilities = np.concatenate((self.probabilities, other.probabilities))
        gold, predicted = np.concatenate((self.gold,) * 2), np.concatenate((self.predicted, other.predicted))
        return Outcome(self.kind, gold, predicted, self.labels, probabilities)

    def _reorder_labels(self, labels: tuple[str, ...]) -> Outcome:
        if labels == self.labels:
            return self
        if set(labels) != set(self.labels):
            raise DataError(
                f"comparison: one system has the labels {', '.join(labels)}, the other {', '.join(self.labels)}; "
                "compare systems with the same labels."
            )
        mine = [self.labels.index(label) for label in labels]
        if self.kind == MULTILABEL:
            gold, predicted = self.gold[:, mine], self.predicted[:, mine]
        else:
            gold, predicted = np.argsort(mine)[self.gold], np.argsort(mine)[self.predicted]
        probabilities = None if self.probabilities is None else self.probabilities[:, mine]
        return Outcome(self.kind, gold, predicted, labels, probabilities)
