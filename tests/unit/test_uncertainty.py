"""Entropy and margin of predictions: formulas, and which distribution each task takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from bertwright.data.example import Example
from bertwright.metrics.uncertainty import compute_binary_entropy, compute_entropy, compute_margin
from bertwright.tasks.answer_spans import Candidates
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tasks.regression import Regression
from bertwright.tasks.tagging import Tagging, WordTags

LABELS = ("a", "b", "c")


def logits(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows)).astype(np.float32)


def candidates(*scores: float, null: float = 0.0) -> Candidates:
    places = np.array([(i, i + 1) for i in range(len(scores))], np.int32).reshape(-1, 2)
    table = np.array([(score, 0.0) for score in scores], np.float32).reshape(-1, 2)
    return Candidates(places, table, np.array([null, 0.0], np.float32))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda values: sum(values) > 1e-3))
def test_entropy_is_that_of_scipy(values: list[float]) -> None:
    p = np.array(values) / sum(values)
    assert compute_entropy(p) == pytest.approx(scipy_entropy(p), abs=1e-12)
    assert compute_binary_entropy(p).tolist() == pytest.approx([scipy_entropy([q, 1 - q]) for q in p], abs=1e-9)
    first, second = [*sorted(p, reverse=True), 0.0][:2]
    assert compute_margin(p) == pytest.approx(first - second)


def test_certain_and_uniform_distributions() -> None:
    p = np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert [str(value) for value in compute_entropy(p)[:1]] == ["0.0"], "no -0.0 in files"
    assert compute_entropy(p)[1] == pytest.approx(math.log(3))
    assert compute_margin(p).tolist() == pytest.approx([1.0, 0.0])


def test_classification_takes_the_labels_after_the_temperature() -> None:
    rows = [Example("0", "x"), Example("1", "y")]
    sure, unsure = Classification(labels=LABELS).decode(logits([0.8, 0.1, 0.1], [0.4, 0.35, 0.25]), rows)
    assert (sure.entropy, sure.margin) == pytest.approx((scipy_entropy([0.8, 0.1, 0.1]), 0.7))
    assert (unsure.entropy, unsure.margin) == pytest.approx((scipy_entropy([0.4, 0.35, 0.25]), 0.05))
    hot = Classification(labels=LABELS, temperature=2.0).decode(logits([0.8, 0.1, 0.1]), rows[:1])[0]
    assert hot.entropy == pytest.approx(scipy_entropy(np.sqrt([0.8, 0.1, 0.1])))
    assert hot.entropy == pytest.approx(scipy_entropy(list(hot.probabilities.values())))


def test_multi_label_takes_binary_entropies_and_the_distance_to_the_thresholds() -> None:
    p = np.array([0.9, 0.3, 0.05])
    scores = np.log(p / (1 - p))[None].astype(np.float32)
    task = MultiLabel(labels=LABELS, threshold={"a": 0.5, "b": 0.2, "c": 0.5})
    prediction = task.decode(scores, [Example("0", "x")])[0]
    assert prediction.label == ("a", "b")
    assert prediction.entropy == pytest.approx(np.mean([scipy_entropy([q, 1 - q]) for q in p]), rel=1e-6)
    assert prediction.margin == pytest.approx(0.1, rel=1e-5)


def test_multiple_choice_takes_the_choices_of_its_row() -> None:
    rows = [Example("0", "x", choices=("p", "q")), Example("1", "y", choices=("p", "q", "r"))]
    two, three = MultipleChoice().decode([logits([0.75, 0.25])[0], logits([0.2, 0.3, 0.5])[0]], rows)
    assert (two.entropy, two.margin) == pytest.approx((scipy_entropy([0.75, 0.25]), 0.5))
    assert (three.entropy, three.margin) == pytest.approx((scipy_entropy([0.2, 0.3, 0.5]), 0.2))


def test_answers_compete_with_each_other_and_with_no_answer() -> None:
    rows = [Example("0", "who", "a b")]
    p = np.exp([2.0, 1.0]) / np.exp([2.0, 1.0]).sum()
    prediction = QuestionAnswering(null_answers=False).decode([candidates(2.0, 1.0, null=5.0)], rows)[0]
    assert (prediction.entropy, prediction.margin) == pytest.approx((scipy_entropy(p), p[0] - p[1]))
    p = np.exp([5.0, 2.0, 1.0]) / np.exp([5.0, 2.0, 1.0]).sum()
    prediction = QuestionAnswering(null_answers=True).decode([candidates(2.0, 1.0, null=5.0)], rows)[0]
    assert (prediction.entropy, prediction.margin) == pytest.approx((scipy_entropy(p), p[0] - p[1]))
    for null in (False, True):  # an empty context
        prediction = QuestionAnswering(null_answers=null).decode([candidates()], rows)[0]
        assert (prediction.entropy, prediction.margin) == (0.0, 1.0)


def test_tagging_takes_the_mean_entropy_and_the_smallest_margin() -> None:
    outputs = [WordTags(np.array([0, 1]), np.array([0.9, 0.6], np.float32), 0.25, 0.125)]
    prediction = Tagging(labels=("O", "B-X", "I-X")).decode(outputs, [Example("0", "a b", words=((0, 1), (2, 3)))])[0]
    assert (prediction.entropy, prediction.margin) == (0.25, 0.125)


def test_a_number_has_neither() -> None:
    prediction = Regression().decode(np.array([[1.5]], np.float32), [Example("0", "x")])[0]
    assert (prediction.entropy, prediction.margin) == (None, None)
    assert not Regression.predicts_distribution
