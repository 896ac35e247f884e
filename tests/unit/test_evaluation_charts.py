"""The charts of each task, and the rows that a person should look at."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest

from bertwright.data.example import Answer, Example
from bertwright.metrics import TaggingOutcome
from bertwright.metrics.charts import BarChart, Chart, LineChart, ScatterPlot, ValueTable
from bertwright.tasks.answer_spans import Candidates
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.evaluation_charts import MOST_LINES, MOST_POINTS, MOST_TYPES, chart_span_errors
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tasks.pretraining import Pretraining
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tasks.regression import Regression
from bertwright.tasks.review import MOST_TEXT, find_hard_rows, find_suspect_rows
from bertwright.tasks.tagging import Tagging, WordTags


def titles(charts: list[Chart]) -> list[str]:
    return [chart.title for chart in charts]


def by_title(charts: list[Chart], title: str) -> Chart:
    return next(chart for chart in charts if chart.title == title)


def numbers_of(chart: Chart) -> list[float]:
    """All numbers of a chart."""
    match chart:
        case LineChart():
            return [*chain.from_iterable(chain.from_iterable(line.points for line in chart.lines))]
        case ScatterPlot():
            return [*chain.from_iterable(chart.points)]
        case BarChart():
            return [*chain.from_iterable(bars.values for bars in chart.bars)]
    return [cell for row in chart.rows for cell in row if not isinstance(cell, str)]


def texts(*targets: object) -> list[Example]:
    return [Example(str(i), "word " * (i + 1), target=target, where=f"x.csv:{i}") for i, target in enumerate(targets)]


SCORES = np.array([[3, 0], [0, 2], [0, 4], [1, 0], [0, 1], [2, 0]], np.float32)
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)


def test_charts_of_two_labels() -> None:
    task, rows = Classification(labels=("neg", "pos")), texts("neg", "pos", "neg", "neg", "neg", "neg")
    charts = task.make_charts(SCORES, rows)
    assert titles(charts) == [
        "Most confused labels",
        "Reliability diagram",
        "Precision-recall curve",
        "ROC curve",
        "Score by text length",
    ]
    confused = by_title(charts, "Most confused labels")
    assert isinstance(confused, ValueTable)
    assert confused.rows == (("neg", "pos", 2, 0.4),)
    curves = by_title(charts, "ROC curve")
    assert isinstance(curves, LineChart)
    assert [line.name for line in curves.lines] == ["pos (AUC 0.800)"]
    assert curves.caption == 'The area under the curve (AUC) of the label "pos" is 0.8000; 0.5 is random.'
    lengths = by_title(charts, "Score by text length")
    assert isinstance(lengths, BarChart)
    assert lengths.counts == (2, 1, 1, 1, 1)
    assert lengths.bars[0].values == (1, 0, 1, 0, 1)


def test_charts_of_many_labels_show_the_weakest() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"label {i}" for i in range(30))
    gold = rng.integers(0, 25, 300)  # five labels have no row
    scores = (rng.normal(size=(300, 30)) + np.eye(30)[gold] * np.arange(30)).astype(np.float32)
    charts = Classification(labels=names).make_charts(scores, texts(*(names[i] for i in gold)))
    curves = by_title(charts, "Precision-recall curve")
    assert isinstance(curves, LineChart)
    assert len(curves.lines) == MOST_LINES
    assert curves.lines[0].name.startswith("all labels (AP ")
    assert curves.lines[1].name.startswith("label 0 (AP ")
    assert "the 4 of 25 labels with the lowest average precision" in curves.caption


def test_charts_of_correct_predictions_and_a_single_true_label() -> None:
    rows = [Example(str(i), "same text", target="neg") for i in range(3)]
    scores = np.array([[2, 0], [1, 0], [3, 0]], np.float32)
    assert titles(Classification(labels=("neg", "pos")).make_charts(scores, rows)) == ["Reliability diagram"]


def test_charts_of_several_labels() -> None:
    rows = texts(("a",), ("a", "b"), (), ("b",))
    scores = np.array([[2, -2], [1, 1], [-1, 1], [-2, 3]], np.float32)
    charts = MultiLabel(labels=("a", "b"), threshold={"a": 0.4, "b": 0.8}).make_charts(scores, rows)
    assert titles(charts)[:5] == [
        "Reliability diagram",
        "Precision-recall curve",
        "ROC curve",
        "Threshold curve",
        "F1 of each label by threshold",
    ]
    curves = by_title(charts, "F1 of each label by threshold")
    assert isinstance(curves, LineChart)
    assert [line.name for line in curves.lines] == ["a (at 0.40)", "b (at 0.80)"]
    # from 0.27 to 0.73, label b is predicted for three rows, of which two have it
    assert dict(curves.lines[1].points)[0.5] == pytest.approx(0.8)


def test_charts_of_numbers() -> None:
    rows = texts(*np.linspace(-1, 1, 2 * MOST_POINTS).tolist())
    outputs = np.linspace(-0.5, 1.5, 2 * MOST_POINTS, dtype=np.float32)[:, None]
    charts = Regression().make_charts(outputs, rows)
    plot = by_title(charts, "Residuals")
    assert isinstance(plot, ScatterPlot)
    assert len(plot.points) == MOST_POINTS
    assert np.allclose([y for _, y in plot.points], 0.5, atol=1e-6)
    assert "1,000 of 2,000 rows are shown" in plot.caption
    table = by_title(charts, "Size of the errors")
    assert isinstance(table, ValueTable)
    assert table.rows[0] == ("mean residual (bias)", pytest.approx(0.5, abs=1e-6))


def test_charts_of_tags() -> None:
    rows = [
        Example("0", "to New York", target=("O", "B-A", "I-A")),
        Example("1", "in Rome now", target=("O", "B-A", "O")),
    ]
    task = Tagging(labels=("O", "B-A", "I-A", "B-B", "I-B"), scheme="BIO")
    outputs = [WordTags(np.array([0, 1, 2]), np.ones(3)), WordTags(np.array([0, 3, 0]), np.array([0.9, 0.8, 0.5]))]
    chart = by_title(task.make_charts(outputs, rows), "Kinds of errors")
    assert isinstance(chart, BarChart)
    assert dict(zip(chart.groups, chart.bars[0].values, strict=True))["wrong type"] == 1
    assert task.row_losses(outputs, rows) == pytest.approx([0, -math.log(0.9 * 0.2 * 0.5)])
    assert task.describe_error(rows[1], task.decode(outputs, rows)[1]) == ("Rome/B-A", "Rome/B-B", None)
    plain = Tagging(labels=("O", "B-A", "I-A", "B-B", "I-B"), scheme="none")
    confused = by_title(plain.make_charts(outputs, rows), "Most confused labels")
    assert isinstance(confused, ValueTable)
    assert confused.rows == (("B-A", "B-B", 1, 0.5),)


def test_words_with_another_confident_tag_are_suspect() -> None:
    rows = [Example(str(i), "a b", target=("X", "Y")) for i in range(3)]
    task = Tagging(labels=("X", "Y"), scheme="none")
    outputs = [
        WordTags(np.array([0, 1]), np.array([0.9, 0.8])),
        WordTags(np.array([0, 0]), np.array([0.9, 0.95])),
        WordTags(np.array([1, 1]), np.array([0.6, 0.8])),
    ]
    assert task.suspect_labels(outputs, rows).tolist() == [1]


def test_many_types_of_spans_show_those_with_most_errors() -> None:
    gold = [[f"B-{i:02}"] for i in range(2 * MOST_TYPES)]
    predicted = [["O"] if i == 50 else tags for i, tags in enumerate(gold)]
    table = chart_span_errors(TaggingOutcome(gold, predicted))[1]
    assert isinstance(table, ValueTable)
    assert len(table.rows) == MOST_TYPES
    assert table.rows[0][0] == "50"


def answer_rows() -> tuple[QuestionAnswering, list[Candidates], list[Example]]:
    context = "Rome is old"
    rows = [
        Example("0", "Which city?", context, (Answer("Rome", 0),)),
        Example("1", "What is it?", context, (Answer("old", 8),)),
        Example("2", "Who?", context, ()),
    ]
    null = np.zeros(2, np.float32)
    outputs = [
        Candidates(np.array([[0, 4], [8, 11]]), np.array([[2, 2], [1, 1]], np.float32), null),
        Candidates(np.array([[0, 4], [5, 7]]), np.array([[4, 4], [1, 1]], np.float32), null),
        Candidates(np.array([[0, 4]]), np.array([[-1, -1]], np.float32), null),
    ]
    return QuestionAnswering(null_answers=True), outputs, rows


def test_charts_of_answers() -> None:
    task, outputs, rows = answer_rows()
    charts = task.make_charts(outputs, rows)
    chart = by_title(charts, "Score by question word")
    assert isinstance(chart, BarChart)
    assert chart.groups == ("what", "which", "who")
    assert [bars.values for bars in chart.bars] == [(0, 100, 100), (0, 100, 100)]
    losses = task.row_losses(outputs, rows)
    first = np.exp([4, 2, 0])
    assert losses[0] == pytest.approx(-math.log(first[0] / first.sum()), rel=1e-6)
    # no candidate is true: the loss is at least that of the worst one
    second = np.exp([8, 2, 0])
    assert losses[1] == pytest.approx(-math.log(second[2] / second.sum()), rel=1e-6)
    hard = find_hard_rows(task, outputs, rows, 1)
    assert [(row.target, row.prediction) for row in hard] == [("old", "Rome")]
    assert hard[0].probability == pytest.approx(second[0] / second.sum(), rel=1e-6)
    assert find_suspect_rows(task, outputs, rows) == ((), None)


def test_charts_of_choices() -> None:
    rows = [Example("0", "c", "q", "1", choices=("a", "b")), Example("1", "c", "q", "0", choices=("a", "b", "d"))]
    outputs = [np.array([0, 2], np.float32), np.array([0, 0, 2], np.float32)]
    task = MultipleChoice()
    assert titles(task.make_charts(outputs, rows)) == ["Reliability diagram"]
    assert task.row_losses(outputs, rows) == pytest.approx([math.log(1 + math.exp(-2)), math.log(2 + math.exp(2))])
    assert [(row.target, row.prediction) for row in find_hard_rows(task, outputs, rows)] == [("a", "d"), ("b", "b")]


def test_a_corpus_has_no_charts_and_no_rows() -> None:
    task = Pretraining()
    assert task.make_charts(np.zeros((1, 6)), []) == []
    assert find_hard_rows(task, np.zeros((1, 6)), []) == ()


def test_hard_rows_have_the_highest_loss() -> None:
    task, rows = Classification(labels=("neg", "pos")), texts("neg", "pos", "neg", "neg", "pos", "neg")
    hard = find_hard_rows(task, SCORES, rows, 2)
    assert [(row.place, row.target, row.prediction) for row in hard] == [
        ("x.csv:2", "neg", "pos"),
        ("x.csv:3", "neg", "neg"),
    ]
    assert hard[0].loss == pytest.approx(-math.log(PROBABILITIES[2, 0]))
    assert hard[0].probability == pytest.approx(PROBABILITIES[2, 1])
    assert (
        find_hard_rows(task, SCORES[:1], [Example("0", "x", target="neg", where="/home/me/x.csv:7")])[0].place
        == "x.csv:7"
    )
    long = [Example("0", "x" * 3000, "y" * 3000, "neg")]
    row = find_hard_rows(task, SCORES[:1], long)[0]
    assert len(row.text) == len(row.text_pair or "") == MOST_TEXT
    assert row.place == "0"


def test_suspect_rows_are_those_of_confident_learning() -> None:
    task = Classification(labels=("neg", "pos"))
    scores = np.array([[3, 0], [4, 0], [0, 3], [0, 4], [0, 5]], np.float32)
    suspects, n = find_suspect_rows(task, scores, texts("neg", "neg", "pos", "pos", "neg"))
    assert n == 1
    assert [(row.number, row.target, row.prediction) for row in suspects] == [(4, "neg", "pos")]
    several = MultiLabel(labels=("a", "b"))
    outputs = np.array([[3, 3], [3, -3], [-3, 3], [-3, -3], [4, -3]], np.float32)
    rows = texts(("a", "b"), ("a",), ("b",), (), ())
    suspects, n = find_suspect_rows(several, outputs, rows)
    assert n == 1
    assert [(row.number, row.target, row.prediction) for row in suspects] == [(4, "–", "a (0.98)")]


@pytest.mark.parametrize("length", [1, 7])
def test_all_values_of_charts_are_finite(length: int) -> None:
    rng = np.random.default_rng(length)
    rows = texts(*(("neg", "pos")[i % 2] for i in range(length)))
    charts = Classification(labels=("neg", "pos")).make_charts(rng.normal(size=(length, 2)).astype(np.float32), rows)
    assert all(math.isfinite(number) for chart in charts for number in numbers_of(chart))
