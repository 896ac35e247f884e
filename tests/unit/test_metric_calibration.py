"""Temperatures, calibration error and thresholds per label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from bertwright.errors import DataError
from bertwright.metrics import Outcome, compute_metrics
from bertwright.metrics.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    calibrate,
    compute_confidence,
    expected_calibration_error,
    reliability_bins,
)
from bertwright.metrics.thresholds import tune_thresholds


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def honest(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose softmax is the true distribution that the classes are drawn from."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, 3)) * 2
    return scores, np.array([rng.choice(3, p=p) for p in softmax(scores)])


# --- temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_a_temperature_undoes_what_scores_were_multiplied_with(factor: float) -> None:
    scores, gold = honest(4000)
    plain, found = calibrate(scores, gold), calibrate(scores * factor, gold)
    assert plain.temperature == pytest.approx(1, abs=0.06)
    assert found.temperature == pytest.approx(plain.temperature * factor)
    assert found.after.log_loss == pytest.approx(plain.after.log_loss)
    assert found.after.log_loss <= found.before.log_loss
    if factor != 1:
        assert found.after.ece < found.before.ece / 3
    assert not found.unbounded


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_it_is_the_minimum_that_scipy_finds(seed: int, n_classes: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(60, n_classes)) * scale
    gold = np.where(rng.random(60) < 0.5, scores.argmax(1), rng.integers(0, n_classes, 60))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[np.arange(60), gold].mean())

    found = calibrate(scores, gold)
    best = minimize_scalar(
        loss, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded", options={"xatol": 1e-9}
    )
    assert found.after.log_loss <= best.fun + 1e-9
    assert found.after.log_loss == pytest.approx(loss(np.log(found.temperature)))
    if not found.unbounded:
        assert np.log(found.temperature) == pytest.approx(best.x, abs=1e-3)


def test_before_and_after_are_the_metrics() -> None:
    scores, gold = honest(500)
    found = calibrate(2 * scores, gold)
    for trust, factor in ((found.before, 1.0), (found.after, 1 / found.temperature)):
        probabilities = softmax(2 * scores * factor)
        metrics = compute_metrics(
            ["log_loss", "ece"], Outcome("classification", gold, probabilities.argmax(1), tuple("abc"), probabilities)
        )
        assert (trust.log_loss, trust.ece) == pytest.approx((metrics["log_loss"], metrics["ece"]))


def test_labels_that_each_hold_or_not() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 4)) * 2
    gold = (rng.random(scores.shape) < 1 / (1 + np.exp(-scores))).astype(int)
    found = calibrate(scores * 2.5, gold)
    assert found.temperature == pytest.approx(2.5, rel=0.06)
    assert found.after.ece < 0.02 < found.before.ece
    probabilities = 1 / (1 + np.exp(-2.5 * scores))
    metrics = compute_metrics(
        ["log_loss"], Outcome("multilabel", gold, probabilities > 0.5, tuple("abcd"), probabilities)
    )
    assert found.before.log_loss == pytest.approx(metrics["log_loss"])
    sure, right = compute_confidence(scores, gold)
    assert sure.shape == right.shape == (12_000,)
    assert right.mean() == pytest.approx(((scores > 0) == gold).mean())


def test_where_nothing_bounds_the_temperature() -> None:
    scores = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert calibrate(scores, np.array([0, 1])).temperature == MIN_TEMPERATURE
    assert calibrate(scores, np.array([1, 0])).temperature == MAX_TEMPERATURE
    assert calibrate(scores, np.array([1, 0])).unbounded


def test_large_scores_do_no_harm() -> None:
    found = calibrate(np.array([[1e4, 0.0], [0.0, 1e4], [1e4, 0.0]]), np.array([0, 1, 1]))
    assert np.isfinite([found.before.log_loss, found.after.log_loss]).all()
    assert found.after.log_loss < found.before.log_loss


@pytest.mark.parametrize(
    ("scores", "gold", "said"),
    [
        (np.zeros((0, 2)), np.zeros(0), "at least one row"),
        (np.zeros((3, 2)), np.zeros(2), r"scores of shape \(3, 2\) do not match labels of shape \(2,\)"),
        (np.zeros((3, 2)), np.zeros((3, 3)), r"do not match labels of shape \(3, 3\)"),
        (np.zeros((2, 2)), np.array([0, 2]), "must be in 0…1, but range from 0 to 2"),
        (np.zeros((1, 2)), np.array([[0, 2]]), "must be in 0…1"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "scores are NaN or infinite"),
    ],
)
def test_scores_that_do_not_fit(scores: np.ndarray, gold: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        calibrate(scores, gold)


# --- calibration error ---------------------------------------------------------------------------


def test_the_error_by_hand() -> None:
    sure, right = np.array([0.55, 0.6, 0.95, 1.0, 0.0]), np.array([True, False, True, True, False])
    bars = reliability_bins(sure, right, bins=10)
    assert [(bar.low, bar.high, bar.count) for bar in bars] == [(0.0, 0.1, 1), (0.5, 0.6, 2), (0.9, 1.0, 2)]
    assert [bar.confidence for bar in bars] == pytest.approx([0, 0.575, 0.975])
    assert [bar.accuracy for bar in bars] == pytest.approx([0, 0.5, 1])
    assert expected_calibration_error(sure, right, bins=10) == pytest.approx((2 * 0.075 + 2 * 0.025) / 5)


@pytest.mark.parametrize("sure", [[], [0.5, 0.5], [1.5], [float("nan")]])
def test_confidences_that_cannot_be(sure: list[float]) -> None:
    with pytest.raises(DataError, match="give one from 0 to 1 for each of at least one prediction"):
        expected_calibration_error(np.array(sure), np.ones(min(len(sure), 1)))


# --- thresholds ----------------------------------------------------------------------------------


def f1_at(scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    said = scores >= threshold
    return float(2 * (said & truth).sum() / max(1, said.sum() + truth.sum()))


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from((2, 5, 1000)))
@settings(max_examples=100, deadline=None)
def test_no_threshold_is_better_and_none_as_good_is_nearer(seed: int, rows: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, steps + 1, (rows, 2)) / steps, rng.random((rows, 2)) < 0.4
    found = tune_thresholds(scores, truth, ("a", "b"))
    for i, label in enumerate(("a", "b")):
        mine, column = found.values[label], scores[:, i]
        assert found.after[label] == pytest.approx(f1_at(column, truth[:, i], mine))
        assert found.before[label] == pytest.approx(f1_at(column, truth[:, i], 0.5))
        assert found.after[label] >= found.before[label]
        if not truth[:, i].any():
            assert label in found.never_true
            assert mine == 0.5
            continue
        for other in {0.5, *column.tolist()}:
            value = f1_at(column, truth[:, i], other)
            assert value <= found.after[label] + 1e-12
        if found.after[label] == found.before[label]:
            assert mine == 0.5


def test_thresholds_by_hand() -> None:
    probabilities = np.array([[0.9, 0.2, 0.1], [0.3, 0.2, 0.4], [0.2, 0.1, 0.3], [0.1, 0.0, 0.2]])
    gold = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    found = tune_thresholds(probabilities, gold, ("rare", "rarer", "never"))
    assert found.values == pytest.approx({"rare": 0.25, "rarer": 0.15, "never": 0.5})
    assert found.before == pytest.approx({"rare": 2 / 3, "rarer": 0, "never": 0})
    assert found.after == pytest.approx({"rare": 1, "rarer": 1, "never": 0})
    assert found.never_true == ("never",)
    assert found.macro_f1 == pytest.approx((2 / 9, 2 / 3))


def test_neighbouring_floats_are_parted() -> None:
    high = 0.3
    scores = np.array([[high], [np.nextafter(high, 0)]])
    found = tune_thresholds(scores, np.array([[1], [0]]), ("a",))
    assert found.after == {"a": 1.0}


@pytest.mark.parametrize("shape", [(0, 2), (3, 1)])
def test_probabilities_that_do_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"do not match 2 labels; give \(B, 2\) of both and at least one row"):
        tune_thresholds(np.zeros(shape), np.zeros(shape), ("a", "b"))
