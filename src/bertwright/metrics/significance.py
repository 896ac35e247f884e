"""Significance tests for the difference between two systems on the same B examples.

The tests are paired, and there are two for each metric. The paired bootstrap estimates how the difference varies with
other examples. The permutation test estimates how large the difference would be if both systems were equally good.
Letters: J distinct pairs of rows, K patterns of rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics import evaluation
from bertwright.metrics.evaluation import AnyOutcome
from bertwright.metrics.label_counts import Counts, Floats, LabelOccurrences
from bertwright.metrics.outcome import Outcome
from bertwright.metrics.registry import check_metrics
from bertwright.metrics.spans import TaggingOutcome
from bertwright.metrics.squad import AnswerOutcome

J = TypeVar("J", Outcome, TaggingOutcome, AnswerOutcome)
Ints = NDArray[np.intp]
Scores = Callable[[Floats], dict[str, Floats]]
"""Weights (R, K) of patterns to the values (R,) of each metric."""

_TOLERANCE = 1e-10  # smaller differences are rounding errors


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of two systems and the significance of their difference.

    Attributes:
        first, second: the values.
        difference: second minus first.
        interval: the confidence interval of the difference, by the paired bootstrap.
        p_bootstrap: two-sided p-value of the paired bootstrap.
        p_permutation: two-sided p-value of approximate randomization.
        resamples: the number of resamples of each test.
    """

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_bootstrap: float
    p_permutation: float
    resamples: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Result of McNemar's test.

    Attributes:
        only_first, only_second: number of rows that only this system predicts correctly.
        p: two-sided exact p-value.
    """

    only_first: int
    only_second: int
    p: float


def compare_metrics(
    names: Iterable[str], first: J, second: J, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, MetricComparison]:
    """Compare each metric of two systems on the same examples, with significance tests.

    The paired bootstrap (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation") resamples the
    examples. Approximate randomization (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses") swaps the
    predictions of the two systems for a random half of the examples. No p-value is 0, because the observed difference
    counts as one more resample (Phipson and Smyth 2010). Metrics of probabilities or values get as many resamples as in
    :func:`bertwright.metrics.bootstrap_intervals`. Resamples in which a metric is undefined are ignored.

    Args:
        names: metrics that apply to the task.
        first, second: the outcomes of the two systems on the same examples in the same order.
        seed: the random seed of the resamples.
        resamples: R.
        level: the confidence level of the intervals.

    Raises:
        RecipeError: a metric is unknown or does not apply to the task.
        DataError: the examples differ, or a metric needs probabilities that are missing.
    """
    if type(first) is not type(second):
        raise DataError(
            f"comparison: the first system is for {first.kind}, the second for {second.kind}; compare one task."
        )
    both = first.concatenate(second)
    chosen = check_metrics(names, both.kind, len(both.labels) or None)
    comparisons: dict[str, MetricComparison] = {}
    for occurrences, metrics in evaluation.group_by_counts(chosen, both):
        scores = partial(_of_counts, occurrences, metrics)
        comparisons |= _test(scores, _Pairs.of(occurrences.patterns), occurrences.width, seed, resamples, level)
    for limit, row_metrics in _by_limit(chosen, first, resamples).items():
        scores = partial(_of_rows, both, row_metrics)
        comparisons |= _test(scores, _Pairs.of(np.arange(len(both))), len(both), seed, limit, level)
    return {name: comparisons[name] for name in chosen}


def mcnemar(first_right: NDArray[Any], second_right: NDArray[Any]) -> McNemar:
    """McNemar's exact test (1947): a binomial test on the rows that only one of two systems predicts correctly.

    Args:
        first_right, second_right: (B,), whether each row is predicted correctly: ``outcome.right``.

    Raises:
        DataError: the two have different numbers of rows.
    """
    from scipy.stats import binomtest  # importing it takes a second

    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape:
        raise DataError(
            f"comparison: the systems have {first.size} and {second.size} rows; evaluate both on the same rows."
        )
    a, b = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(a, b, float(binomtest(a, a + b).pvalue) if a + b else 1.0)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The J distinct pairs of patterns that two systems' rows have, and the count of each.

    Attributes:
        sides: the pattern of the first and of the second system, (J,) each.
        sizes: (J,).
        n_patterns: K.
    """

    sides: tuple[Ints, Ints]
    sizes: Ints
    n_patterns: int

    @classmethod
    def of(cls, patterns: Ints) -> _Pairs:
        """Build the pairs from the patterns of the first system's rows followed by the second's, (2B,)."""
        first, second = np.split(patterns, 2)
        n_patterns = int(patterns.max()) + 1
        pairs, sizes = np.unique(first * n_patterns + second, return_counts=True)
        return cls((pairs // n_patterns, pairs % n_patterns), sizes, n_patterns)

    def weights(self, side: int, of_pairs: NDArray[Any]) -> Floats:
        """Return how often each pattern occurs, (R, K), for one side of the pairs with counts (R, J)."""
        order = np.argsort(self.sides[side], kind="stable")
        present, starts = np.unique(self.sides[side][order], return_index=True)
        ordered = of_pairs[:, order]
        weights = np.zeros((len(of_pairs), self.n_patterns))
        weights[:, present] = np.add.reduceat(ordered, starts, axis=1) if len(present) < len(order) else ordered
        return weights

    def redraw(self, rng: np.random.Generator, resamples: int) -> NDArray[Any]:
        """Draw how often each pair occurs in bootstrap resamples of the rows, (R, J)."""
        rows = int(self.sizes.sum())
        if rows == len(self.sizes):  # the same distribution, and faster
            return evaluation.draw_row_weights(rng, rows, resamples)
        return rng.multinomial(rows, self.sizes / rows, resamples)

    def draw_swaps(self, rng: np.random.Generator, resamples: int) -> NDArray[Any]:
        """Draw for how many rows of each pair the two systems are swapped, (R, J)."""
        shape = (resamples, len(self.sizes))
        return rng.integers(0, 2, shape) if self.sizes.max() == 1 else rng.binomial(self.sizes, 0.5, shape)


def _of_counts(
    occurrences: LabelOccurrences, metrics: dict[str, Callable[[Counts], Floats]], weights: Floats
) -> dict[str, Floats]:
    counts = occurrences.count(weights)
    return {name: score(counts) for name, score in metrics.items()}


def _of_rows(
    both: AnyOutcome, metrics: dict[str, Callable[[Any, Floats], Floats]], weights: Floats
) -> dict[str, Floats]:
    return {name: score(both, weights) for name, score in metrics.items()}


def _by_limit(
    names: Iterable[str], outcome: AnyOutcome, resamples: int
) -> dict[int, dict[str, Callable[[Any, Floats], Floats]]]:
    """Group the metrics that weight rows by their number of resamples."""
    grouped: dict[int, dict[str, Callable[[Any, Floats], Floats]]] = {}
    for name, score in evaluation.select_row_metrics(names):
        grouped.setdefault(evaluation.limit_resamples(name, outcome, resamples), {})[name] = score
    return grouped


def _test(
    scores: Scores, pairs: _Pairs, width: int, seed: int, resamples: int, level: float
) -> dict[str, MetricComparison]:
    first, second = (scores(pairs.weights(side, pairs.sizes[None])) for side in (0, 1))
    redrawn: dict[str, list[Floats]] = {name: [] for name in first}
    swapped: dict[str, list[Floats]] = {name: [] for name in first}
    redraws, swaps = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    for size in _chunks(resamples, max(width, pairs.n_patterns, len(pairs.sizes))):
        drawn, moved = pairs.redraw(redraws, size), pairs.draw_swaps(swaps, size)
        stayed = pairs.sizes - moved
        same = [pairs.weights(side, drawn) for side in (0, 1)]
        mixed = [pairs.weights(side, stayed) + pairs.weights(1 - side, moved) for side in (0, 1)]
        for differences, sides in ((redrawn, same), (swapped, mixed)):
            of_first, of_second = (scores(weights) for weights in sides)
            for name in of_first:
                differences[name].append(of_second[name] - of_first[name])
    return {
        name: _summarize(first[name], second[name], np.concatenate(redrawn[name]), np.concatenate(swapped[name]), level)
        for name in first
    }


def _chunks(resamples: int, width: int) -> Iterator[int]:
    size = max(1, evaluation.CHUNK // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _summarize(first: Floats, second: Floats, redrawn: Floats, swapped: Floats, level: float) -> MetricComparison:
    difference = float(second[0] - first[0])
    turned = min(_share(redrawn <= _TOLERANCE, redrawn), _share(redrawn >= -_TOLERANCE, redrawn))
    return MetricComparison(
        float(first[0]),
        float(second[0]),
        difference,
        evaluation.percentile_interval(redrawn, level),
        float(np.minimum(2 * turned, 1.0)),
        _share(np.abs(swapped) >= abs(difference) - _TOLERANCE, swapped),
        len(redrawn),
    )


def _share(which: NDArray[np.bool_], differences: Floats) -> float:
    """Return the fraction of selected differences, counting the observed one as one more; nan if none is defined."""
    defined = ~np.isnan(differences)
    return float((which[defined].sum() + 1) / (defined.sum() + 1)) if defined.any() else float("nan")
