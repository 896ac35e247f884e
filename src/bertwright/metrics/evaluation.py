"""From predictions to numbers: values, intervals, the table per label, baselines and alarms."""

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
"""Predictions beside the truth, of any kind of task; its B rows are examples, tagged texts, questions or sequences."""

ROW_METRIC_BUDGET = 200_000_000
"""The most rows x labels x resamples one metric of probabilities or values gets: about 3 s on one core."""

MIN_RESAMPLES = 100
"""The budget never brings the resamples below this, or the ends of the interval would mean nothing."""

CHUNK = 1 << 20  # row weights held at a time: 8 MB, what one core's caches still serve well

MAX_MATRIX_LABELS = 200
"""With more labels than this a report lists the most confused pairs; the matrix grows with the square of the labels."""

COLLAPSE_SHARE = 0.01
"""Collapse is when at most this share of the predictions are anything but the same one."""


def compute_metrics(names: Iterable[str], outcome: AnyOutcome) -> dict[str, float]:
    """Each metric's value; nan where it is not defined (`METRICS[name].undefined` says when that is).

    Raises:
        RecipeError: a name that is unknown or does not fit the task.
        DataError: a metric needs probabilities, or null odds, and there are none.
    """
    chosen = check_metrics(names, outcome.kind, len(outcome.labels) or None)
    ones = np.ones((1, len(outcome)))
    values = {name: score(outcome, ones) for name, score in select_row_metrics(chosen)}
    for tally, metrics in group_by_counts(chosen, outcome):
        counts = tally.total()
        values |= {name: score(counts) for name, score in metrics.items()}
    return {name: float(values[name][0]) for name in chosen}


def bootstrap_intervals(
    names: Iterable[str], outcome: AnyOutcome, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Each metric's bootstrap interval: how far it would move with another draw of as many examples.

    The percentile method (Efron 1979) over resamples of B rows with replacement. Metrics of labels
    depend on the rows only through how often each (gold, predicted) pair occurs, and those numbers are
    multinomial in a resample of rows: drawing them directly is the same distribution, without the rows.
    Other metrics weigh the rows; where rows x labels x resamples passes `ROW_METRIC_BUDGET`, they get fewer
    resamples, never under `MIN_RESAMPLES`. Resamples in which a metric is undefined do not count.

    Raises:
        RecipeError: a name that is unknown or does not fit the task.
        DataError: a metric needs probabilities, or null odds, and there are none.
    """
    chosen = check_metrics(names, outcome.kind, len(outcome.labels) or None)
    drawn: dict[str, list[Floats]] = {name: [] for name in chosen}
    for tally, metrics in group_by_counts(chosen, outcome):
        for counts in _resampled(tally, np.random.default_rng(seed), resamples):
            for name, of_counts in metrics.items():
                drawn[name].append(of_counts(counts))
    limits = {name: limit_resamples(name, outcome, resamples) for name, _ in select_row_metrics(chosen)}
    rng, done = np.random.default_rng(seed), 0
    while limits and done < max(limits.values()):
        weights = draw_row_weights(rng, len(outcome), min(resamples - done, max(1, CHUNK // len(outcome))))
        for name, score in select_row_metrics(chosen):
            if done < limits[name]:
                drawn[name].append(score(outcome, weights[: limits[name] - done]))
        done += len(weights)
    return {name: percentile_interval(np.concatenate(values), level) for name, values in drawn.items()}


def per_class_metrics(outcome: Outcome | TaggingOutcome) -> dict[str, dict[str, float]]:
    """For each label, or type of span: precision, recall, f1, support (how often it is true), how often predicted."""
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
    """How often each label (rows: gold) was predicted as each (columns), (L, L); for classification.

    Raises:
        DataError: the outcome is of another kind.
    """
    if outcome.kind != CLASSIFICATION:
        raise DataError(f"evaluation: a {outcome.kind} task has no confusion matrix; use the table per label.")
    n = len(outcome.labels)
    return np.bincount(outcome.gold * n + outcome.predicted, minlength=n * n).reshape(n, n)


def confused_pairs(outcome: Outcome, most: int = 100) -> list[tuple[str, str, int]]:
    """The pairs of labels that are confused most: (gold label, predicted label, how often), the most frequent first.

    Raises:
        DataError: the outcome is not of a classification.
    """
    if outcome.kind != CLASSIFICATION:
        raise DataError(f"evaluation: a {outcome.kind} task has no confused labels; use the table per label.")
    wrong, n = ~outcome.right, len(outcome.labels)
    cells, counts = np.unique(outcome.gold[wrong] * n + outcome.predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(outcome.labels[cells[i] // n], outcome.labels[cells[i] % n], int(counts[i])) for i in order]


def describe_collapse(outcome: AnyOutcome, unit: str = "examples") -> str | None:
    """What to tell the user if the model answers (almost) the same for every example though the gold varies.

    The alarm is for a run that failed (Mosbach et al. 2020 show how often fine-tuning does), not for rare
    classes: the gold must differ from the one answer at least five times as often as the predictions do.
    """
    if isinstance(outcome, TaggingOutcome):
        return describe_collapse(outcome.words(), "words")
    if isinstance(outcome, AnswerOutcome):
        return describe_collapse(outcome.given(), "questions")
    if isinstance(outcome, MaskedLMOutcome):
        return None  # what is guessed is not kept
    rows = len(outcome)
    if outcome.kind == REGRESSION:
        spread, gold = float(outcome.predicted.std()), float(outcome.gold.std())
        if rows < 5 or spread > COLLAPSE_SHARE * gold or gold == 0:
            return None
        return (
            f"the predictions hardly differ (all about {outcome.predicted.mean():.4g}, spread {spread:.2g}; "
            f"the gold's spread is {gold:.4g})"
        )
    sides = np.atleast_2d(outcome.predicted.T).T, np.atleast_2d(outcome.gold.T).T
    answers, sizes = np.unique(sides[0], axis=0, return_counts=True)
    answer = answers[sizes.argmax()]
    others = rows - int(sizes.max())
    right = int((sides[1] == answer).all(-1).sum())
    if others > COLLAPSE_SHARE * rows or rows - right < 5 * max(others, 1):
        return None
    numbers = np.flatnonzero(answer) if outcome.kind == MULTILABEL else answer
    name = " + ".join(f'"{outcome.labels[i]}"' for i in numbers) or "no label at all"
    true = "exactly that is true" if outcome.kind == MULTILABEL and len(numbers) else "true"
    return f"{name} is predicted for {rows - others:,} of {rows:,} {unit}, and {true} for {right:,}"


def predict_majority(gold: NDArray[Any], outcome: Outcome) -> Outcome:
    """The same examples answered without reading them: what a model must beat.

    The answer is the commonest label of the training targets ``gold`` (multi-label: every label that holds
    for more than half; regression: their mean), its probabilities are their shares.
    """
    if outcome.kind == REGRESSION:
        return _answered(outcome, np.full(len(outcome), np.mean(gold)), None)
    n_labels = len(outcome.labels)
    if outcome.kind == MULTILABEL:
        shares = np.asarray(gold, np.float64).mean(0)
        answer = shares > 0.5
    else:
        shares = np.bincount(np.asarray(gold, np.int64), minlength=n_labels) / len(gold)
        answer = np.asarray(shares.argmax())
    return _answered(
        outcome,
        np.broadcast_to(answer, outcome.gold.shape),
        np.broadcast_to(shares, (len(outcome), n_labels)),
    )


def _answered(outcome: Outcome, predicted: NDArray[Any], probabilities: NDArray[Any] | None) -> Outcome:
    return Outcome(outcome.kind, outcome.gold, predicted, outcome.labels, probabilities)


def group_by_counts(
    names: Iterable[str], outcome: AnyOutcome
) -> Iterator[tuple[LabelOccurrences, dict[str, Callable[[Counts], Floats]]]]:
    """Those of the metrics that are counted, by what they count."""
    grouped: dict[Callable[[Any], LabelOccurrences], dict[str, Callable[[Counts], Floats]]] = {}
    for name in names:
        metric = METRICS[name]
        if metric.count_labels is not None and metric.from_counts is not None:
            grouped.setdefault(metric.count_labels, {})[name] = metric.from_counts
    for tally, metrics in grouped.items():
        yield tally(outcome), metrics


def select_row_metrics(names: Iterable[str]) -> list[tuple[str, Callable[[Any, Floats], Floats]]]:
    """Those of the metrics that weigh rows."""
    return [(name, score) for name in names if (score := METRICS[name].from_rows) is not None]


def limit_resamples(name: str, outcome: AnyOutcome, resamples: int) -> int:
    """How many resamples a metric that weighs rows may have."""
    columns = len(outcome.labels) if METRICS[name].needs == "probabilities" else 1
    return min(resamples, max(MIN_RESAMPLES, ROW_METRIC_BUDGET // (len(outcome) * columns)))


def draw_row_weights(rng: np.random.Generator, rows: int, resamples: int) -> Floats:
    """How often each row occurs in each resample of as many rows, (R, B)."""
    picks = rng.integers(0, rows, (resamples, rows)) + np.arange(resamples)[:, None] * rows
    return np.bincount(picks.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def percentile_interval(values: Floats, level: float) -> tuple[float, float]:
    """Between which a share ``level`` of the values lie, those that are nan left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _resampled(tally: LabelOccurrences, rng: np.random.Generator, resamples: int) -> Iterator[Counts]:
    """The counts of random resamples of the rows, some at a time."""
    rows, chunk = len(tally.patterns), max(1, CHUNK // tally.width)
    for start in range(0, resamples, chunk):
        yield tally.count(rng.multinomial(rows, tally.sizes / rows, size=min(chunk, resamples - start)))
