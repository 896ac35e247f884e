"""Predictions beside the truth, and what is counted of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError

Kind = Literal["classification", "multilabel", "regression"]
Floats = NDArray[np.float64]

CLASSIFICATION: Kind = "classification"
MULTILABEL: Kind = "multilabel"
REGRESSION: Kind = "regression"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was predicted for B examples, beside what is true.

    Attributes:
        kind: classification (one label each), multilabel (any number each) or regression.
        gold: int (B,) label numbers; 0/1 (B, L); or float (B,).
        predicted: the same shape as gold.
        labels: the L label names in order; empty for regression.
        probabilities: float (B, L), or None: metrics that need them are then refused.

    Raises:
        DataError: the parts do not fit each other, there are no rows, or a number is not finite.
    """

    kind: Kind
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
                    f"evaluation: {np.sum(~np.isfinite(values))} of {values.size} values of {name} are not finite "
                    "numbers; look for a loss that diverged or a damaged model."
                )
            object.__setattr__(self, name, values.astype(dtype))
        rows = len(self.gold)
        if not rows:
            raise DataError("evaluation: there are no examples; give data that holds at least one row.")
        shape = (rows, n_labels) if self.kind == MULTILABEL else (rows,)
        for name, array in (("gold", self.gold), ("predicted", self.predicted)):
            if array.shape != shape:
                raise DataError(f"evaluation: {name} must be of shape {shape}, but is {array.shape}; pass one per row.")
            top = {CLASSIFICATION: n_labels - 1, MULTILABEL: 1}.get(self.kind)
            if top is not None and (array.min() < 0 or array.max() > top):
                raise DataError(
                    f"evaluation: {name} must lie in 0…{top}, but spans {array.min()}…{array.max()}; "
                    "number the labels from 0 and leave out rows without one."
                )
        if self.probabilities is not None:
            probabilities = np.asarray(self.probabilities, dtype=np.float64)
            if probabilities.shape != (rows, n_labels) or not np.isfinite(probabilities).all():
                raise DataError(
                    f"evaluation: probabilities must be finite and of shape {(rows, n_labels)}, but are "
                    f"{probabilities.shape}; pass one for every label of every row."
                )
            object.__setattr__(self, "probabilities", probabilities)

    def __len__(self) -> int:
        return len(self.gold)


@dataclass(frozen=True, slots=True)
class Counts:
    """All that metrics of labels need to know, for R weightings of the same rows at once.

    Attributes:
        hits, predicted, gold: (R, L), how often each label was rightly predicted, predicted, true.
        exact: (R,), rows that are wholly right.
        rows: how many rows there are.
        multilabel: whether a row may have several labels.
    """

    hits: Floats
    predicted: Floats
    gold: Floats
    exact: Floats
    rows: int
    multilabel: bool
