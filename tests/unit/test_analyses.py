"""Curves, error types, groups of rows and likely label errors, against scikit-learn, seqeval and cleanlab."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from sklearn import metrics as sklearn_metrics

from bertwright.errors import DataError
from bertwright.metrics import TaggingOutcome
from bertwright.metrics.curves import MAX_POINTS, THRESHOLDS, precision_recall_curve, roc_curve, threshold_curve
from bertwright.metrics.label_errors import find_label_errors, find_multilabel_errors, find_word_errors
from bertwright.metrics.row_groups import group_by_answer_length, group_by_length, group_by_question_word
from bertwright.metrics.span_errors import (
    CORRECT,
    ERRORS,
    MISSED,
    SPURIOUS,
    WRONG_BOTH,
    WRONG_BOUNDARY,
    WRONG_TYPE,
    count_span_errors,
)
from bertwright.metrics.spans import spans_from_tags


def draw_binary(rows: int, seed: int = 0, levels: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels that depend on them; both classes occur."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, rows) / levels
    gold = (rng.random(rows) < scores).astype(int)
    gold[:2] = 0, 1
    return scores, gold


# --- curves --------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 30))
def test_curves_are_those_of_scikit_learn(seed: int, rows: int, levels: int) -> None:
    scores, gold = draw_binary(rows, seed, levels)
    curve = precision_recall_curve(scores, gold)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(gold, scores)
    reached = np.flatnonzero(np.append(recall[1:] != 1, True)[: len(recall)])  # ours ends where the recall is 1 first
    assert {(round(x, 9), round(y, 9)) for x, y in zip(curve.x, curve.y, strict=True)} >= {
        (round(recall[i], 9), round(precision[i], 9)) for i in reached
    }
    assert curve.area == pytest.approx(sklearn_metrics.average_precision_score(gold, scores))
    curve = roc_curve(scores, gold)
    x, y, _ = sklearn_metrics.roc_curve(gold, scores, drop_intermediate=False)
    np.testing.assert_allclose((curve.x, curve.y), (x, y))
    assert curve.area == pytest.approx(sklearn_metrics.roc_auc_score(gold, scores))


def test_long_curves_have_few_points_and_the_exact_area() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(5000)
    gold = (rng.random(5000) < scores).astype(int)
    for curve, area in (
        (precision_recall_curve(scores, gold), sklearn_metrics.average_precision_score(gold, scores)),
        (roc_curve(scores, gold), sklearn_metrics.roc_auc_score(gold, scores)),
    ):
        assert len(curve.x) == len(curve.y) == MAX_POINTS
        assert curve.area == pytest.approx(area)
        assert (curve.x[0], curve.x[-1]) == (0, 1)


def test_threshold_curve_is_that_of_each_threshold() -> None:
    scores, gold = draw_binary(200, seed=3)
    curve = threshold_curve(scores, gold)
    for i, threshold in enumerate(THRESHOLDS):
        values = sklearn_metrics.precision_recall_fscore_support(
            gold, scores >= threshold, average="binary", zero_division=0
        )
        assert (curve.precision[i], curve.recall[i], curve.f1[i]) == pytest.approx(values[:3])


def test_curves_refuse_other_sizes() -> None:
    with pytest.raises(DataError, match="curves: 2 scores and 1 gold labels; give one of each"):
        roc_curve(np.array([0.1, 0.2]), np.array([1]))


# --- errors of spans -----------------------------------------------------------------------------

TAGS = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=8, max_size=8)


@given(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=4))
def test_every_span_is_counted_once_as_seqeval_finds_it(texts: list[tuple[list[str], list[str]]]) -> None:
    outcome = TaggingOutcome([gold for gold, _ in texts], [predicted for _, predicted in texts])
    counts = count_span_errors(outcome).counts
    sides = [[set(get_entities(tags)) for tags in pair] for pair in texts]
    assert counts[CORRECT] == sum(len(gold & predicted) for gold, predicted in sides)
    matched = sum(counts[kind] for kind in (CORRECT, WRONG_TYPE, WRONG_BOUNDARY, WRONG_BOTH))
    assert matched + counts[MISSED] == sum(len(gold) for gold, _ in sides)
    assert matched + counts[SPURIOUS] == sum(len(predicted) for _, predicted in sides)


@pytest.mark.parametrize(
    ("gold", "predicted", "kind"),
    [
        ("O B-A I-A", "O B-A I-A", CORRECT),
        ("O B-A I-A", "O B-B I-B", WRONG_TYPE),
        ("O B-A I-A", "O O B-A", WRONG_BOUNDARY),
        ("O B-A I-A", "O O B-B", WRONG_BOTH),
        ("O B-A I-A", "B-A O O", MISSED),
        ("O O O", "B-B O O", SPURIOUS),
    ],
)
def test_kinds_of_errors(gold: str, predicted: str, kind: str) -> None:
    errors = count_span_errors(TaggingOutcome([gold.split()], [predicted.split()]))
    expected = {kind: 1} | ({SPURIOUS: 1} if kind == MISSED else {})
    assert errors.counts == {CORRECT: 0} | dict.fromkeys(ERRORS, 0) | expected
    assert errors.by_type["B" if kind == SPURIOUS else "A"][kind] == 1


# --- groups of rows ------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 6))
def test_groups_by_length_partition_the_rows(lengths: list[int], most: int) -> None:
    groups = group_by_length(lengths, most)
    assert 1 <= len(groups) <= most
    assert sorted(row for group in groups for row in group.rows.tolist()) == list(range(len(lengths)))
    bounds = [[lengths[row] for row in group.rows] for group in groups]
    assert all(max(before) < min(after) for before, after in pairwise(bounds))


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is it?", "what"),
        ("In which year did he die, and who saw it?", "which"),
        ("HOW MANY people live there?", "how many"),
        ("How much does it cost?", "how much"),
        ("How did it end?", "how"),
        ("Whose is it?", "whose"),
        ("Somewhat dull films are named after a river.", "other"),
    ],
)
def test_question_words(question: str, word: str) -> None:
    assert [group.name for group in group_by_question_word([question])] == [word]


def test_groups_of_questions_and_answers() -> None:
    groups = group_by_question_word(["who?", "what?", "what else?", "name it"])
    assert [(group.name, group.rows.tolist()) for group in groups] == [("what", [1, 2]), ("who", [0]), ("other", [3])]
    answers = ["a b c d e f g h i", "a", None, "a b", "a b c", "a b c d e", ""]
    assert [(group.name, group.rows.tolist()) for group in group_by_answer_length(answers)] == [
        ("1 word", [1, 6]),
        ("2 words", [3]),
        ("3–4 words", [4]),
        ("5–8 words", [5]),
        ("more than 8 words", [0]),
        ("no answer", [2]),
    ]


# --- label errors --------------------------------------------------------------------------------


def draw_noisy(rows: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels of which a tenth are wrong, and whether each is wrong."""
    rng = np.random.default_rng(seed)
    true = np.arange(rows) % classes
    scores = rng.normal(size=(rows, classes)) + 3 * np.eye(classes)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    wrong = rng.random(rows) < 0.1
    return probabilities, np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true), wrong


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 5])
def test_label_errors_are_those_of_cleanlab(classes: int, seed: int) -> None:
    from cleanlab.filter import find_label_issues

    probabilities, labels, wrong = draw_noisy(400, classes, seed)
    suspects = find_label_errors(probabilities, labels)
    expected = find_label_issues(
        labels,
        probabilities,
        filter_by="prune_by_class",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    if classes == 2:
        assert suspects.tolist() == expected.tolist()
    # with several classes, cleanlab rounds the counts of a class so that their sum stays; each may differ by 1
    assert len(set(suspects) ^ set(expected)) <= classes
    assert suspects[:10].tolist() == expected[:10].tolist()
    assert wrong[suspects].mean() > 0.6
    assert wrong[suspects].sum() > 0.6 * wrong.sum()


def test_a_label_of_several_is_examined_alone() -> None:
    probabilities, labels, _ = draw_noisy(200, 2, 1)
    alone = find_label_errors(probabilities, labels)
    certain = np.where(np.arange(200) % 3, 0.1, 0.9)
    suspects = find_multilabel_errors(
        np.stack((probabilities[:, 1], certain), 1), np.stack((labels, (certain > 0.5).astype(int)), 1)
    )
    assert suspects.tolist() == alone.tolist()


def test_confident_other_tags_are_suspect() -> None:
    gold, predicted = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 0, 1])
    confidence = np.array([0.8, 0.9, 0.9, 0.7, 0.95, 0.6])
    # thresholds: 0.85 of tag 0, 0.8 of tag 1
    assert find_word_errors(gold, predicted, confidence).tolist() == [4]


def test_classes_without_rows_and_single_rows_have_no_errors() -> None:
    probabilities = np.array([[0.2, 0.8, 0.0], [0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    assert find_label_errors(probabilities, np.array([1, 0, 0])).tolist() == []
    with pytest.raises(DataError, match="label errors: probabilities of shape"):
        find_label_errors(probabilities, np.array([1, 0]))
    with pytest.raises(DataError, match="of both"):
        find_multilabel_errors(probabilities, np.array([1, 0]))


@given(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=4))
def test_spans_of_all_texts_are_those_of_each(texts: list[tuple[list[str], list[str]]]) -> None:
    outcome = TaggingOutcome([gold for gold, _ in texts], [predicted for _, predicted in texts])
    assert outcome.list_spans() == [tuple(spans_from_tags(tags, "BIO") for tags in pair) for pair in texts]
    plain = TaggingOutcome([["a"], []], [["b"], []], "none")
    assert plain.list_spans() == [([("a", 0, 1)], [("b", 0, 1)]), ([], [])]
