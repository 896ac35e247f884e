"""Metric values, bootstrap intervals, per-class tables, majority baselines and collapse detection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics import formulas as scores
from bertwright.metrics.label_counts import Counts, Floats, LabelOccurrences
from bertwright.metrics.outcome import CLASSIFICATION, MULTILABEL, REGRESSION, Outcome
from bertwright.metrics.pretraining import MaskedLMOutcome
from bertwright.metrics.registry import METRICS, check_metrics
from bertwright.metrics.spans import TaggingOutcome
from bertwright.metrics.squad import AnswerOutcome

AnyOutcome = Outcome | TaggingOutcome | AnswerOutcome | MaskedLMOutcome
"""Predictions with the truth for any kind of task; the B rows are examples, tagged texts, questions or sequences."""

ROW_METRIC_BUDGET = 200_000_000
"""Maximum of rows x labels x resamples for one metric of probabilities or values: about 3 s on one core."""

MIN_RESAMPLES = 100
"""Minimum number of resamples under any budget; with fewer, the ends of the interval are unreliable."""

CHUNK = 1 << 20  # row weights in memory at a time: 8 MB, which fits the caches of one core

MAX_MATRIX_LABELS = 200
"""With more labels a report lists the most confused pairs, because the matrix grows with the square of the labels."""

COLLAPSE_SHARE = 0.01
"""A model has collapsed if at most this fraction of its predictions differ from the most frequent one."""


def compute_metrics(names: Iterable[str], outcome: AnyOutcome) -> dict[str, float]:
    """Return the value of each metric; nan where it is undefined (see `METRICS[name].undefined`).

    Raises:
        RecipeError: a metric is unknown or does not apply to the task.
        DataError: a metric needs probabilities or null odds, and there are none.
    """
    chosen = check_metrics(names, outcome.kind, len(outcome.labels) or None)
    ones = np.ones((1, len(outcome)))
    values = {name: score(outcome, ones) for name, score in select_row_metrics(chosen)}
    for occurrences, metrics in group_by_counts(chosen, outcome):
        counts = occurrences.total()
        values |= {name: score(counts) for name, score in metrics.items()}
    return {name: float(values[name][0]) for name in chosen}


def bootstrap_intervals(
    names: Iterable[str], outcome: AnyOutcome, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the bootstrap confidence interval of each metric.

    The percentile method (Efron 1979) resamples B rows with replacement. Label metrics depend on the rows only through
    the count of each (gold, predicted) pair. In a resample these counts are multinomial, so they are drawn directly.
    Other metrics weight the rows. If rows x labels x resamples exceeds `ROW_METRIC_BUDGET`, they get fewer resamples,
    but at least `MIN_RESAMPLES`. Resamples in which a metric is undefined are ignored.

    Raises:
        RecipeError: a metric is unknown or does not apply to the task.
        DataError: a metric needs probabilities or null odds, and there are none.
    """
    chosen = check_metrics(names, outcome.kind, len(outcome.labels) or None)
    resampled: dict[str, list[Floats]] = {name: [] for name in chosen}
    for occurrences, metrics in group_by_counts(chosen, outcome):
        for counts in _draw_counts(occurrences, np.random.default_rng(seed), resamples):
            for name, of_counts in metrics.items():
                resampled[name].append(of_counts(counts))
    limits = {name: limit_resamples(name, outcome, resamples) for name, _ in select_row_metrics(chosen)}
    rng, done = np.random.default_rng(seed), 0
    while limits and done < max(limits.values()):
        weights = draw_row_weights(rng, len(outcome), min(resamples - done, max(1, CHUNK // len(outcome))))
        for name, score in select_row_metrics(chosen):
            if done < limits[name]:
                resampled[name].append(score(outcome, weights[: limits[name] - done]))
        done += len(weights)
    return {name: percentile_interval(np.concatenate(values), level) for name, values in resampled.items()}


def per_class_metrics(outcome: Outcome | TaggingOutcome) -> dict[str, dict[str, float]]:
    """Return precision, recall, f1, support and number of predictions for each label or span type."""
    counts = outcome.count_labels().total()
    three = (counts.hits[0], counts.predicted[0], counts.gold[0])
    columns = (scores.precision(*three), scores.recall(*three), scores.f1(*three))
    return {
        label: {
            "precision": float(columns[0][i]),
            "recall": float(columns[1][i]),
            "f1": float(columns[2][i]),
            "support": int(counts.gold[0, i]),
            "predicted": int(counts.predicted[0, i]),
        }
        for i, label in enumerate(outcome.labels)
    }


def confusion_matrix(outcome: Outcome) -> NDArray[np.int64]:
    """Return how often each label (rows: gold) was predicted as each label (columns), (L, L); for classification.

    Raises:
        DataError: the outcome is not a classification.
    """
    if outcome.kind != CLASSIFICATION:
        raise DataError(f"evaluation: a {outcome.kind} task has no confusion matrix; use the per-class table.")
    n = len(outcome.labels)
    return np.bincount(outcome.gold * n + outcome.predicted, minlength=n * n).reshape(n, n)


def confused_pairs(outcome: Outcome, most: int = 100) -> list[tuple[str, str, int]]:
    """Return the most confused pairs as (gold label, predicted label, count), most frequent first.

    Raises:
        DataError: the outcome is not a classification.
    """
    if outcome.kind != CLASSIFICATION:
        raise DataError(f"evaluation: a {outcome.kind} task has no confused labels; use the per-class table.")
    wrong, n = ~outcome.right, len(outcome.labels)
    cells, counts = np.unique(outcome.gold[wrong] * n + outcome.predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(outcome.labels[cells[i] // n], outcome.labels[cells[i] % n], int(counts[i])) for i in order]


def describe_collapse(outcome: AnyOutcome, unit: str = "examples") -> str | None:
    """Describe a collapse to one prediction although the gold labels vary; None if there is none.

    Fine-tuning often fails in this way (Mosbach et al. 2020). To ignore rare classes, the gold labels must differ from
    the predicted label at least five times as often as the predictions do.
    """
    if isinstance(outcome, TaggingOutcome):
        return describe_collapse(outcome.words(), "words")
    if isinstance(outcome, AnswerOutcome):
        return describe_collapse(outcome.to_answerability(), "questions")
    if isinstance(outcome, MaskedLMOutcome):
        return None  # single predictions of masked tokens are not stored
    rows = len(outcome)
    if outcome.kind == REGRESSION:
        spread, gold = float(outcome.predicted.std()), float(outcome.gold.std())
        if rows < 5 or spread > COLLAPSE_SHARE * gold or gold == 0:
            return None
        return (
            f"the predictions are nearly constant (mean {outcome.predicted.mean():.4g}, standard deviation "
            f"{spread:.2g}; the standard deviation of the targets is {gold:.4g})"
        )
    sides = np.atleast_2d(outcome.predicted.T).T, np.atleast_2d(outcome.gold.T).T
    answers, sizes = np.unique(sides[0], axis=0, return_counts=True)
    answer = answers[sizes.argmax()]
    others = rows - int(sizes.max())
    right = int((sides[1] == answer).all(-1).sum())
    if others > COLLAPSE_SHARE * rows or rows - right < 5 * max(others, 1):
        return None
    numbers = np.flatnonzero(answer) if outcome.kind == MULTILABEL else answer
    name = " + ".join(f'"{outcome.labels[i]}"' for i in numbers) or "no label"
    true = "exactly these labels are true" if outcome.kind == MULTILABEL and len(numbers) else "true"
    return f"{name} is predicted for {rows - others:,} of {rows:,} {unit}, but {true} for {right:,}"


def predict_majority(gold: NDArray[Any], outcome: Outcome) -> Outcome:
    """Return the majority-class baseline for the same examples.

    The prediction is the most frequent label of the training targets ``gold`` (multi-label: every label that holds for
    more than half of the rows; regression: their mean). Its probabilities are the label frequencies.
    """
    if outcome.kind == REGRESSION:
        return _replace_predictions(outcome, np.full(len(outcome), np.mean(gold)), None)
    n_labels = len(outcome.labels)
    if outcome.kind == MULTILABEL:
        shares = np.asarray(gold, np.float64).mean(0)
        answer = shares > 0.5
    else:
        shares = np.bincount(np.asarray(gold, np.int64), minlength=n_labels) / len(gold)
        answer = np.asarray(shares.argmax())
    return _replace_predictions(
        outcome,
        np.broadcast_to(answer, outcome.gold.shape),
        np.broadcast_to(shares, (len(outcome), n_labels)),
    )


def _replace_predictions(outcome: Outcome, predicted: NDArray[Any], probabilities: NDArray[Any] | None) -> Outcome:
    return Outcome(outcome.kind, outcome.gold, predicted, outcome.labels, probabilities)


def group_by_counts(
    names: Iterable[str], outcome: AnyOutcome
) -> Iterator[tuple[LabelOccurrences, dict[str, Callable[[Counts], Floats]]]]:
    """Yield the metrics that are computed from counts, grouped by the way to count."""
    grouped: dict[Callable[[Any], LabelOccurrences], dict[str, Callable[[Counts], Floats]]] = {}
    for name in names:
        metric = METRICS[name]
        if metric.count_labels is not None and metric.from_counts is not None:
            grouped.setdefault(metric.count_labels, {})[name] = metric.from_counts
    for count_labels, metrics in grouped.items():
        yield count_labels(outcome), metrics


def select_row_metrics(names: Iterable[str]) -> list[tuple[str, Callable[[Any, Floats], Floats]]]:
    """Return the metrics that weight rows."""
    return [(name, score) for name in names if (score := METRICS[name].from_rows) is not None]


def limit_resamples(name: str, outcome: AnyOutcome, resamples: int) -> int:
    """Return how many resamples a metric that weights rows gets."""
    columns = len(outcome.labels) if METRICS[name].needs == "probabilities" else 1
    return min(resamples, max(MIN_RESAMPLES, ROW_METRIC_BUDGET // (len(outcome) * columns)))


def draw_row_weights(rng: np.random.Generator, rows: int, resamples: int) -> Floats:
    """Draw how often each row occurs in each bootstrap resample, (R, B)."""
    picks = rng.integers(0, rows, (resamples, rows)) + np.arange(resamples)[:, None] * rows
    return np.bincount(picks.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def percentile_interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the interval that contains the central fraction ``level`` of the values, without nan."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _draw_counts(occurrences: LabelOccurrences, rng: np.random.Generator, resamples: int) -> Iterator[Counts]:
    """Yield the counts of random resamples of the rows in chunks."""
    rows, chunk = len(occurrences.patterns), max(1, CHUNK // occurrences.width)
    for start in range(0, resamples, chunk):
        yield occurrences.count(rng.multinomial(rows, occurrences.sizes / rows, size=min(chunk, resamples - start)))
