"""The metrics' table, intervals, baselines and alarms; the formulas are tested against scikit-learn in tests/oracle."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bertwright.errors import DataError, RecipeError
from bertwright.metrics import (
    DEFAULT_METRICS,
    METRICS,
    Outcome,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    confused_pairs,
    confusion_matrix,
    describe_collapse,
    evaluation,
    list_metrics,
    per_class_metrics,
    predict_majority,
)
from bertwright.metrics.outcome import OutcomeKind

LABELS = ("negative", "positive")


def classified(rows: int, accuracy: float, n_labels: int = 2, seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, n_labels, rows)
    right = rng.random(rows) < accuracy
    predicted = np.where(right, gold, (gold + 1) % n_labels)
    probabilities = rng.dirichlet(np.ones(n_labels), rows)
    return Outcome("classification", gold, predicted, tuple(f"label {i}" for i in range(n_labels)), probabilities)


def valued(rows: int, seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 26, rows) / 5
    return Outcome("regression", gold, gold + rng.normal(size=rows))


def tagged(rows: int, seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, 6))
    gold = rng.random((rows, 6)) < 0.5 * scores
    return Outcome("multilabel", gold, scores > 0.5, tuple("abcdef"), scores)


# --- the table -----------------------------------------------------------------------------------


def test_every_default_fits_and_comes_first() -> None:
    for kind, names in DEFAULT_METRICS.items():
        assert check_metrics(names, kind, 3) == names
    assert DEFAULT_METRICS["classification"][0] == "accuracy"


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_values_lie_in_their_range(kind: OutcomeKind) -> None:
    outcome = {"classification": classified(50, 0.7), "multilabel": tagged(50), "regression": valued(50)}[kind]
    values = compute_metrics(list_metrics(kind, 2), outcome)
    for name, value in values.items():
        low, high = METRICS[name].range
        assert low <= value <= high, name
        low, high = bootstrap_intervals([name], outcome, resamples=50)[name]
        assert METRICS[name].range[0] <= low <= high <= METRICS[name].range[1], name


@pytest.mark.parametrize(
    ("name", "kind", "n_labels", "said"),
    [
        ("acuracy", "classification", 2, r'metrics: unknown metric "acuracy"; did you mean "accuracy"\?'),
        ("zzz", "classification", 2, "known: accuracy, average_precision"),
        (
            "pearson",
            "classification",
            2,
            '"pearson" does not apply to classification; available: accuracy, matthews, f1,',
        ),
        ("f1", "classification", 3, '"f1" needs exactly two labels, not 3; available: .*f1_macro'),
        ("f1", "multilabel", 2, '"f1" does not apply to multilabel; available: accuracy, f1_macro'),
        (
            "accuracy",
            "regression",
            None,
            '"accuracy" does not apply to regression; available: pearson, spearman, mse, mae',
        ),
    ],
)
def test_names_that_cannot_be(name: str, kind: OutcomeKind, n_labels: int | None, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_metrics([name], kind, n_labels)


def test_names_are_accepted_while_the_labels_are_unknown_and_count_once() -> None:
    assert check_metrics(["f1", "accuracy", "f1"], "classification") == ("f1", "accuracy")


def test_improving_knows_the_direction_and_nan() -> None:
    nan = float("nan")
    assert METRICS["accuracy"].improves(0.9, 0.8)
    assert not METRICS["accuracy"].improves(0.8, 0.8)
    assert METRICS["mse"].improves(0.8, 0.9)
    assert METRICS["mse"].improves(0.8, None)
    assert METRICS["mse"].improves(0.8, nan)
    assert not METRICS["pearson"].improves(nan, None)


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "gold", "predicted", "said"),
    [
        ("classification", [], [], "there are no examples"),
        ("classification", [0, 1], [0], r"predicted must have shape \(2,\), but has \(1,\)"),
        ("classification", [0, 2], [0, 1], r"gold must be in 0…1, but ranges from 0 to 2"),
        ("classification", [0, -1], [0, 1], r"gold must be in 0…1, but ranges from -1 to 0"),
        ("multilabel", [0, 1], [0, 1], r"gold must have shape \(2, 2\), but has \(2,\)"),
        ("multilabel", [[0, 2]], [[0, 1]], "gold must be in 0…1"),
        ("regression", [0.5, 1.0], [0.5, float("nan")], "1 of 2 values of predicted are NaN or infinite"),
    ],
)
def test_parts_that_do_not_fit(kind: OutcomeKind, gold: list[float], predicted: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Outcome(kind, np.array(gold), np.array(predicted), () if kind == "regression" else LABELS)


def test_probabilities_must_fit_and_be_there() -> None:
    gold = np.array([0, 1])
    with pytest.raises(DataError, match=r"probabilities must be finite with shape \(2, 2\), but have shape \(2,\)"):
        Outcome("classification", gold, gold, LABELS, np.array([0.5, 0.5]))
    with pytest.raises(DataError, match="needs probabilities, but the predictions are labels"):
        compute_metrics(["roc_auc"], Outcome("classification", gold, gold, LABELS))


# --- degenerate cases ----------------------------------------------------------------------------


def test_the_undefined_is_zero_or_nan_never_a_warning() -> None:
    zeros, halves = np.zeros(5, int), np.full((5, 2), 0.5)
    one_class = Outcome("classification", zeros, zeros, LABELS, halves)
    found = compute_metrics(list_metrics("classification", 2), one_class)
    assert [name for name, value in found.items() if np.isnan(value)] == ["roc_auc", "average_precision"]
    assert [found[name] for name in ("accuracy", "matthews", "f1", "recall")] == [1.0, 0.0, 0.0, 0.0]
    flat = Outcome("regression", np.arange(5.0), np.full(5, 0.1))
    found = compute_metrics(list_metrics("regression"), flat)
    assert [name for name, value in found.items() if np.isnan(value)] == ["pearson", "spearman"]
    assert all(METRICS[name].undefined for name in ("roc_auc", "average_precision", "pearson", "spearman"))
    assert np.isnan(bootstrap_intervals(["pearson"], flat, resamples=20)["pearson"]).all()
    single = Outcome("regression", np.array([1.0]), np.array([2.0]))
    assert np.isnan(compute_metrics(["pearson"], single)["pearson"])


# --- intervals -----------------------------------------------------------------------------------


def test_intervals_hold_the_value_depend_on_the_seed_only_and_shrink() -> None:
    small, large = classified(200, 0.8), classified(20_000, 0.8)
    names = ["accuracy", "f1", "matthews", "log_loss"]
    first = bootstrap_intervals(names, small)
    assert first == bootstrap_intervals(names, small, seed=0)
    assert first != bootstrap_intervals(names, small, seed=1)
    assert first["accuracy"] == bootstrap_intervals(["accuracy"], small)["accuracy"]
    for outcome in (small, large):
        values = compute_metrics(names, outcome)
        for name, (low, high) in bootstrap_intervals(names, outcome).items():
            assert low < values[name] < high
    narrow, wide = (np.diff(bootstrap_intervals(["accuracy"], o)["accuracy"])[0] for o in (large, small))
    assert narrow == pytest.approx(wide / 10, rel=0.25)


def test_the_interval_of_accuracy_is_the_binomial_one() -> None:
    outcome = classified(1000, 0.9)
    p = compute_metrics(["accuracy"], outcome)["accuracy"]
    half = 1.96 * (p * (1 - p) / 1000) ** 0.5
    assert bootstrap_intervals(["accuracy"], outcome, resamples=4000)["accuracy"] == pytest.approx(
        (p - half, p + half), abs=0.003
    )


def test_counts_drawn_directly_are_distributed_as_resampled_rows() -> None:
    outcome = classified(120, 0.7, n_labels=3)
    names = ["accuracy", "f1_macro", "matthews"]
    rng = np.random.default_rng(5)
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1500):
        rows = rng.integers(0, 120, 120)
        for name, value in compute_metrics(
            names, Outcome("classification", outcome.gold[rows], outcome.predicted[rows], outcome.labels)
        ).items():
            drawn[name].append(value)
    for name, interval in bootstrap_intervals(names, outcome, resamples=4000).items():
        assert interval == pytest.approx(tuple(np.quantile(drawn[name], (0.025, 0.975))), abs=0.015), name


def test_the_budget_cuts_the_resamples_of_rank_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tagged(50)
    full = bootstrap_intervals(["roc_auc", "f1_micro"], outcome, resamples=300)
    monkeypatch.setattr(evaluation, "ROW_METRIC_BUDGET", 120 * 50 * 6)
    cut = bootstrap_intervals(["roc_auc", "f1_micro"], outcome, resamples=300)
    assert cut["f1_micro"] == full["f1_micro"]
    assert cut["roc_auc"] == bootstrap_intervals(["roc_auc"], outcome, resamples=120)["roc_auc"] != full["roc_auc"]
    monkeypatch.setattr(evaluation, "ROW_METRIC_BUDGET", 1)
    assert bootstrap_intervals(["roc_auc"], outcome, resamples=300) == bootstrap_intervals(
        ["roc_auc"], outcome, resamples=100
    )


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = classified(40, 0.7)
    names = ["accuracy", "roc_auc", "log_loss"]
    whole = bootstrap_intervals(names, outcome, resamples=70)
    monkeypatch.setattr(evaluation, "CHUNK", 40 * 9)
    for name, interval in bootstrap_intervals(names, outcome, resamples=70).items():
        assert interval == pytest.approx(whole[name]), name


def test_a_thousand_resamples_are_quick() -> None:
    started = time.perf_counter()
    bootstrap_intervals(["accuracy", "f1", "matthews"], classified(872, 0.9))
    bootstrap_intervals(["pearson", "spearman"], valued(872))
    assert time.perf_counter() - started < 2  # 0.2 s on the machine it was written on


# --- tables, baseline, alarm ---------------------------------------------------------------------


def test_the_table_and_the_matrix() -> None:
    outcome = Outcome("classification", np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), LABELS)
    assert confusion_matrix(outcome).tolist() == [[1, 1], [0, 2]]
    row = per_class_metrics(outcome)["positive"]
    assert row == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2, "predicted": 3})
    with pytest.raises(DataError, match="a multilabel task has no confusion matrix"):
        confusion_matrix(tagged(3))


def test_the_most_confused_pairs_come_first() -> None:
    gold, predicted = np.array([0, 0, 0, 1, 2, 2, 1]), np.array([0, 2, 2, 0, 1, 2, 0])
    outcome = Outcome("classification", gold, predicted, ("a", "b", "c"))
    assert confused_pairs(outcome) == [("a", "c", 2), ("b", "a", 2), ("c", "b", 1)]
    assert confused_pairs(outcome, most=1) == [("a", "c", 2)]
    assert confused_pairs(Outcome("classification", gold, gold, ("a", "b", "c"))) == []
    with pytest.raises(DataError, match="a multilabel task has no confused labels"):
        confused_pairs(tagged(3))


def test_the_majority_is_the_training_data_s() -> None:
    outcome = classified(30, 0.9)
    baseline = predict_majority(np.array([1, 1, 0]), outcome)
    assert set(baseline.predicted) == {1}
    assert compute_metrics(["accuracy", "roc_auc"], baseline) == pytest.approx(
        {"accuracy": np.mean(outcome.gold == 1), "roc_auc": 0.5}
    )
    several = predict_majority(np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]), tagged(4))
    assert several.predicted.tolist() == [[1, 0, 0, 0, 0, 0]] * 4
    assert several.probabilities is not None
    assert several.probabilities[0].tolist() == [1, 0.5, 0, 0, 0, 0]
    assert set(predict_majority(np.array([1.0, 2.0]), valued(5)).predicted) == {1.5}


def test_a_collapse_is_told_apart_from_rare_classes() -> None:
    gold = np.repeat([0, 1], [60, 40])
    ones = np.ones(100, int)
    said = describe_collapse(Outcome("classification", gold, ones, LABELS))
    assert said == '"positive" is predicted for 100 of 100 examples, but true for 40'
    assert describe_collapse(Outcome("classification", gold, gold, LABELS)) is None
    rare = np.repeat([0, 1], [97, 3])
    assert describe_collapse(Outcome("classification", rare, 0 * rare, LABELS)) is None
    assert describe_collapse(Outcome("classification", 0 * rare, 0 * rare, LABELS)) is None


def test_a_collapse_of_several_labels_and_of_values() -> None:
    gold = np.repeat([[1, 1], [0, 0]], 10, axis=0)
    none, both = np.zeros((20, 2)), np.ones((20, 2))
    assert describe_collapse(Outcome("multilabel", gold, none, LABELS)) == (
        "no label is predicted for 20 of 20 examples, but true for 10"
    )
    assert str(describe_collapse(Outcome("multilabel", gold, both, LABELS))).startswith(
        '"negative" + "positive" is predicted'
    )
    one = np.eye(2)[np.zeros(20, dtype=int)]  # the label itself is true for 10, but never alone
    said = describe_collapse(Outcome("multilabel", gold, one, LABELS))
    assert said == '"negative" is predicted for 20 of 20 examples, but exactly these labels are true for 0'
    rising = np.arange(20.0)
    said = describe_collapse(Outcome("regression", rising, 2.5 + rising * 1e-4))
    assert str(said).startswith("the predictions are nearly constant (mean 2.501, standard deviation 0.00058")
    assert describe_collapse(Outcome("regression", rising, rising)) is None
    assert describe_collapse(Outcome("regression", 0 * rising, 0 * rising)) is None
