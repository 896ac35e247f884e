"""The formulas, each written once for R weightings of the same rows at a time.

One weighting of all ones gives a metric's value, R random ones its bootstrap distribution.
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
    """above / below, and ``undefined`` where below is 0, without a warning."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    ratio: Floats = np.divide(above, below, out=np.full(above.shape, undefined), where=below != 0)
    return ratio


def mean(weights: Floats, values: Floats) -> Floats:
    """The weighted mean of values (B,) or (B, n), for each of R weightings."""
    total: Floats = weights.sum(-1).reshape(-1, *(1,) * (values.ndim - 1))
    means: Floats = weights @ values / total
    return means


LabelScore = Callable[[Floats, Floats, Floats], Floats]
"""(hits, predicted, gold), how often each label was right, predicted and true, to a score of the same shape."""


def precision(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """How much of what was predicted is right; 0 where nothing was."""
    return ratio(hits, predicted)


def recall(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """How much of what is true was found; 0 where nothing is."""
    return ratio(hits, gold)


def f1(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """The harmonic mean of precision and recall; 0 where the label neither is true nor was predicted."""
    return ratio(2 * hits, predicted + gold)


def positive_label_score(score: LabelScore) -> Callable[[Counts], Floats]:
    """The score of the second of two labels, the positive one in GLUE."""
    return lambda c: score(c.hits[:, 1], c.predicted[:, 1], c.gold[:, 1])


def macro_average(score: LabelScore) -> Callable[[Counts], Floats]:
    """The plain mean of the labels' scores.

    As scikit-learn has it: of exclusive labels those that are true or predicted somewhere, else all of them.
    """

    def of_labels(c: Counts) -> Floats:
        there = np.ones(c.gold.shape, bool) if c.multilabel else (c.gold + c.predicted) > 0
        return ratio((score(c.hits, c.predicted, c.gold) * there).sum(-1), there.sum(-1))

    return of_labels


def micro_average(score: LabelScore) -> Callable[[Counts], Floats]:
    """The score of all labels thrown together; of exclusive labels that is the accuracy."""
    return lambda c: score(c.hits.sum(-1), c.predicted.sum(-1), c.gold.sum(-1))


def accuracy(counts: Counts) -> Floats:
    """The share of rows, or of words, that are wholly right."""
    return ratio(counts.exact, counts.units)


def matthews(counts: Counts) -> Floats:
    """Matthews correlation, 0 where undefined; for more than two labels Gorodkin's R_K.

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
    """The order that sorts values, and where in that order each run of equal ones starts."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def _sums(ordered: Floats, starts: NDArray[np.intp]) -> Floats:
    """Sums of (R, B) over runs of columns; without ties there is nothing to sum."""
    return ordered if len(starts) == ordered.shape[1] else np.add.reduceat(ordered, starts, axis=1)


def _label_columns(outcome: Outcome) -> list[tuple[Floats, Floats]]:
    """(is true, probability) for each label: of two exclusive ones the second alone, as in GLUE."""
    scores = _probabilities(outcome)
    if outcome.kind == MULTILABEL:
        return [(outcome.gold[:, i].astype(np.float64), scores[:, i]) for i in range(scores.shape[1])]
    chosen = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return [((outcome.gold == i).astype(np.float64), scores[:, i]) for i in chosen]


def _mean_over_labels(outcome: Outcome, weights: Floats, score: Callable[[Floats, Floats], Floats]) -> Floats:
    """The mean of a ranking score over the labels for which it is defined; nan where it is for none.

    ``score`` gets the weights (R, G) of true and of all rows in G runs of equal probability, the highest first.
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
    """The chance that a true row ranks above an untrue one, ties counting half (Mann-Whitney)."""

    def score(true: Floats, every: Floats) -> Floats:
        untrue = every - true
        below = untrue.sum(-1, keepdims=True) - untrue.cumsum(-1)
        return ratio((true * (below + untrue / 2)).sum(-1), true.sum(-1) * untrue.sum(-1), np.nan)

    return _mean_over_labels(outcome, weights, score)


def average_precision(outcome: Outcome, weights: Floats) -> Floats:
    """Precision at each threshold, weighted by the recall gained there."""

    def score(true: Floats, every: Floats) -> Floats:
        precision = ratio(true.cumsum(-1), every.cumsum(-1))
        return ratio((true * precision).sum(-1), true.sum(-1), np.nan)

    return _mean_over_labels(outcome, weights, score)


def _probabilities(outcome: Outcome) -> Floats:
    if outcome.probabilities is None:
        raise DataError("evaluation: this metric needs probabilities, but there are only labels; pass probabilities.")
    return outcome.probabilities


def log_loss(outcome: Outcome, weights: Floats) -> Floats:
    """The mean of -log of the probability of the truth, in nats; multi-label: the mean over labels as well."""
    tiny = np.finfo(np.float64).eps
    scores = np.clip(_probabilities(outcome), tiny, 1 - tiny)
    if outcome.kind == MULTILABEL:
        losses = -np.log(np.where(outcome.gold == 1, scores, 1 - scores)).mean(-1)
    else:
        losses = -np.log(scores[np.arange(len(outcome)), outcome.gold])
    return mean(weights, losses)


def ece(outcome: Outcome, weights: Floats) -> Floats:
    """Expected calibration error: how far confidence is from accuracy, over 15 bins of confidence."""
    scores = _probabilities(outcome)
    confidence = scores.max(-1)
    gap = confidence - (scores.argmax(-1) == outcome.gold)
    bins = confidence_bins(confidence, ECE_BINS)
    gaps: Floats = np.abs(mean(weights, np.eye(ECE_BINS)[bins] * gap[:, None])).sum(-1)
    return gaps


def confidence_bins(confidence: Floats, bins: int) -> NDArray[np.intp]:
    """The number of each confidence's bin, of so many equal ones from 0 to 1; an edge belongs to the lower one."""
    numbers: NDArray[np.intp] = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    return numbers


# --- metrics of values ---------------------------------------------------------------------------


def pearson(outcome: Outcome, weights: Floats) -> Floats:
    """How well a straight line relates gold and predicted; nan where either does not vary."""
    x, y = (_centred(side) for side in (outcome.gold, outcome.predicted))
    mx, my, xx, yy, xy = mean(weights, np.stack((x, y, x * x, y * y, x * y), 1)).T
    # A resample may hold one value only: its spread is then rounding error, far below this.
    vx, vy = (np.where(v - m * m > 1e-12 * v, v - m * m, 0.0) for v, m in ((xx, mx), (yy, my)))
    return _within_one(ratio(xy - mx * my, np.sqrt(vx) * np.sqrt(vy), np.nan))


def _centred(values: Floats) -> Floats:
    """Values less their mean, in units of the greatest; equal values come out as exact zeros."""
    moved: Floats = values - values[0]
    moved = moved / (np.abs(moved).max() or 1.0)
    centred: Floats = moved - moved.mean()
    return centred


def _within_one(correlations: Floats) -> Floats:
    """Take off what rounding adds beyond ±1."""
    clipped: Floats = np.clip(correlations, -1.0, 1.0)
    return clipped


def spearman(outcome: Outcome, weights: Floats) -> Floats:
    """Pearson's correlation of the ranks; nan where either side does not vary."""
    middle = (weights.sum(-1, keepdims=True) + 1) / 2
    x, y = (_ranks(side, weights) - middle for side in (outcome.gold, outcome.predicted))
    weighted = weights * x
    spread = np.sqrt((weighted * x).sum(-1)) * np.sqrt((weights * y * y).sum(-1))
    return _within_one(ratio((weighted * y).sum(-1), spread, np.nan))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """The rank of every row among the weighted rows, (R, B); equal values share their mean rank."""
    order, starts = _tie_groups(values)
    counts = _sums(weights[:, order], starts)
    ranks = counts.cumsum(-1) - counts / 2 + 0.5
    group = np.empty(len(values), np.intp)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return ranks[:, group]


def mse(outcome: Outcome, weights: Floats) -> Floats:
    """The mean squared difference."""
    return mean(weights, (outcome.gold - outcome.predicted) ** 2)


def mae(outcome: Outcome, weights: Floats) -> Floats:
    """The mean absolute difference."""
    return mean(weights, np.abs(outcome.gold - outcome.predicted))
