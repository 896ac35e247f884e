"""Likely label errors, by confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating
Uncertainty in Dataset Labels", sections 3.1 and 4.1).

The method needs probabilities of a model that was not trained on the same rows. Letters: B rows, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.label_counts import Floats

TOLERANCE = 1e-6
"""A probability that is this much below a threshold still reaches it, because of rounding."""


def find_label_errors(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return the rows whose label is likely wrong, most likely first.

    Prune by class: the confident joint estimates how many rows of each class have another true class. This many rows
    with the lowest probability of their label are returned, except those that the model predicts as labeled.

    Args:
        probabilities: (B, C) predicted for rows that the model was not trained on.
        labels: (B,) class indices of the given labels.

    Raises:
        DataError: there are no rows, or the shapes do not match.
    """
    predicted, given = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if predicted.ndim != 2 or given.shape != predicted.shape[:1] or not given.size:
        raise DataError(
            f"label errors: probabilities of shape {predicted.shape} do not match labels of shape {given.shape}; "
            "give (B, C) and (B,), and at least one row."
        )
    confidence = predicted[np.arange(len(given)), given]
    differs = predicted.argmax(1) != given
    wrong: list[NDArray[np.intp]] = []
    for i, n_errors in enumerate(_count_errors(predicted, given)):
        rows = np.flatnonzero(given == i)
        least = rows[np.argsort(confidence[rows], kind="stable")[:n_errors]]
        wrong.append(least[differs[least]])
    suspects = np.concatenate(wrong)
    return suspects[np.argsort(confidence[suspects], kind="stable")]


def find_multilabel_errors(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return the rows with a label that is likely missing or wrong, most likely first; each label is examined alone.

    Args:
        probabilities: (B, L) of independent labels.
        labels: 0/1 (B, L).

    Raises:
        DataError: there are no rows, or the shapes do not match.
    """
    predicted, given = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if predicted.shape != given.shape or predicted.ndim != 2:
        raise DataError(
            f"label errors: probabilities of shape {predicted.shape} do not match labels of shape {given.shape}; "
            "give (B, L) of both."
        )
    lowest = np.full(len(given), np.inf)
    for column, truth in zip(predicted.T, given.T, strict=True):
        rows = find_label_errors(np.stack((1 - column, column), 1), truth)
        lowest[rows] = np.minimum(lowest[rows], np.where(truth[rows] == 1, column[rows], 1 - column[rows]))
    order = np.argsort(lowest, kind="stable")
    return order[: np.isfinite(lowest).sum()]


def find_word_errors(gold: NDArray[Any], predicted: NDArray[Any], confidence: NDArray[Any]) -> NDArray[np.intp]:
    """Return the words whose tag is likely wrong: another tag is predicted, and its probability reaches a threshold.

    The threshold of a tag is the mean probability of the words that are correctly predicted to have it. It is above
    that of :func:`find_label_errors`, because only the probabilities of predicted tags are available.

    Args:
        gold: (N,) tags of N words, as numbers.
        predicted: (N,) predicted tags.
        confidence: (N,) probabilities of the predicted tags.
    """
    correct = gold == predicted
    n_tags = int(max(gold.max(initial=0), predicted.max(initial=0))) + 1
    totals, counts = (np.bincount(predicted[correct], w, n_tags) for w in (confidence[correct], None))
    thresholds = np.divide(totals, counts, out=np.full(n_tags, np.inf), where=counts > 0)
    return np.flatnonzero(~correct & (confidence >= thresholds[predicted] - TOLERANCE))


def _count_errors(predicted: Floats, given: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of each class have another true class, (C,), estimated by the confident joint."""
    n_classes = predicted.shape[1]
    sizes = np.bincount(given, minlength=n_classes)
    # the threshold of a class is the mean probability of its rows; no row reaches that of a class without rows
    thresholds = np.array([predicted[given == k, k].mean() if sizes[k] else np.inf for k in range(n_classes)])
    reaches = predicted >= thresholds - TOLERANCE
    counted = reaches.any(1)
    likeliest = np.where(reaches, predicted, -np.inf)[counted].argmax(1)
    joint = np.bincount(given[counted] * n_classes + likeliest, minlength=n_classes**2).reshape(n_classes, n_classes)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    right = np.rint(sizes * joint.diagonal() / joint.sum(1))  # each row of the joint is scaled to the size of its class
    return np.asarray((sizes - np.maximum(right, 1)).clip(0), np.int64)
