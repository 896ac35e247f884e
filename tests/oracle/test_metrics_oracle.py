"""Metrics against scikit-learn and scipy, on random, tied and degenerate input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from bertwright.metrics import METRICS, Outcome, compute_metrics, confusion_matrix, list_metrics, per_class_metrics
from bertwright.metrics.outcome import Floats, OutcomeKind

LABELS = tuple("abcdefgh")


@st.composite
def random_outcomes(draw: st.DrawFn, kind: OutcomeKind, n_labels: int | None = None) -> Outcome:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 40))
    n = n_labels or draw(st.integers(2, 6))
    # Few different scores make ties; a skew makes classes absent and predictions constant.
    steps, skew = draw(st.sampled_from((1, 2, 5, 1000))), draw(st.sampled_from((0.0, 1.0, 4.0)))
    if kind == "regression":
        gold, predicted = rng.integers(0, steps, (2, rows)) / 7 + draw(st.sampled_from((0.0, 1e6)))
        return Outcome(kind, gold, predicted)
    raw = rng.integers(0, steps + 1, (rows, n)) / steps
    if kind == "multilabel":
        gold = rng.random((rows, n)) < np.exp(-skew)
        return Outcome(kind, gold, raw > 0.5, LABELS[:n], raw)
    odds = raw + 0.01
    gold = np.minimum((rng.random(rows) ** (1 + skew) * n).astype(int), n - 1)
    probabilities = odds / odds.sum(1, keepdims=True)
    return Outcome(kind, gold, probabilities.argmax(1), LABELS[:n], probabilities)


def quietly(function: Any, *args: Any, **settings: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **settings))


def mean_where_defined(function: Any, gold: Any, scores: Any, needs_both: bool) -> float:
    """The mean over the columns for which scikit-learn defines the score."""
    values = [
        function(gold[:, i], scores[:, i])
        for i in range(gold.shape[1])
        if gold[:, i].any() and (not needs_both or not gold[:, i].all())
    ]
    return float(np.mean(values)) if values else float("nan")


def expected_of_labels(o: Outcome) -> dict[str, float]:
    truth = {"accuracy": quietly(sk.accuracy_score, o.gold, o.predicted)}
    scores = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}
    for name, score in scores.items():
        for average in ("macro", "micro"):
            truth[f"{name}_{average}"] = quietly(score, o.gold, o.predicted, average=average, zero_division=0)
    if o.kind == "classification":
        truth["matthews"] = quietly(sk.matthews_corrcoef, o.gold, o.predicted)
        truth["cohen_kappa"] = np.nan_to_num(quietly(sk.cohen_kappa_score, o.gold, o.predicted))  # nan: one label only
        if len(o.labels) == 2:
            truth |= {name: quietly(score, o.gold, o.predicted, zero_division=0) for name, score in scores.items()}
    return truth


def expected_of_probabilities(o: Outcome) -> dict[str, float]:
    assert o.probabilities is not None
    if o.kind == "multilabel":
        columns, scores = o.gold, o.probabilities
        losses = [quietly(sk.log_loss, columns[:, i], scores[:, i], labels=[0, 1]) for i in range(columns.shape[1])]
        loss = float(np.mean(losses))
    else:
        columns, scores = np.eye(len(o.labels))[o.gold], o.probabilities
        if len(o.labels) == 2:
            columns, scores = columns[:, 1:], scores[:, 1:]
        loss = quietly(sk.log_loss, o.gold, o.probabilities, labels=list(range(len(o.labels))))
    return {
        "roc_auc": mean_where_defined(sk.roc_auc_score, columns, scores, needs_both=True),
        "average_precision": mean_where_defined(sk.average_precision_score, columns, scores, needs_both=False),
        "log_loss": loss,
    }


def expected_of_values(o: Outcome) -> dict[str, float]:
    few = len(o) < 2 or len(set(o.gold)) == 1 or len(set(o.predicted)) == 1
    return {
        "pearson": float("nan") if few else float(stats.pearsonr(o.gold, o.predicted).statistic),
        "spearman": float("nan") if few else float(stats.spearmanr(o.gold, o.predicted).statistic),
        "mse": float(sk.mean_squared_error(o.gold, o.predicted)),
        "mae": float(sk.mean_absolute_error(o.gold, o.predicted)),
    }


def weighted_reference_ece(o: Outcome) -> float:
    """As in Guo et al. 2017, equation 3, bin by bin."""
    assert o.probabilities is not None
    confidence, right = o.probabilities.max(1), o.probabilities.argmax(1) == o.gold
    total = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("n_labels", [2, None])
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_classification(data: st.DataObject, n_labels: int | None) -> None:
    o = data.draw(random_outcomes("classification", n_labels))
    expected = expected_of_labels(o) | expected_of_probabilities(o)
    names = list_metrics("classification", len(o.labels))
    assert set(names) - set(expected) == {"ece"}
    found = compute_metrics(names, o)
    assert found == pytest.approx(expected | {"ece": found["ece"]}, abs=1e-9, nan_ok=True)
    assert (
        confusion_matrix(o).tolist() == sk.confusion_matrix(o.gold, o.predicted, labels=range(len(o.labels))).tolist()
    )


@settings(max_examples=120, deadline=None)
@given(o=random_outcomes("multilabel"))
def test_multilabel(o: Outcome) -> None:
    expected = expected_of_labels(o) | expected_of_probabilities(o)
    assert set(list_metrics("multilabel", len(o.labels))) == set(expected)
    assert compute_metrics(expected, o) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(o=random_outcomes("regression"))
def test_regression(o: Outcome) -> None:
    expected = expected_of_values(o)
    assert set(list_metrics("regression")) == set(expected)
    assert compute_metrics(expected, o) == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_table_per_label(data: st.DataObject, kind: OutcomeKind) -> None:
    o = data.draw(random_outcomes(kind))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        o.gold, o.predicted, labels=range(len(o.labels)), average=None, zero_division=0
    )
    for i, row in enumerate(per_class_metrics(o).values()):
        expected = {"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": support[i]}
        assert row == pytest.approx(expected | {"predicted": row["predicted"]})


@settings(max_examples=40, deadline=None)
@given(o=random_outcomes("classification"))
def test_calibration_error(o: Outcome) -> None:
    assert compute_metrics(["ece"], o)["ece"] == pytest.approx(weighted_reference_ece(o), abs=1e-9)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_weighing_a_row_is_repeating_it(data: st.DataObject, kind: OutcomeKind) -> None:
    """The law the bootstrap rests on, for every metric that weighs rows."""
    o = data.draw(random_outcomes(kind))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    picks = rng.integers(0, len(o), (3, len(o)))
    weights: Floats = np.stack([np.bincount(row, minlength=len(o)) for row in picks]).astype(np.float64)
    for name in list_metrics(kind, len(o.labels)):
        from_rows = METRICS[name].from_rows
        if from_rows is None:
            continue
        expected = [
            from_rows(
                Outcome(
                    kind,
                    o.gold[row],
                    o.predicted[row],
                    o.labels,
                    None if o.probabilities is None else o.probabilities[row],
                ),
                np.ones((1, len(o))),
            )[0]
            for row in picks
        ]
        assert from_rows(o, weights) == pytest.approx(np.array(expected), abs=1e-6, nan_ok=True), name


def test_huge_and_tiny_values_neither_overflow_nor_vanish() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0])
    for scale in (1e-200, 1e200):
        found = compute_metrics(["pearson"], Outcome("regression", x * scale, x[::-1] * scale))
        assert found["pearson"] == pytest.approx(stats.pearsonr(x, x[::-1]).statistic)


def test_a_resample_far_from_the_mean_is_correlated_all_the_same() -> None:
    x, y = np.array([0.0, 0.1, 0.3, 100.0]), np.array([0.2, 0.1, 0.5, -100.0])
    weights = np.array([[1.0, 1.0, 2.0, 0.0], [4.0, 0.0, 0.0, 0.0]])
    pearson = METRICS["pearson"].from_rows
    assert pearson is not None
    found = pearson(Outcome("regression", x, y), weights)
    rows = [0, 1, 2, 2]
    assert found == pytest.approx([stats.pearsonr(x[rows], y[rows]).statistic, np.nan], nan_ok=True)


def test_f1_of_glue_is_about_the_second_label() -> None:
    assert METRICS["f1"].binary
    gold, predicted = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])
    assert compute_metrics(["f1"], Outcome("classification", gold, predicted, ("no", "yes")))["f1"] == pytest.approx(
        2 / 3
    )
