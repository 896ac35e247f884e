"""For labels that each hold or not: from which probability on each is best predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.formulas import f1, ratio
from bertwright.metrics.label_counts import Floats

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A threshold for each label, a row predicts it from that probability on, and its F1 on the rows it was tuned with.

    Attributes:
        values: by label.
        before: F1 by label with 0.5.
        after: F1 by label with the threshold.
        never_true: labels that hold nowhere, so that there was nothing to tune; they keep 0.5.
    """

    values: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    never_true: tuple[str, ...]

    @property
    def macro_f1(self) -> tuple[float, float]:
        """The mean F1 of the labels before and after."""
        before, after = (sum(side.values()) / len(side) for side in (self.before, self.after))
        return before, after


def tune_thresholds(probabilities: NDArray[Any], gold: NDArray[Any], labels: Sequence[str]) -> Thresholds:
    """The thresholds with which each label's F1 is greatest, all that make a difference being tried.

    A threshold lies midway between the two probabilities that it parts, so that a rounding error changes nothing. Of
    equally good ones that nearest to 0.5 is taken. What is found fits these rows best and others a little less: tune
    on dev, report on test.

    Args:
        probabilities: (B, L).
        gold: 0/1 (B, L).
        labels: the L names.

    Raises:
        DataError: there are no rows, or the shapes do not fit each other.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(gold).astype(bool)
    if not len(scores) or scores.shape != truth.shape or scores.shape[1:] != (len(labels),):
        raise DataError(
            f"thresholds: probabilities of shape {scores.shape} and true labels of shape {truth.shape} do not fit "
            f"{len(labels)} labels; give (B, {len(labels)}) of both and at least one row."
        )
    values = [_best(scores[:, i], truth[:, i]) if truth[:, i].any() else DEFAULT_THRESHOLD for i in range(len(labels))]
    before, after = (_f1s(scores >= np.asarray(at), truth) for at in (DEFAULT_THRESHOLD, values))
    return Thresholds(
        dict(zip(labels, values, strict=True)),
        dict(zip(labels, before.tolist(), strict=True)),
        dict(zip(labels, after.tolist(), strict=True)),
        tuple(label for i, label in enumerate(labels) if not truth[:, i].any()),
    )


def _f1s(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Floats:
    hits, said, true = (side.sum(0).astype(np.float64) for side in (predicted & truth, predicted, truth))
    return f1(hits, said, true)


def _best(scores: Floats, truth: NDArray[np.bool_]) -> float:
    order = np.argsort(-scores)
    ordered = scores[order]
    below = np.append(ordered[1:], 0.0)
    cuts = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last of equal probabilities
    last, below = ordered[cuts], below[cuts]
    value = ratio(2 * truth[order].cumsum()[cuts], cuts + 1 + truth.sum())
    middle = (last + below) / 2
    threshold = np.where(middle > below, middle, last)  # neighbouring floats have nothing between them
    threshold = np.where((below < DEFAULT_THRESHOLD) & (last >= DEFAULT_THRESHOLD), DEFAULT_THRESHOLD, threshold)
    ties = threshold[value == value.max()]
    return float(ties[np.abs(ties - DEFAULT_THRESHOLD).argmin()])
