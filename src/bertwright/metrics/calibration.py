"""Calibration of probabilities, and temperature scaling.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") divides the logits by one number
before the softmax. It changes the confidence of predictions, not their labels. Letters: B rows, C classes, L labels.
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
"""Bounds of the temperature search; trained networks need 1 to 3 (Guo et al., section 4)."""

_BISECTIONS = 50  # bisections of the logarithmic interval; enough for the precision of float64


@dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """Calibration of probabilities: mean negative log-likelihood in nats, and expected calibration error (0…1)."""

    log_loss: float
    ece: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature and its effect on the rows that it was fitted to.

    Attributes:
        temperature: the number to divide logits by; above 1 the model was overconfident.
        before: calibration without the temperature.
        after: calibration with the temperature.
    """

    temperature: float
    before: CalibrationMetrics
    after: CalibrationMetrics

    @property
    def unbounded(self) -> bool:
        """Whether the likelihood has no maximum, because all predictions are correct or none is better than chance."""
        return self.temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: the predictions whose confidence is above ``low`` and at most ``high``.

    Attributes:
        low, high: the bounds of the bin.
        confidence: the mean confidence of its predictions.
        accuracy: the fraction of its predictions that is correct.
        count: the number of its predictions.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def calibrate(scores: NDArray[Any], gold: NDArray[Any]) -> Calibration:
    """Fit a temperature by maximum likelihood.

    Args:
        scores: (B, C) logits of exclusive classes, or (B, L) logits of independent labels.
        gold: (B,) class indices, or 0/1 (B, L).

    Raises:
        DataError: there are no rows, or the shapes do not match.
    """
    logits, truth = _to_exclusive_classes(scores, gold)
    temperature = _fit_temperature(logits, truth)
    return Calibration(temperature, _measure(logits, truth), _measure(logits / temperature, truth))


def compute_confidence(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the confidence and correctness of each prediction, (B,); (B x L,) for independent labels.

    Args and Raises as for :func:`calibrate`.
    """
    logits, truth = _to_exclusive_classes(scores, gold)
    return np.exp(_log_probabilities(logits)).max(1), logits.argmax(1) == truth


def expected_calibration_error(confidences: NDArray[Any], correct: NDArray[Any], bins: int = ECE_BINS) -> float:
    """Return the mean difference between confidence and accuracy over bins of equal width, weighted by their size.

    Args:
        confidences: (n,) confidence of each prediction, 0 to 1.
        correct: (n,) whether each prediction is correct.
        bins: the number of bins; 15 in Guo et al.

    Raises:
        DataError: there are no predictions, the sizes differ, or a confidence is outside 0…1.
    """
    bars = reliability_bins(confidences, correct, bins)
    return sum(bar.count * abs(bar.accuracy - bar.confidence) for bar in bars) / len(confidences)


def reliability_bins(
    confidences: NDArray[Any], correct: NDArray[Any], bins: int = ECE_BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the non-empty bins of a reliability diagram; Args and Raises as for :func:`expected_calibration_error`."""
    confidence, is_correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not len(confidence) or confidence.shape != is_correct.shape or not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError(
            f"calibration: confidences and correctness have sizes {confidence.size} and {is_correct.size}; give one "
            "from 0 to 1 for each of at least one prediction."
        )
    number = confidence_bins(confidence, bins)
    counts, summed, hits = (np.bincount(number, weights, bins) for weights in (None, confidence, is_correct))
    return tuple(
        ReliabilityBin(
            i / bins, (i + 1) / bins, float(summed[i] / counts[i]), float(hits[i] / counts[i]), int(counts[i])
        )
        for i in np.flatnonzero(counts)
    )


def _to_exclusive_classes(scores: NDArray[Any], gold: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits (n, C) and class indices (n,); an independent label becomes two classes, with logit 0 for "no"."""
    logits, truth = np.asarray(scores, np.float64), np.asarray(gold, np.int64)
    if truth.ndim == 2 and truth.shape == logits.shape:
        logits, truth = np.stack((np.zeros(logits.size), logits.ravel()), 1), truth.ravel()
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or not truth.size:
        raise DataError(
            f"calibration: scores of shape {np.shape(scores)} do not match labels of shape {np.shape(gold)}; "
            "give (B, C) scores with (B,) class indices, or (B, L) of both, and at least one row."
        )
    if truth.min() < 0 or truth.max() >= logits.shape[1]:
        raise DataError(
            f"calibration: labels must be in 0…{logits.shape[1] - 1}, but range from {truth.min()} to {truth.max()}; "
            "remove rows without a label."
        )
    if not np.isfinite(logits).all():
        raise DataError("calibration: some scores are NaN or infinite; check whether the training loss diverged.")
    return logits, truth


def _log_probabilities(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_probabilities


def _fit_temperature(logits: Floats, truth: NDArray[np.int64]) -> float:
    """Find the best temperature by bisection.

    The likelihood is concave in the inverse temperature, so its slope changes sign once.
    """
    true = logits[np.arange(len(truth)), truth].mean()

    def is_overconfident(temperature: float) -> bool:
        expected = (np.exp(_log_probabilities(logits / temperature)) * logits).sum(1).mean()
        return bool(expected > true)

    low, high = np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)
    if is_overconfident(MAX_TEMPERATURE):
        return MAX_TEMPERATURE
    if not is_overconfident(MIN_TEMPERATURE):
        return MIN_TEMPERATURE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_overconfident(float(np.exp(middle))) else (low, middle)
    return float(np.exp((low + high) / 2))


def _measure(logits: Floats, truth: NDArray[np.int64]) -> CalibrationMetrics:
    log_probabilities = _log_probabilities(logits)
    losses = -log_probabilities[np.arange(len(truth)), truth]
    return CalibrationMetrics(float(losses.mean()), expected_calibration_error(*compute_confidence(logits, truth)))
