"""Whether a difference between two systems is luck."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bertwright.errors import DataError, RecipeError
from bertwright.metrics import (
    METRICS,
    AnswerOutcome,
    Outcome,
    OutcomeKind,
    TaggingOutcome,
    compute_metrics,
    evaluation,
    list_metrics,
)
from bertwright.metrics.significance import compare_metrics, mcnemar

LABELS = ("no", "yes")
Two = tuple[Outcome, Outcome]


def answers(gold: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(len(gold)) < accuracy, gold, 1 - gold)


def classified(rows: int, first: float, second: float, seed: int = 0) -> Two:
    gold = np.random.default_rng(seed).integers(0, 2, rows)
    a, b = (
        Outcome("classification", gold, answers(gold, accuracy, seed + 1 + i), LABELS)
        for i, accuracy in enumerate((first, second))
    )
    return a, b


def valued(rows: int, first: float, second: float, seed: int = 0) -> Two:
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=rows)
    a, b = (Outcome("regression", gold, gold + noise * rng.normal(size=rows)) for noise in (first, second))
    return a, b


def tagged(rows: int, first: float, second: float, seed: int = 0) -> tuple[TaggingOutcome, TaggingOutcome]:
    rng = np.random.default_rng(seed)
    gold = [[str(tag) for tag in rng.choice(["O", "O", "B-X", "I-X", "B-Y"], n)] for n in rng.integers(1, 9, rows)]
    a, b = (
        TaggingOutcome(gold, [[tag if rng.random() < right else "O" for tag in text] for text in gold])
        for right in (first, second)
    )
    return a, b


def answered(rows: int, first: float, second: float, seed: int = 0) -> tuple[AnswerOutcome, AnswerOutcome]:
    rng = np.random.default_rng(seed)
    golds = [["in Paris", "Paris"] if rng.random() < 0.7 else [] for _ in range(rows)]
    a, b = (
        AnswerOutcome.from_answers(
            golds,
            [str(rng.choice(["Paris", "in Paris, France"])) if rng.random() < right else "Rome" for _ in golds],
            rng.normal(size=rows),
            0.5,
        )
        for right in (first, second)
    )
    return a, b


PAIRS = {"classification": classified, "regression": valued, "tagging": tagged, "qa": answered}


@pytest.mark.parametrize("kind", sorted(PAIRS))
def test_values_are_those_of_each_alone_and_a_seed_repeats_all(kind: OutcomeKind) -> None:
    first, second = PAIRS[kind](120, 0.6, 0.9)
    names = [name for name in list_metrics(kind, 2) if METRICS[name].needs != "probabilities"]
    found = compare_metrics(names, first, second, resamples=60)
    assert list(found) == names
    for side, outcome in (("first", first), ("second", second)):
        values = compute_metrics(names, outcome)
        assert {name: getattr(found[name], side) for name in names} == pytest.approx(values)
    for comparison in found.values():
        assert comparison.difference == comparison.second - comparison.first
        low, high = comparison.interval
        assert low < comparison.difference < high
        assert 0 < comparison.p_permutation <= 1
        assert 0 < comparison.p_bootstrap <= 1
        assert comparison.resamples == 60
    assert found == compare_metrics(names, first, second, resamples=60)
    assert found != compare_metrics(names, first, second, seed=1, resamples=60)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("classification", "accuracy"),
        ("classification", "matthews"),
        ("regression", "pearson"),
        ("tagging", "span_f1"),
        ("qa", "answer_f1"),
    ],
)
def test_a_large_difference_is_none_of_luck_and_none_is(kind: OutcomeKind, name: str) -> None:
    good, bad = (0.1, 1.0) if kind == "regression" else (0.95, 0.6)
    large = compare_metrics([name], *PAIRS[kind](400, bad, good), resamples=300)[name]
    assert large.difference > 0
    assert large.interval[0] > 0
    assert large.p_permutation == pytest.approx(1 / 301)
    assert large.p_bootstrap == pytest.approx(2 / 301)
    first, _ = PAIRS[kind](400, bad, good)
    same = compare_metrics([name], first, first, resamples=50)[name]
    assert same.difference == 0
    assert same.p_permutation == same.p_bootstrap == 1
    assert same.interval == pytest.approx((0, 0))


def test_p_of_equal_systems_is_uniform() -> None:
    ps = np.array(
        [
            (found.p_permutation, found.p_bootstrap)
            for seed in range(150)
            for found in compare_metrics(["accuracy"], *classified(200, 0.8, 0.8, 10 * seed), resamples=200).values()
        ]
    )
    assert (ps < 0.1).mean(0) == pytest.approx((0.1, 0.1), abs=0.07)
    assert ps.mean(0) == pytest.approx((0.55, 0.5), abs=0.08)  # shares are few, so that equal ones make p larger


def test_the_permutation_of_accuracy_is_mcnemar() -> None:
    first, second = classified(300, 0.8, 0.86)
    test = mcnemar(first.right, second.right)
    assert test.p == pytest.approx(exact_p(test.only_first, test.only_second), abs=1e-12)
    assert test.only_second - test.only_first == round(
        300 * compare_metrics(["accuracy"], first, second)["accuracy"].difference
    )
    found = compare_metrics(["accuracy"], first, second, resamples=20_000)["accuracy"]
    assert found.p_permutation == pytest.approx(test.p, abs=0.015)


def test_the_interval_is_that_of_paired_resampling_by_hand() -> None:
    first, second = valued(150, 0.5, 0.7)
    rng = np.random.default_rng(9)
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, 150, 150)
        one, two = (np.corrcoef(o.gold[rows], o.predicted[rows])[0, 1] for o in (first, second))
        drawn.append(two - one)
    found = compare_metrics(["pearson"], first, second, resamples=2000)["pearson"]
    assert found.interval == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.01)


def test_the_permutation_swaps_whole_rows() -> None:
    first, second = valued(40, 0.5, 0.8)
    rng = np.random.default_rng(9)
    observed = abs(np.corrcoef(second.gold, second.predicted)[0, 1] - np.corrcoef(first.gold, first.predicted)[0, 1])
    larger = 0
    for _ in range(3000):
        swap = rng.random(40) < 0.5
        a, b = np.where(swap, (second.predicted, first.predicted), (first.predicted, second.predicted))
        larger += abs(np.corrcoef(first.gold, a)[0, 1] - np.corrcoef(first.gold, b)[0, 1]) >= observed
    found = compare_metrics(["pearson"], first, second, resamples=3000)["pearson"]
    assert found.p_permutation == pytest.approx(larger / 3000, abs=0.03)


def test_probabilities_are_compared_and_their_resamples_budgeted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gold = (rng.random((80, 3)) < 0.4).astype(int)
    outcomes = []
    for noise in (0.2, 0.6):
        scores = np.clip(gold * 0.5 + 0.25 + noise * rng.normal(size=gold.shape), 0.01, 0.99)
        outcomes.append(Outcome("multilabel", gold, scores > 0.5, tuple("abc"), scores))
    found = compare_metrics(["roc_auc", "log_loss", "f1_micro"], *outcomes, resamples=200)
    assert found["roc_auc"].difference < 0 < found["log_loss"].difference
    assert found["roc_auc"].p_permutation < 0.05
    monkeypatch.setattr(evaluation, "ROW_METRIC_BUDGET", 1)
    assert compare_metrics(["roc_auc", "f1_micro"], *outcomes, resamples=200)["roc_auc"].resamples == 100
    monkeypatch.setattr(evaluation, "CHUNK", 400)
    again = compare_metrics(["roc_auc", "f1_micro"], *outcomes, resamples=100)
    assert again["f1_micro"].interval == compare_metrics(["f1_micro"], *outcomes, resamples=100)["f1_micro"].interval
    with pytest.raises(DataError, match="needs probabilities"):
        compare_metrics(["roc_auc"], outcomes[0], Outcome("multilabel", gold, gold, tuple("abc")))


def test_what_is_undefined_has_no_p() -> None:
    flat = Outcome("regression", np.arange(20.0), np.zeros(20))
    found = compare_metrics(["pearson"], flat, flat, resamples=20)["pearson"]
    assert all(math.isnan(x) for x in (found.difference, found.p_bootstrap, found.p_permutation, *found.interval))


def test_labels_may_be_in_another_order() -> None:
    rng = np.random.default_rng(0)
    gold, said = rng.integers(0, 3, (2, 50))
    labels, order = ("a", "b", "c"), [2, 0, 1]
    turned = tuple(labels[i] for i in order)
    number = np.argsort(order)
    scores = rng.dirichlet(np.ones(3), 50)
    first = Outcome("classification", gold, said, labels, scores)
    second = Outcome("classification", number[gold], number[said], turned, scores[:, order])
    both = first.concatenate(second)
    assert both.labels == labels
    np.testing.assert_array_equal(both.predicted[:50], both.predicted[50:])
    np.testing.assert_array_equal(both.probabilities[:50], both.probabilities[50:])  # type: ignore[index]
    hot = np.eye(3, dtype=int)
    several = Outcome("multilabel", hot[gold], hot[said], labels)
    both = several.concatenate(Outcome("multilabel", hot[gold][:, order], hot[said][:, order], turned))
    np.testing.assert_array_equal(both.predicted[:50], both.predicted[50:])
    assert compare_metrics(["accuracy"], first, second, resamples=10)["accuracy"].difference == 0


def test_two_that_cannot_be_compared() -> None:
    first, second = classified(10, 0.5, 0.5)
    with pytest.raises(DataError, match=r"the gold targets differ \(10 of classification, 9 of class"):
        compare_metrics(["accuracy"], first, Outcome("classification", second.gold[:9], second.predicted[:9], LABELS))
    with pytest.raises(DataError, match="one system has the labels no, yes, the other false, true; compare systems"):
        compare_metrics(
            ["accuracy"], first, Outcome("classification", second.gold, second.predicted, ("false", "true"))
        )
    with pytest.raises(DataError, match="first system is for classification, the second for tagging; compare one task"):
        compare_metrics(["accuracy"], first, TaggingOutcome([["O"]], [["O"]]))  # type: ignore[type-var]
    with pytest.raises(DataError, match="the gold tags differ"):
        compare_metrics(["span_f1"], TaggingOutcome([["O"]], [["O"]]), TaggingOutcome([["B-X"]], [["O"]]))
    with pytest.raises(DataError, match=r"the questions differ \(1 and 2\)"):
        compare_metrics(
            ["answer_f1"],
            AnswerOutcome.from_answers([["a"]], ["a"]),
            AnswerOutcome.from_answers([["a"], []], ["a", ""]),
        )
    with pytest.raises(RecipeError, match="does not apply to classification"):
        compare_metrics(["span_f1"], first, second)
    with pytest.raises(DataError, match="the systems have 2 and 3 rows; evaluate both on the same rows"):
        mcnemar(np.ones(2), np.ones(3))


def test_mcnemar_by_hand() -> None:
    first, second = np.array([1, 1, 1, 0, 0, 1], bool), np.array([1, 0, 0, 0, 0, 0], bool)
    assert mcnemar(first, second).p == pytest.approx(2 / 8)
    assert (mcnemar(first, second).only_first, mcnemar(first, second).only_second) == (3, 0)
    assert mcnemar(first, first).p == 1


def exact_p(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's test by counting outcomes in integers."""
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (1, 0), (0, 4), (3, 3), (7, 2), (90, 61), (4700, 5300), (5300, 4700)]
)
def test_mcnemar_is_exact(only_first: int, only_second: int) -> None:
    first, second = (np.repeat(sides, [only_first, only_second]) for sides in ([True, False], [False, True]))
    assert mcnemar(first, second).p == pytest.approx(exact_p(only_first, only_second), rel=1e-12, abs=1e-12)
