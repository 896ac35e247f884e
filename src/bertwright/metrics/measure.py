"""From predictions to numbers: values, intervals, the table per label, baselines and alarms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics import scores
from bertwright.metrics.outcome import CLASSIFICATION, MULTILABEL, REGRESSION, Counts, Floats, Outcome
from bertwright.metrics.table import METRICS, check_metrics

RANK_BUDGET = 200_000_000
"""The most rows x labels x resamples one metric of probabilities or values gets: about 3 s on one core."""

MIN_RESAMPLES = 100
"""The budget never brings the resamples below this, or the ends of the interval would mean nothing."""

CHUNK = 1 << 20  # row weights held at a time: 8 MB, what one core's caches still serve well

COLLAPSE_SHARE = 0.01
"""Collapse is when at most this share of the predictions are anything but the same one."""


def compute(names: Iterable[str], outcome: Outcome) -> dict[str, float]:
    """Each metric's value; nan where it is not defined (`METRICS[name].undefined` says when that is).

    Raises:
        RecipeError: a name that is unknown or does not fit the task.
        DataError: a metric needs probabilities and there are none.
    """
    chosen = check_metrics(names, outcome.kind, _n_labels(outcome))
    ones = np.ones((1, len(outcome)))
    patterns = _Patterns(outcome) if _about_labels(chosen) else None
    values = {}
    for name in chosen:
        metric = METRICS[name]
        if metric.from_counts is not None and patterns is not None:
            values[name] = float(metric.from_counts(patterns.count(patterns.sizes[None]))[0])
        elif metric.from_rows is not None:
            values[name] = float(metric.from_rows(outcome, ones)[0])
    return values


def bootstrap(
    names: Iterable[str], outcome: Outcome, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Each metric's bootstrap interval: how far it would move with another draw of as many examples.

    The percentile method (Efron 1979) over resamples of B rows with replacement. Metrics of labels
    depend on the rows only through how often each (gold, predicted) pair occurs, and those numbers are
    multinomial in a resample of rows: drawing them directly is the same distribution, without the rows.
    Other metrics weigh the rows; where rows x labels x resamples passes `RANK_BUDGET`, they get fewer
    resamples, never under `MIN_RESAMPLES`. Resamples in which a metric is undefined do not count.

    Raises:
        RecipeError: a name that is unknown or does not fit the task.
        DataError: a metric needs probabilities and there are none.
    """
    chosen = check_metrics(names, outcome.kind, _n_labels(outcome))
    drawn: dict[str, list[Floats]] = {name: [] for name in chosen}
    by_counts = [name for name in chosen if METRICS[name].from_counts is not None]
    if by_counts:
        for counts in _Patterns(outcome).resample(np.random.default_rng(seed), resamples):
            for name in by_counts:
                drawn[name].append(METRICS[name].from_counts(counts))  # type: ignore[misc]  # chosen above
    by_rows = {name: _affordable(name, outcome, resamples) for name in chosen if name not in by_counts}
    rng, done = np.random.default_rng(seed), 0
    while by_rows and done < max(by_rows.values()):
        weights = _row_weights(rng, len(outcome), min(resamples - done, max(1, CHUNK // len(outcome))))
        for name, limit in by_rows.items():
            if done < limit:
                drawn[name].append(METRICS[name].from_rows(outcome, weights[: limit - done]))  # type: ignore[misc]
        done += len(weights)
    return {name: _interval(np.concatenate(values), level) for name, values in drawn.items()}


def per_class(outcome: Outcome) -> dict[str, dict[str, float]]:
    """For each label: precision, recall, f1, support (how often it is true) and how often it was predicted."""
    patterns = _Patterns(outcome)
    counts = patterns.count(patterns.sizes[None])
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


def confusion(outcome: Outcome) -> NDArray[np.int64]:
    """How often each label (rows: gold) was predicted as each (columns), (L, L); for classification.

    Raises:
        DataError: the outcome is of another kind.
    """
    if outcome.kind != CLASSIFICATION:
        raise DataError(f"evaluation: a {outcome.kind} task has no confusion matrix; use the table per label.")
    n = len(outcome.labels)
    return np.bincount(outcome.gold * n + outcome.predicted, minlength=n * n).reshape(n, n)


def collapsed(outcome: Outcome) -> str | None:
    """What to tell the user if the model answers (almost) the same for every example though the gold varies.

    The alarm is for a run that failed (Mosbach et al. 2020 show how often fine-tuning does), not for rare
    classes: the gold must differ from the one answer at least five times as often as the predictions do.
    """
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
    return f"{name} is predicted for {rows - others:,} of {rows:,} examples, and {true} for {right:,}"


def majority(gold: NDArray[Any], outcome: Outcome) -> Outcome:
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


def _n_labels(outcome: Outcome) -> int | None:
    return None if outcome.kind == REGRESSION else len(outcome.labels)


def _about_labels(names: Iterable[str]) -> bool:
    return any(METRICS[name].from_counts is not None for name in names)


def _affordable(name: str, outcome: Outcome, resamples: int) -> int:
    columns = len(outcome.labels) if METRICS[name].needs == "probabilities" else 1
    return min(resamples, max(MIN_RESAMPLES, RANK_BUDGET // (len(outcome) * columns)))


def _row_weights(rng: np.random.Generator, rows: int, resamples: int) -> Floats:
    """How often each row occurs in each resample of as many rows, (R, B)."""
    picks = rng.integers(0, rows, (resamples, rows)) + np.arange(resamples)[:, None] * rows
    return np.bincount(picks.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def _interval(values: Floats, level: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


class _Patterns:
    """The K different (gold, predicted) rows and how often each occurs: few, however many the examples."""

    def __init__(self, outcome: Outcome) -> None:
        self.rows, self.n_labels = len(outcome), len(outcome.labels)
        self.multilabel = outcome.kind == MULTILABEL
        if self.multilabel:
            both = np.concatenate((outcome.gold, outcome.predicted), 1).astype(np.uint8)
            patterns, sizes = np.unique(both, axis=0, return_counts=True)
            gold, predicted = patterns[:, : self.n_labels], patterns[:, self.n_labels :]
            self.gold, self.predicted = np.nonzero(gold), np.nonzero(predicted)
            self.hits = np.nonzero(gold & predicted)
            self.exact = (gold == predicted).all(1)
        else:
            cells, sizes = np.unique(outcome.gold * self.n_labels + outcome.predicted, return_counts=True)
            number, (g, p) = np.arange(len(cells)), np.divmod(cells, self.n_labels)
            self.gold, self.predicted = (number, g), (number, p)
            self.exact = g == p
            self.hits = (number[self.exact], g[self.exact])
        self.sizes = sizes

    def count(self, weights: NDArray[np.int64]) -> Counts:
        """The counts of R weightings (R, K) of the patterns."""

        def by_label(where: tuple[NDArray[np.intp], ...]) -> Floats:
            pattern, label = where
            taken = weights[:, pattern]
            return np.stack([np.bincount(label, row, minlength=self.n_labels) for row in taken])

        exact = weights[:, self.exact].sum(1).astype(np.float64)
        return Counts(
            by_label(self.hits), by_label(self.predicted), by_label(self.gold), exact, self.rows, self.multilabel
        )

    def resample(self, rng: np.random.Generator, resamples: int) -> Iterator[Counts]:
        """The counts of random resamples of the rows, some at a time."""
        chunk = max(1, CHUNK // max(len(self.sizes), self.n_labels))
        for start in range(0, resamples, chunk):
            size = min(chunk, resamples - start)
            yield self.count(rng.multinomial(self.rows, self.sizes / self.rows, size=size))
