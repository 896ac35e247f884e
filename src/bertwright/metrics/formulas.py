"""The formulas of metrics, vectorized over R weightings of the same rows.

A weighting of ones gives the value of a metric; R random weightings give its bootstrap distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.label_counts import Counts, Floats
from bertwright.metrics.outcome import MULTILABEL, Outcome

ECE_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5

# --- metrics of labels ---------------------------------------------------------------------------


def ratio(above: Any, below: Any, undefined: float = 0.0) -> Floats:
    """Divide, with ``undefined`` where the denominator is 0 and without a warning."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    ratio: Floats = np.divide(above, below, out=np.full(above.shape, undefined), where=below != 0)
    return ratio


def mean(weights: Floats, values: Floats) -> Floats:
    """Return the weighted mean of values (B,) or (B, n) for each of R weightings."""
    total: Floats = weights.sum(-1).reshape(-1, *(1,) * (values.ndim - 1))
    means: Floats = weights @ values / total
    return means


LabelScore = Callable[[Floats, Floats, Floats], Floats]
"""(hits, predicted, gold), how often each label was correct, predicted and true, to a score of the same shape."""


def precision(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Return the fraction of predictions that is correct; 0 where there are no predictions."""
    return ratio(hits, predicted)


def recall(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Return the fraction of true labels that was predicted; 0 where there are no true labels."""
    return ratio(hits, gold)


def f1(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Return the harmonic mean of precision and recall; 0 where the label is neither true nor predicted."""
    return ratio(2 * hits, predicted + gold)


def positive_label_score(score: LabelScore) -> Callable[[Counts], Floats]:
    """Return a score function for the second of two labels, the positive one in GLUE."""
    return lambda c: score(c.hits[:, 1], c.predicted[:, 1], c.gold[:, 1])


def macro_average(score: LabelScore) -> Callable[[Counts], Floats]:
    """Return a score function that averages the labels with equal weight.

    As in scikit-learn, exclusive labels count only if they are true or predicted somewhere; independent labels all
    count.
    """

    def of_labels(c: Counts) -> Floats:
        counted = np.ones(c.gold.shape, bool) if c.multilabel else (c.gold + c.predicted) > 0
        return ratio((score(c.hits, c.predicted, c.gold) * counted).sum(-1), counted.sum(-1))

    return of_labels


def micro_average(score: LabelScore) -> Callable[[Counts], Floats]:
    """Return a score function over the counts of all labels together; for exclusive labels that is the accuracy."""
    return lambda c: score(c.hits.sum(-1), c.predicted.sum(-1), c.gold.sum(-1))


def accuracy(counts: Counts) -> Floats:
    """Return the fraction of rows, or of words, that is completely correct."""
    return ratio(counts.exact, counts.units)


def matthews(counts: Counts) -> Floats:
    """Return the Matthews correlation, 0 where undefined; for more than two labels Gorodkin's R_K.

    Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    n = counts.units
    above = counts.exact * n - (counts.predicted * counts.gold).sum(-1)
    spreads = [n * n - (side * side).sum(-1) for side in (counts.predicted, counts.gold)]
    return ratio(above, np.sqrt(spreads[0]) * np.sqrt(spreads[1]))


def cohen_kappa(counts: Counts) -> Floats:
    """Cohen's kappa, the agreement beyond chance; 0 where chance agreement is complete.

    Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    n = counts.units
    chance = (counts.predicted * counts.gold).sum(-1)
    return ratio(counts.exact * n - chance, n * n - chance)


# --- metrics of probabilities --------------------------------------------------------------------


def _tie_groups(values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that sorts values, and the start of each run of equal values in that order."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def _sums(ordered: Floats, starts: NDArray[np.intp]) -> Floats:
    """Sum (R, B) over runs of columns; without ties the input is the result."""
    return ordered if len(starts) == ordered.shape[1] else np.add.reduceat(ordered, starts, axis=1)


def _label_columns(outcome: Outcome) -> list[tuple[Floats, Floats]]:
    """Return (is true, probability) for each label; of two exclusive labels only the second, as in GLUE."""
    scores = _probabilities(outcome)
    if outcome.kind == MULTILABEL:
        return [(outcome.gold[:, i].astype(np.float64), scores[:, i]) for i in range(scores.shape[1])]
    chosen = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return [((outcome.gold == i).astype(np.float64), scores[:, i]) for i in chosen]


def _mean_over_labels(outcome: Outcome, weights: Floats, score: Callable[[Floats, Floats], Floats]) -> Floats:
    """Return the mean of a ranking score over the labels where it is defined; nan where it is defined for none.

    ``score`` gets the weights (R, G) of true and of all rows in G groups of equal probability, highest first.
    """
    total, defined = np.zeros(len(weights)), np.zeros(len(weights))
    for true, probability in _label_columns(outcome):
        order, starts = _tie_groups(-probability)
        ordered = weights[:, order]
        value = score(_sums(ordered * true[order], starts), _sums(ordered, starts))
        total += np.where(np.isnan(value), 0.0, value)
        defined += ~np.isnan(value)
    return ratio(total, defined, np.nan)


def roc_auc(outcome: Outcome, weights: Floats) -> Floats:
    """Return the probability that a positive row ranks above a negative one, with ties counting half (Mann-Whitney)."""

    def score(true: Floats, every: Floats) -> Floats:
        untrue = every - true
        below = untrue.sum(-1, keepdims=True) - untrue.cumsum(-1)
        return ratio((true * (below + untrue / 2)).sum(-1), true.sum(-1) * untrue.sum(-1), np.nan)

    return _mean_over_labels(outcome, weights, score)


def average_precision(outcome: Outcome, weights: Floats) -> Floats:
    """Return the mean precision over thresholds, weighted by the gain in recall."""

    def score(true: Floats, every: Floats) -> Floats:
        precision = ratio(true.cumsum(-1), every.cumsum(-1))
        return ratio((true * precision).sum(-1), true.sum(-1), np.nan)

    return _mean_over_labels(outcome, weights, score)


def _probabilities(outcome: Outcome) -> Floats:
    if outcome.probabilities is None:
        raise DataError(
            "evaluation: this metric needs probabilities, but the predictions are labels; pass probabilities."
        )
    return outcome.probabilities


def log_loss(outcome: Outcome, weights: Floats) -> Floats:
    """Return the mean negative log-likelihood of the gold labels in nats; for multi-label also averaged over labels."""
    tiny = np.finfo(np.float64).eps
    scores = np.clip(_probabilities(outcome), tiny, 1 - tiny)
    if outcome.kind == MULTILABEL:
        losses = -np.log(np.where(outcome.gold == 1, scores, 1 - scores)).mean(-1)
    else:
        losses = -np.log(scores[np.arange(len(outcome)), outcome.gold])
    return mean(weights, losses)


def ece(outcome: Outcome, weights: Floats) -> Floats:
    """Return the expected calibration error: the difference between confidence and accuracy over 15 bins."""
    scores = _probabilities(outcome)
    confidence = scores.max(-1)
    gap = confidence - (scores.argmax(-1) == outcome.gold)
    bins = confidence_bins(confidence, ECE_BINS)
    gaps: Floats = np.abs(mean(weights, np.eye(ECE_BINS)[bins] * gap[:, None])).sum(-1)
    return gaps


def confidence_bins(confidence: Floats, bins: int) -> NDArray[np.intp]:
    """Return the bin of each confidence among bins of equal width; an edge belongs to the lower bin."""
    numbers: NDArray[np.intp] = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    return numbers


# --- metrics of values ---------------------------------------------------------------------------


def pearson(outcome: Outcome, weights: Floats) -> Floats:
    """Return Pearson's correlation of gold and predicted values; nan where either is constant."""
    x, y = (_center(side) for side in (outcome.gold, outcome.predicted))
    mx, my, xx, yy, xy = mean(weights, np.stack((x, y, x * x, y * y, x * y), 1)).T
    # If all values of a resample are equal, the variance is rounding error far below this threshold.
    vx, vy = (np.where(v - m * m > 1e-12 * v, v - m * m, 0.0) for v, m in ((xx, mx), (yy, my)))
    return _clip_correlations(ratio(xy - mx * my, np.sqrt(vx) * np.sqrt(vy), np.nan))


def _center(values: Floats) -> Floats:
    """Center values and scale them by the largest; constant values become exact zeros."""
    moved: Floats = values - values[0]
    moved = moved / (np.abs(moved).max() or 1.0)
    centered: Floats = moved - moved.mean()
    return centered


def _clip_correlations(correlations: Floats) -> Floats:
    """Clip correlations to [-1, 1], which rounding may exceed."""
    clipped: Floats = np.clip(correlations, -1.0, 1.0)
    return clipped


def spearman(outcome: Outcome, weights: Floats) -> Floats:
    """Return Pearson's correlation of the ranks; nan where either side is constant."""
    middle = (weights.sum(-1, keepdims=True) + 1) / 2
    x, y = (_ranks(side, weights) - middle for side in (outcome.gold, outcome.predicted))
    weighted = weights * x
    spread = np.sqrt((weighted * x).sum(-1)) * np.sqrt((weights * y * y).sum(-1))
    return _clip_correlations(ratio((weighted * y).sum(-1), spread, np.nan))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Return the rank of every row among the weighted rows, (R, B); ties share their mean rank."""
    order, starts = _tie_groups(values)
    counts = _sums(weights[:, order], starts)
    ranks = counts.cumsum(-1) - counts / 2 + 0.5
    group = np.empty(len(values), np.intp)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return ranks[:, group]


def mse(outcome: Outcome, weights: Floats) -> Floats:
    """Return the mean squared error."""
    return mean(weights, (outcome.gold - outcome.predicted) ** 2)


def mae(outcome: Outcome, weights: Floats) -> Floats:
    """Return the mean absolute error."""
    return mean(weights, np.abs(outcome.gold - outcome.predicted))
