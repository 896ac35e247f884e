"""Precision-recall, ROC and threshold curves, with a bounded number of points.

Letters: B rows, P points of a curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.formulas import f1, ratio
from bertwright.metrics.label_counts import Floats

MAX_POINTS = 200
"""Points of a curve that a chart draws; more cannot be seen."""

THRESHOLDS = np.arange(1, 100) / 100
"""Thresholds of a threshold curve."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of binary predictions over all thresholds.

    Attributes:
        x: (P,), recall, or the false-positive rate.
        y: (P,), precision, or the true-positive rate (recall).
        area: average precision, or the area under the ROC curve; nan where it is undefined.
    """

    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True, slots=True)
class ThresholdCurve:
    """Precision, recall and F1 of binary predictions by threshold, each (P,)."""

    thresholds: Floats
    precision: Floats
    recall: Floats
    f1: Floats


def precision_recall_curve(scores: NDArray[Any], gold: NDArray[Any], max_points: int = MAX_POINTS) -> Curve:
    """Precision by recall, with the average precision as its area; starts at recall 0 and precision 1.

    Args:
        scores: (B,), a higher score means more likely positive.
        gold: (B,), 0 or 1.
        max_points: maximum number of points; others are removed evenly.

    Raises:
        DataError: there are no rows, or the sizes differ.
    """
    hits, predicted, positives, _ = _count_by_threshold(scores, gold)
    precision, recall = ratio(hits, predicted), ratio(hits, positives, np.nan)
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    keep = _spread(len(hits), max_points - 1)
    return Curve(np.append(0.0, recall[keep]), np.append(1.0, precision[keep]), area)


def roc_curve(scores: NDArray[Any], gold: NDArray[Any], max_points: int = MAX_POINTS) -> Curve:
    """True-positive rate by false-positive rate, with the area under it; arguments as for the curve above.

    Raises:
        DataError: there are no rows, or the sizes differ.
    """
    hits, predicted, positives, negatives = _count_by_threshold(scores, gold)
    y = np.append(0.0, ratio(hits, positives, np.nan))
    x = np.append(0.0, ratio(predicted - hits, negatives, np.nan))
    keep = _spread(len(x), max_points)
    return Curve(x[keep], y[keep], float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum()))


def threshold_curve(probabilities: NDArray[Any], gold: NDArray[Any]) -> ThresholdCurve:
    """Precision, recall and F1 where a row is positive from each of :data:`THRESHOLDS` on.

    Args:
        probabilities: (B,), or of any shape for micro-averages.
        gold: 0 or 1, of the same shape.

    Raises:
        DataError: there are no rows, or the sizes differ.
    """
    values, truth = _check(probabilities, gold)
    reached = np.searchsorted(THRESHOLDS, values, side="right")  # thresholds that are at most the value
    hits, predicted = (
        np.bincount(reached, weights, len(THRESHOLDS) + 1)[::-1].cumsum()[-2::-1].astype(np.float64)
        for weights in (truth, None)
    )
    positives = truth.sum()
    return ThresholdCurve(
        THRESHOLDS, ratio(hits, predicted), ratio(hits, positives), f1(hits, predicted, np.full(len(hits), positives))
    )


def _count_by_threshold(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, Floats, float, float]:
    """Hits and positive predictions at each distinct score, highest first; and how many rows are positive, negative."""
    values, truth = _check(scores, gold)
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))  # of each run of equal scores
    hits, positives = truth[order].cumsum()[last], float(truth.sum())
    return hits, (last + 1).astype(np.float64), positives, len(values) - positives


def _check(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, Floats]:
    values, truth = np.asarray(scores, np.float64), np.asarray(gold, np.float64)
    if not values.size or values.shape != truth.shape:
        raise DataError(
            f"curves: {values.size} scores and {truth.size} gold labels; give one of each for at least one row."
        )
    return values.ravel(), truth.ravel()


def _spread(n: int, most: int) -> NDArray[np.intp]:
    """At most this many of n positions, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))
