"""Whether probabilities mean what they say, and the one number that makes them say it better.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): scores are divided by one number
before they become probabilities. No answer changes, only how sure it is. Letters: B rows, C classes, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.formulas import ECE_BINS, confidence_bins
from bertwright.metrics.label_counts import Floats

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""Where the search for a temperature ends; those of trained networks lie between 1 and 3 (Guo et al., section 4)."""

_HALVINGS = 50  # of the interval of logarithms: the temperature is then as exact as a float64 can say


@dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """How far probabilities are to be trusted: mean negative log-likelihood in nats, and calibration error, 0…1."""

    log_loss: float
    ece: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature and what it is good for, on the rows it was found with.

    Attributes:
        temperature: what to divide scores by; above 1 the model was too sure of itself.
        before: how far probabilities are to be trusted without it.
        after: with it.
    """

    temperature: float
    before: CalibrationMetrics
    after: CalibrationMetrics

    @property
    def unbounded(self) -> bool:
        """Whether the rows set no limit, because all answers are right, or no better than chance."""
        return self.temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bar of a reliability diagram: the answers whose confidence lies above ``low`` and up to ``high``.

    Attributes:
        low, high: the bin.
        confidence: the mean of its answers.
        accuracy: the share of them that is right.
        count: how many there are.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def calibrate(scores: NDArray[Any], gold: NDArray[Any]) -> Calibration:
    """The temperature with which the gold is most likely, by maximum likelihood.

    Args:
        scores: (B, C) logits of exclusive classes, or (B, L) of labels that each hold or not.
        gold: (B,) numbers of the true classes, or 0/1 (B, L).

    Raises:
        DataError: there are no rows, or the two do not fit each other.
    """
    logits, truth = _exclusive(scores, gold)
    temperature = _most_likely(logits, truth)
    return Calibration(temperature, _trust(logits, truth), _trust(logits / temperature, truth))


def compute_confidence(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """How sure each answer is and whether it is right, (B,), or (B x L,) for labels that each hold or not.

    Args and Raises as for :func:`calibrate`.
    """
    logits, truth = _exclusive(scores, gold)
    return np.exp(_log_probabilities(logits)).max(1), logits.argmax(1) == truth


def expected_calibration_error(confidences: NDArray[Any], correct: NDArray[Any], bins: int = ECE_BINS) -> float:
    """How far confidence is from accuracy, on average over answers, in equally wide bins of confidence.

    Args:
        confidences: (n,) 0 to 1, of the answers given.
        correct: (n,) whether each is right.
        bins: how many; 15 as Guo et al. have them.

    Raises:
        DataError: there are none, not as many of both, or confidences outside 0…1.
    """
    bars = reliability_bins(confidences, correct, bins)
    return sum(bar.count * abs(bar.accuracy - bar.confidence) for bar in bars) / len(confidences)


def reliability_bins(
    confidences: NDArray[Any], correct: NDArray[Any], bins: int = ECE_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bars of a reliability diagram, empty bins left out; Args and Raises as `expected_calibration_error`."""
    sure, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not len(sure) or sure.shape != right.shape or not ((sure >= 0) & (sure <= 1)).all():
        raise DataError(
            f"calibration: {sure.size} confidences and {right.size} answers; give one confidence from 0 to 1 for each "
            "of at least one answer."
        )
    number = confidence_bins(sure, bins)
    counts, surest, hits = (np.bincount(number, weights, bins) for weights in (None, sure, right))
    return tuple(
        ReliabilityBin(
            i / bins, (i + 1) / bins, float(surest[i] / counts[i]), float(hits[i] / counts[i]), int(counts[i])
        )
        for i in np.flatnonzero(counts)
    )


def _exclusive(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """Logits (n, C) and true classes (n,); a label that holds or not is two classes, with logits 0 and its score."""
    logits, truth = np.asarray(scores, np.float64), np.asarray(gold, np.int64)
    if truth.ndim == 2 and truth.shape == logits.shape:
        logits, truth = np.stack((np.zeros(logits.size), logits.ravel()), 1), truth.ravel()
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or not truth.size:
        raise DataError(
            f"calibration: scores of shape {np.shape(scores)} do not fit true labels of shape {np.shape(gold)}; "
            "give (B, C) scores with (B,) class numbers, or (B, L) of both, and at least one row."
        )
    if truth.min() < 0 or truth.max() >= logits.shape[1]:
        raise DataError(
            f"calibration: true labels must lie in 0…{logits.shape[1] - 1}, but span {truth.min()}…{truth.max()}; "
            "leave out rows without one."
        )
    if not np.isfinite(logits).all():
        raise DataError("calibration: some scores are not finite numbers; look for a loss that diverged.")
    return logits, truth


def _log_probabilities(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_probabilities


def _most_likely(logits: Floats, truth: NDArray[np.int64]) -> float:
    """The best temperature, by halving: the likelihood is concave in its inverse, so the slope changes sign once."""
    true = logits[np.arange(len(truth)), truth].mean()

    def too_sure(temperature: float) -> bool:
        expected = (np.exp(_log_probabilities(logits / temperature)) * logits).sum(1).mean()
        return bool(expected > true)

    low, high = np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)
    if too_sure(MAX_TEMPERATURE):
        return MAX_TEMPERATURE
    if not too_sure(MIN_TEMPERATURE):
        return MIN_TEMPERATURE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_sure(float(np.exp(middle))) else (low, middle)
    return float(np.exp((low + high) / 2))


def _trust(logits: Floats, truth: NDArray[np.int64]) -> CalibrationMetrics:
    log_probabilities = _log_probabilities(logits)
    losses = -log_probabilities[np.arange(len(truth)), truth]
    return CalibrationMetrics(float(losses.mean()), expected_calibration_error(*compute_confidence(logits, truth)))
