"""Extrapolation of a learning curve to twice the data: an inverse power law with a bootstrap interval.

Letters: R resamples, S sizes, G exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics import METRICS, Metric
from bertwright.run.report import show

EXPONENTS = (0.05, 2.0)
"""Range of the exponent. Hestness et al. 2017 measured 0.07 to 0.35 on large data sets; small ones can be steeper."""

RESAMPLES = 2_000
SEED = 0
LEVEL = 0.95
"""Number and random seed of the resamples, and the level of the interval."""

MIN_SIZES, MIN_RUNS = 3, 2
"""The law has three parameters, and a standard deviation needs two runs."""

SIGNIFICANT = 2.0
"""A difference of two means counts if it exceeds this multiple of its standard error."""

NO_GAIN = 0.01
"""The interval reaches 0 if its lower end is below this share of the gain; the constraints keep it above 0."""

MISFIT_LEVEL = 0.01
"""Level of the F test of lack of fit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """error(n) = limit + factor · n^−exponent, where the error is the distance to the best value of the metric.

    Attributes:
        limit: the error with endless data, (R,); at least 0.
        factor: the reducible error with one row, (R,); at least 0.
        exponent: the rate, (R,); in :data:`EXPONENTS`.
    """

    limit: Floats
    factor: Floats
    exponent: Floats

    def error(self, rows: float) -> Floats:
        """The error with a number of training rows, (R,)."""
        error: Floats = self.limit + self.factor * rows**-self.exponent
        return error


@dataclass(frozen=True)
class Extrapolation:
    """What twice as many training rows are expected to bring.

    Attributes:
        metric: name of the metric.
        rows: the largest number of training rows of the curve.
        score: the score of the fitted law with these rows.
        doubled: the expected score with twice the rows.
        interval: the 95 % interval of the improvement, not of the score; positive values are better.
        law: the fitted law, with a single set of parameters.
    """

    metric: str
    rows: int
    score: float
    doubled: float
    interval: tuple[float, float]
    law: PowerLaw

    @property
    def gain(self) -> float:
        """The expected improvement; at least 0, also for metrics that fall."""
        return abs(self.doubled - self.score)

    @property
    def score_interval(self) -> tuple[float, float]:
        """The 95 % interval of the score with twice the rows: the score of the law plus that of the improvement."""
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        low, high = sorted(self.score + sign * value for value in self.interval)
        return low, high

    def scores(self, rows: Sequence[float]) -> Floats:
        """The scores of the law with these numbers of rows, (S,)."""
        return _to_scores(METRICS[self.metric], np.concatenate([self.law.error(n) for n in rows]))

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate and the parameters of the law as plain values."""
        limit, factor, exponent = (float(each[0]) for each in (self.law.limit, self.law.factor, self.law.exponent))
        return {
            "rows": self.rows,
            "score": self.score,
            "doubled_rows": 2 * self.rows,
            "doubled_score": self.doubled,
            "gain": self.gain,
            "gain_interval": list(self.interval),
            "law": {"limit": limit, "factor": factor, "exponent": exponent},
        }

    def describe(self) -> str:
        """Return the expected improvement as a sentence."""
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        unit = _points(METRICS[self.metric])
        if unit is None:
            gain, *ends = (f"{sign * value:+.4f}" for value in (self.gain, *self.interval))
        else:
            gain, *ends = (f"{value / unit:+.1f}" for value in (self.gain, *self.interval))
            gain += " points"
        low, high = ends if sign > 0 else ends[::-1]
        return (
            f"doubling the data from {self.rows:,} to {2 * self.rows:,} rows: {gain} of {self.metric} expected "
            f"(95 % interval {low} to {high}), {show(self.metric, self.score)} to {show(self.metric, self.doubled)}"
        )


def extrapolate(scores: Mapping[int, Sequence[float]], metric: str) -> Extrapolation:
    """Fit an inverse power law to the mean scores, and estimate the effect of twice the data.

    The law is that of Cortes et al. 1994 and Hestness et al. 2017 (arXiv 1712.00409). As in Figueroa et al. 2012,
    larger sizes have larger weights. The interval is a parametric bootstrap: means are drawn from Student's t
    distribution with the standard error of each size, whose variance is pooled with that of the neighboring sizes.

    Args:
        scores: number of training rows → the score of each run.
        metric: name of the metric.

    Raises:
        DataError: there is no reliable estimate; the message is a clause that gives the reason.
    """
    sizes = sorted(size for size, values in scores.items() if values)
    if len(sizes) < MIN_SIZES:
        raise DataError(f"an estimate needs at least {MIN_SIZES} sizes with a score, not {len(sizes)}")
    if too_few := [size for size in sizes if len(scores[size]) < MIN_RUNS]:
        raise DataError(
            f"an estimate needs at least {MIN_RUNS} runs with a score at every size, not 1 (at {too_few[0]:,})"
        )
    spec = METRICS[metric]
    errors = [_to_errors(spec, np.array(scores[size], np.float64)) for size in sizes]
    means = np.array([values.mean() for values in errors])
    deviations, freedom = _standard_errors(errors)
    _check_improvement(sizes, means, deviations, metric)
    law = fit_power_law(sizes, means[None])
    _check_fit(law, sizes, means, deviations, int(sum(len(values) - 1 for values in errors)))
    noise = np.random.default_rng(SEED).standard_t(freedom, (RESAMPLES, len(sizes)))
    resampled = fit_power_law(sizes, np.maximum(means + noise * deviations, 0.0))
    gains = resampled.error(sizes[-1]) - resampled.error(2 * sizes[-1])
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    score, doubled = (float(_to_scores(spec, law.error(n))[0]) for n in (sizes[-1], 2 * sizes[-1]))
    if (high - low) / 2 > abs(doubled - score) or low < NO_GAIN * abs(doubled - score):
        raise DataError("the spread between runs is too large compared with the gain; use more seeds or more sizes")
    return Extrapolation(metric, sizes[-1], score, doubled, (low, high), law)


def fit_power_law(sizes: Sequence[int], errors: Floats) -> PowerLaw:
    """Fit the law to errors by weighted least squares; the weight of a size is its rank.

    For a given exponent the law is linear in the other parameters, so the search is over the exponent alone (variable
    projection, Golub and Pereyra 1973). It needs no start values and finds the global minimum.

    Args:
        sizes: S numbers of rows, ascending.
        errors: (R, S).

    Returns:
        The law of each of the R rows.
    """
    rows = np.array(sizes, np.float64) / sizes[-1]  # so that the factor does not overflow
    weights = np.arange(1, len(sizes) + 1) / len(sizes)
    low, high = np.log(EXPONENTS)
    best = np.full(len(errors), (low + high) / 2)
    width = (high - low) / 2
    for _ in range(3):
        grid = np.clip(best[:, None] + width * np.linspace(-1, 1, 31), low, high)  # (R, G)
        _, _, losses = _solve(rows, weights, errors, np.exp(grid))
        best = np.take_along_axis(grid, losses.argmin(1)[:, None], 1)[:, 0]
        width /= 15
    exponents = np.exp(best)
    limits, factors, _ = _solve(rows, weights, errors, exponents[:, None])
    return PowerLaw(limits[:, 0], factors[:, 0] * float(sizes[-1]) ** exponents, exponents)


def _solve(rows: Floats, weights: Floats, errors: Floats, exponents: Floats) -> tuple[Floats, Floats, Floats]:
    """The limits and factors, both at least 0, and the weighted squared errors for given exponents, each (R, G)."""
    powers = rows ** -exponents[..., None]  # (R, G, S)
    share = weights / weights.sum()
    mean_power, mean_error = (powers * share).sum(-1), (errors * share).sum(-1)[:, None]
    centered = powers - mean_power[..., None]
    covariance = (share * centered * errors[:, None]).sum(-1)
    factors = np.maximum(covariance / (share * centered**2).sum(-1), 0.0)
    limits = mean_error - factors * mean_power
    # where the limit would be negative, it is 0 and the factor is fitted alone
    through_zero = (share * powers * errors[:, None]).sum(-1) / (share * powers**2).sum(-1)
    factors = np.where(limits < 0, np.maximum(through_zero, 0.0), factors)
    limits = np.maximum(limits, 0.0)
    residuals = errors[:, None] - limits[..., None] - factors[..., None] * powers
    return limits, factors, (share * residuals**2).sum(-1)


def _standard_errors(errors: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The standard error of the mean of each size and its degrees of freedom, both (S,); variances are pooled."""
    squares = np.array([((values - values.mean()) ** 2).sum() for values in errors])
    freedom = np.array([len(values) - 1.0 for values in errors])
    # few seeds estimate a variance badly, and the variances of neighboring sizes are similar
    pooled_squares, pooled_freedom = (np.convolve(each, np.ones(3), "same") for each in (squares, freedom))
    counts = np.array([len(values) for values in errors])
    return np.sqrt(pooled_squares / pooled_freedom / counts), pooled_freedom


def _check_improvement(sizes: Sequence[int], means: Floats, deviations: Floats, metric: str) -> None:
    """Check that the errors fall from the smallest to the largest size, and rise nowhere by more than the noise."""

    def describe(i: int) -> str:
        score = float(_to_scores(METRICS[metric], means[i : i + 1])[0])
        return f"{show(metric, score)} with {sizes[i]:,} rows"

    for i in range(1, len(sizes)):
        best = int(means[:i].argmin())
        if means[i] - means[best] > SIGNIFICANT * math.hypot(deviations[best], deviations[i]):
            raise DataError(f"more rows give a worse {metric}: {describe(best)}, {describe(i)}; use more seeds")
    last = len(sizes) - 1
    if means[0] - means[last] <= SIGNIFICANT * math.hypot(deviations[0], deviations[last]):
        raise DataError(f"the curve is flat: {metric} does not improve measurably ({describe(0)}, {describe(last)})")


def _check_fit(law: PowerLaw, sizes: Sequence[int], means: Floats, deviations: Floats, freedom: int) -> None:
    """Check that the law explains the means up to the noise of the runs (F test of lack of fit)."""
    from scipy.stats import f as f_distribution

    fitted = np.concatenate([law.error(size) for size in sizes])
    noise = np.maximum(deviations, 0.01 * np.ptp(means))  # equal scores by chance are no evidence of exact ones
    # the law passes through three points unless a constraint prevents it
    surplus = max(len(sizes) - MIN_SIZES, 1)
    misfit = float((((means - fitted) / noise) ** 2).sum()) / surplus
    if misfit > f_distribution.ppf(1 - MISFIT_LEVEL, surplus, freedom):
        raise DataError("a power law does not fit the scores; use larger sizes")


def _to_errors(metric: Metric, scores: Floats) -> Floats:
    """The distance to the best value of the metric."""
    errors: Floats = metric.range[1] - scores if metric.higher_is_better else scores - metric.range[0]
    return errors


def _to_scores(metric: Metric, errors: Floats) -> Floats:
    """The inverse of :func:`_to_errors`."""
    scores: Floats = metric.range[1] - errors if metric.higher_is_better else errors + metric.range[0]
    return scores


def _points(metric: Metric) -> float | None:
    """The size of a point of a metric that is a share or a percentage; None for any other metric."""
    if not metric.higher_is_better or metric.range[0] != 0.0:
        return None
    return {1.0: 0.01, 100.0: 1.0}.get(metric.range[1])
