"""Extrapolation: the parameters of known curves, coverage of the interval, and curves without an estimate."""

from __future__ import annotations

import numpy as np
import pytest

from bertwright.errors import DataError
from bertwright.sweep import extrapolation
from bertwright.sweep.extrapolation import Extrapolation, extrapolate, fit_power_law

SIZES = [50, 100, 200, 400, 800]


def curve(
    limit: float, factor: float, exponent: float, noise: float = 0.0, seeds: int = 3, seed: int = 0
) -> dict[int, list[float]]:
    """The accuracy of runs whose error follows a power law, with more noise at smaller sizes."""
    rng = np.random.default_rng(seed)
    return {
        n: (1 - limit - factor * n**-exponent + noise * (50 / n) ** 0.5 * rng.standard_normal(seeds)).tolist()
        for n in SIZES
    }


@pytest.mark.parametrize(
    ("limit", "factor", "exponent"), [(0.0, 1.0, 0.3), (0.05, 2.0, 0.6), (0.2, 0.4, 0.1), (0.1, 30.0, 1.5)]
)
def test_known_parameters_are_recovered(limit: float, factor: float, exponent: float) -> None:
    errors = np.array([[limit + factor * n**-exponent for n in SIZES]])
    law = fit_power_law(SIZES, errors)
    assert float(law.exponent[0]) == pytest.approx(exponent, rel=1e-2)
    assert float(law.limit[0]) == pytest.approx(limit, abs=5e-3)
    assert float(law.factor[0]) == pytest.approx(factor, rel=3e-2)
    assert float(law.error(1600)[0]) == pytest.approx(limit + factor * 1600**-exponent, abs=1e-5)


def test_the_fit_is_constrained() -> None:
    falling = fit_power_law(SIZES, np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]))  # more rows, more errors
    assert (float(falling.factor[0]), float(falling.limit[0])) == (0.0, pytest.approx(0.3667, abs=1e-4))
    steep = fit_power_law(SIZES, np.array([[0.5, 0.2, 0.05, 0.0, 0.0]]))  # an unconstrained limit would be negative
    assert float(steep.limit[0]) >= 0
    assert 0.05 <= float(steep.exponent[0]) <= 2.0


def test_several_curves_are_fitted_at_once() -> None:
    first, second = np.array([[0.5, 0.4, 0.33, 0.3, 0.28]]), np.array([[0.4, 0.2, 0.1, 0.05, 0.025]])
    both = fit_power_law(SIZES, np.concatenate([first, second]))
    for i, each in enumerate((first, second)):
        alone = fit_power_law(SIZES, each)
        assert both.limit[i] == pytest.approx(alone.limit[0])
        assert both.exponent[i] == pytest.approx(alone.exponent[0])


def test_a_clear_curve_has_an_estimate() -> None:
    estimate = extrapolate(curve(0.05, 2.0, 0.6, noise=0.01), "accuracy")
    true = 2.0 * (800**-0.6 - 1600**-0.6)
    low, high = estimate.interval
    assert low < true < high
    assert estimate.gain == pytest.approx(true, abs=0.005)
    assert estimate.doubled > estimate.score
    assert estimate.score_interval[0] < estimate.doubled < estimate.score_interval[1]
    text = estimate.describe()
    assert text.startswith("doubling the data from 800 to 1,600 rows: +1.")
    assert f"points of accuracy expected (95 % interval +{100 * low:.1f} to +{100 * high:.1f})" in text
    plain = estimate.to_dict()
    assert plain["doubled_rows"] == 1600
    assert plain["gain_interval"] == [low, high]
    assert plain["law"].keys() == {"limit", "factor", "exponent"}
    assert estimate.scores([800, 1600]).tolist() == pytest.approx([estimate.score, estimate.doubled])


def test_metrics_for_which_lower_is_better() -> None:
    errors = {n: [value * 20 for value in values] for n, values in curve(0.0, 3.0, 0.5).items()}
    scores = {n: [21 - value + i / 50 for i, value in enumerate(values)] for n, values in errors.items()}
    perplexity = extrapolate(scores, "perplexity")  # at least 1, so its error is perplexity − 1
    assert perplexity.doubled < perplexity.score
    assert perplexity.gain == pytest.approx(60 * (800**-0.5 - 1600**-0.5), rel=0.05)
    low, high = perplexity.interval
    assert f"{-perplexity.gain:+.4f} of perplexity expected (95 % interval {-high:+.4f} to {-low:+.4f})" in (
        perplexity.describe()
    )
    assert perplexity.score_interval[0] < perplexity.doubled < perplexity.score_interval[1]


def test_units() -> None:
    percent = {n: [100 * value for value in values] for n, values in curve(0.05, 2.0, 0.6, noise=0.01).items()}
    share = extrapolate(curve(0.05, 2.0, 0.6, noise=0.01), "accuracy")
    points = extrapolate(percent, "answer_f1")
    assert points.gain == pytest.approx(100 * share.gain)
    assert f"{points.gain:+.1f} points of answer_f1 expected" in points.describe()
    correlation = extrapolate(curve(0.05, 2.0, 0.6, noise=0.01), "pearson")
    assert f"{correlation.gain:+.4f} of pearson expected" in correlation.describe()


def coverage(seeds: int) -> tuple[float, float]:
    """The share of intervals that hold the true gain, and the share of simulated curves that have an estimate."""
    true = 2.0 * (800**-0.6 - 1600**-0.6)
    estimates: list[Extrapolation] = []
    for seed in range(40):
        try:
            estimates.append(extrapolate(curve(0.05, 2.0, 0.6, noise=0.02, seeds=seeds, seed=seed), "accuracy"))
        except DataError:
            continue
    held = [estimate.interval[0] <= true <= estimate.interval[1] for estimate in estimates]
    return sum(held) / len(held), len(held) / 40


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_covers_the_true_gain(seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extrapolation, "RESAMPLES", 300)
    covered, estimated = coverage(seeds)
    assert covered >= 0.9
    assert estimated >= 0.3


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({100: [0.7, 0.71], 200: [0.8, 0.81]}, "needs at least 3 sizes with a score, not 2"),
        (
            {100: [0.7, 0.71], 200: [0.8, 0.81], 400: [0.9]},
            "at least 2 runs with a score at every size, not 1 (at 400)",
        ),
        ({50: [], 100: [0.7, 0.71], 200: [0.8, 0.81]}, "needs at least 3 sizes with a score, not 2"),
        ({100: [0.9, 0.8], 200: [0.85, 0.87], 400: [0.88, 0.83]}, "the curve is flat: accuracy does not improve"),
        ({100: [0.7, 0.7], 200: [0.9, 0.91], 400: [0.8, 0.81]}, "more rows give a worse accuracy: 0.9050 with 200"),
        (
            {50: [0.50, 0.51], 100: [0.5, 0.49], 200: [0.5, 0.51], 400: [0.95, 0.94]},
            "a power law does not fit the scores; use larger sizes",
        ),
        ({100: [0.6, 0.7], 200: [0.6, 0.75], 400: [0.82, 0.9]}, "the spread between runs is too large"),
    ],
)
def test_curves_without_a_reliable_estimate(scores: dict[int, list[float]], reason: str) -> None:
    with pytest.raises(DataError) as error:
        extrapolate(scores, "accuracy")
    assert reason in str(error.value)


def test_equal_scores_of_all_seeds() -> None:
    estimate = extrapolate({100: [0.7, 0.7], 200: [0.8, 0.8], 400: [0.87, 0.87]}, "accuracy")
    assert estimate.interval == pytest.approx((estimate.gain, estimate.gain))
    with pytest.raises(DataError, match="the curve is flat"):
        extrapolate({100: [1.0, 1.0], 200: [1.0, 1.0], 400: [1.0, 1.0]}, "accuracy")
