"""Whether one system is better than another, or was only luckier with these examples.

Both answer the same B examples, so that the tests are paired. For each metric there are two: the bootstrap asks how the
difference would vary with other examples, the permutation how large it would be if the two were the same. J different
pairs of rows, K patterns of rows, R resamples.
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
"""Weights (R, K) of patterns to each metric's (R,)."""

_SAME = 1e-10  # differences that are nearer than this differ by rounding alone


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """Two systems beside each other in one metric.

    Attributes:
        first, second: their values.
        difference: the second's less the first's.
        interval: of the difference, by the paired bootstrap.
        p_bootstrap: two-sided, how readily other examples would turn the difference to the other side.
        p_permutation: two-sided, how readily equal systems would differ as much: approximate randomisation.
        resamples: for each of the two.
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
    """Each metric of two systems on the same examples, with tests of the difference.

    The paired bootstrap (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation") draws
    examples anew; approximate randomisation (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses") swaps
    the two systems' answers by the toss of a coin an example. No p is 0: the observed difference counts as one more
    resample (Phipson and Smyth 2010). Metrics of probabilities or values get as many resamples as
    :func:`bertwright.metrics.bootstrap_intervals` gives them. Resamples in which a metric is undefined do not count.

    Args:
        names: of metrics that fit the task.
        first, second: what each system said of the same examples in the same order.
        seed: of the resamples.
        resamples: R.
        level: of the intervals.

    Raises:
        RecipeError: a name that is unknown or does not fit the task.
        DataError: the two are not about the same examples, or a metric needs what they lack.
    """
    if type(first) is not type(second):
        raise DataError(
            f"comparison: the first is a {first.kind} system, the second {second.kind}; compare like tasks."
        )
    both = first.concatenate(second)
    chosen = check_metrics(names, both.kind, len(both.labels) or None)
    found: dict[str, MetricComparison] = {}
    for tally, metrics in evaluation.group_by_counts(chosen, both):
        scores = partial(_of_counts, tally, metrics)
        found |= _test(scores, _Pairs.of(tally.patterns), tally.width, seed, resamples, level)
    for limit, together in _by_limit(chosen, first, resamples).items():
        scores = partial(_of_rows, both, together)
        found |= _test(scores, _Pairs.of(np.arange(len(both))), len(both), seed, limit, level)
    return {name: found[name] for name in chosen}


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
            f"comparison: the first has {first.size} rows, the second {second.size}; evaluate both on the same rows."
        )
    a, b = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(a, b, float(binomtest(a, a + b).pvalue) if a + b else 1.0)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Which patterns two systems' rows are of: the J different pairs, and how often each occurs.

    Attributes:
        sides: the first's and the second's pattern, (J,) each.
        sizes: (J,).
        n_patterns: K.
    """

    sides: tuple[Ints, Ints]
    sizes: Ints
    n_patterns: int

    @classmethod
    def of(cls, patterns: Ints) -> _Pairs:
        """Of the patterns of the first's rows and then the second's, (2B,)."""
        first, second = np.split(patterns, 2)
        n_patterns = int(patterns.max()) + 1
        pairs, sizes = np.unique(first * n_patterns + second, return_counts=True)
        return cls((pairs // n_patterns, pairs % n_patterns), sizes, n_patterns)

    def weights(self, side: int, of_pairs: NDArray[Any]) -> Floats:
        """How often each pattern occurs, (R, K), where one side of each pair occurs (R, J) times."""
        order = np.argsort(self.sides[side], kind="stable")
        present, starts = np.unique(self.sides[side][order], return_index=True)
        ordered = of_pairs[:, order]
        weights = np.zeros((len(of_pairs), self.n_patterns))
        weights[:, present] = np.add.reduceat(ordered, starts, axis=1) if len(present) < len(order) else ordered
        return weights

    def redraw(self, rng: np.random.Generator, resamples: int) -> NDArray[Any]:
        """How often each pair occurs in random resamples of as many rows, (R, J)."""
        rows = int(self.sizes.sum())
        if rows == len(self.sizes):  # the same distribution, and faster
            return evaluation.draw_row_weights(rng, rows, resamples)
        return rng.multinomial(rows, self.sizes / rows, resamples)

    def some(self, rng: np.random.Generator, resamples: int) -> NDArray[Any]:
        """How many of each pair's rows a coin tossed for every row picks, (R, J)."""
        shape = (resamples, len(self.sizes))
        return rng.integers(0, 2, shape) if self.sizes.max() == 1 else rng.binomial(self.sizes, 0.5, shape)


def _of_counts(
    tally: LabelOccurrences, metrics: dict[str, Callable[[Counts], Floats]], weights: Floats
) -> dict[str, Floats]:
    counts = tally.count(weights)
    return {name: score(counts) for name, score in metrics.items()}


def _of_rows(
    both: AnyOutcome, metrics: dict[str, Callable[[Any, Floats], Floats]], weights: Floats
) -> dict[str, Floats]:
    return {name: score(both, weights) for name, score in metrics.items()}


def _by_limit(
    names: Iterable[str], outcome: AnyOutcome, resamples: int
) -> dict[int, dict[str, Callable[[Any, Floats], Floats]]]:
    """The metrics that weigh rows, by how many resamples they get."""
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
        drawn, moved = pairs.redraw(redraws, size), pairs.some(swaps, size)
        stayed = pairs.sizes - moved
        same = [pairs.weights(side, drawn) for side in (0, 1)]
        mixed = [pairs.weights(side, stayed) + pairs.weights(1 - side, moved) for side in (0, 1)]
        for differences, sides in ((redrawn, same), (swapped, mixed)):
            one, other = (scores(weights) for weights in sides)
            for name in one:
                differences[name].append(other[name] - one[name])
    return {
        name: _compared(first[name], second[name], np.concatenate(redrawn[name]), np.concatenate(swapped[name]), level)
        for name in first
    }


def _chunks(resamples: int, width: int) -> Iterator[int]:
    size = max(1, evaluation.CHUNK // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _compared(first: Floats, second: Floats, redrawn: Floats, swapped: Floats, level: float) -> MetricComparison:
    difference = float(second[0] - first[0])
    turned = min(_share(redrawn <= _SAME, redrawn), _share(redrawn >= -_SAME, redrawn))
    return MetricComparison(
        float(first[0]),
        float(second[0]),
        difference,
        evaluation.percentile_interval(redrawn, level),
        float(np.minimum(2 * turned, 1.0)),
        _share(np.abs(swapped) >= abs(difference) - _SAME, swapped),
        len(redrawn),
    )


def _share(which: NDArray[np.bool_], differences: Floats) -> float:
    """The share of the differences, with what was observed as one more of them; nan if none is defined."""
    known = ~np.isnan(differences)
    return float((which[known].sum() + 1) / (known.sum() + 1)) if known.any() else float("nan")
