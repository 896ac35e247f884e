"""Tuning of per-label decision thresholds for multi-label classification."""

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
    """A decision threshold per label, and the F1 on the rows that it was tuned on.

    Attributes:
        values: threshold by label; a label is predicted from that probability on.
        before: F1 by label with threshold 0.5.
        after: F1 by label with the tuned threshold.
        never_true: labels without positive rows, which keep 0.5.
    """

    values: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    never_true: tuple[str, ...]

    @property
    def macro_f1(self) -> tuple[float, float]:
        """The mean F1 over labels before and after tuning."""
        before, after = (sum(side.values()) / len(side) for side in (self.before, self.after))
        return before, after


def tune_thresholds(probabilities: NDArray[Any], gold: NDArray[Any], labels: Sequence[str]) -> Thresholds:
    """Return the thresholds with the highest F1 per label.

    A threshold is midway between the two probabilities that it separates, so that rounding errors have no effect.
    Among equally good thresholds the one closest to 0.5 is taken. The thresholds fit these rows best: tune on
    validation data and report on test data.

    Args:
        probabilities: (B, L).
        gold: 0/1 (B, L).
        labels: the L names.

    Raises:
        DataError: there are no rows, or the shapes do not match.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(gold).astype(bool)
    if not len(scores) or scores.shape != truth.shape or scores.shape[1:] != (len(labels),):
        raise DataError(
            f"thresholds: probabilities of shape {scores.shape} and gold labels of shape {truth.shape} do not match "
            f"{len(labels)} labels; give (B, {len(labels)}) of both and at least one row."
        )
    values = [
        _best_threshold(scores[:, i], truth[:, i]) if truth[:, i].any() else DEFAULT_THRESHOLD
        for i in range(len(labels))
    ]
    before, after = (_f1s(scores >= np.asarray(at), truth) for at in (DEFAULT_THRESHOLD, values))
    return Thresholds(
        dict(zip(labels, values, strict=True)),
        dict(zip(labels, before.tolist(), strict=True)),
        dict(zip(labels, after.tolist(), strict=True)),
        tuple(label for i, label in enumerate(labels) if not truth[:, i].any()),
    )


def _f1s(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Floats:
    hits, predicted_counts, gold_counts = (
        side.sum(0).astype(np.float64) for side in (predicted & truth, predicted, truth)
    )
    return f1(hits, predicted_counts, gold_counts)


def _best_threshold(scores: Floats, truth: NDArray[np.bool_]) -> float:
    order = np.argsort(-scores)
    ordered = scores[order]
    below = np.append(ordered[1:], 0.0)
    cuts = np.flatnonzero(
        np.append(ordered[1:] != ordered[:-1], True)
    )  # the last index of each run of equal probabilities
    last, below = ordered[cuts], below[cuts]
    value = ratio(2 * truth[order].cumsum()[cuts], cuts + 1 + truth.sum())
    middle = (last + below) / 2
    threshold = np.where(middle > below, middle, last)  # there is no number between adjacent floats
    threshold = np.where((below < DEFAULT_THRESHOLD) & (last >= DEFAULT_THRESHOLD), DEFAULT_THRESHOLD, threshold)
    ties = threshold[value == value.max()]
    return float(ties[np.abs(ties - DEFAULT_THRESHOLD).argmin()])
