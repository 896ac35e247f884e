"""The charts and tables of an evaluation that tasks compose for reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bertwright.data.example import Example
from bertwright.metrics import (
    METRICS,
    AnswerOutcome,
    Outcome,
    TaggingOutcome,
    compute_metrics,
    confused_pairs,
    expected_calibration_error,
    reliability_bins,
)
from bertwright.metrics.charts import BarChart, Bars, Chart, Line, LineChart, ScatterPlot, ValueTable
from bertwright.metrics.curves import Curve, precision_recall_curve, roc_curve, threshold_curve
from bertwright.metrics.label_counts import Floats
from bertwright.metrics.row_groups import RowGroup, group_by_answer_length, group_by_length, group_by_question_word
from bertwright.metrics.span_errors import CORRECT, ERRORS, count_span_errors
from bertwright.output.plurals import pluralize

if TYPE_CHECKING:
    from bertwright.tasks.spec import Outputs, Task

UNIT: Final = (0.0, 1.0)
DIAGONAL: Final = ((0.0, 0.0), (1.0, 1.0))

MOST_LINES: Final = 5
"""Curves in one chart; with more labels those with the lowest scores are shown."""

MOST_CONFUSED_PAIRS: Final = 30
MOST_POINTS: Final = 1000
"""Points of a scatter plot."""

MOST_TYPES: Final = 30
"""Types of spans in the table of errors."""


def chart_calibration(confidence: Floats, correct: NDArray[Any], x_label: str, y_label: str) -> LineChart:
    """A reliability diagram with the expected calibration error (ECE).

    Args:
        confidence: (n,), probabilities.
        correct: (n,), whether that which they are probabilities of is true.
        x_label: what ``confidence`` is the probability of.
        y_label: what the share of ``correct`` is called.
    """
    bins = reliability_bins(confidence, correct)
    ece = expected_calibration_error(confidence, correct)
    points = tuple((each.confidence, each.accuracy) for each in bins)
    notes = tuple(
        f"{pluralize(each.count, 'prediction')} from {each.low:.2f} to {each.high:.2f}: mean probability "
        f"{each.confidence:.3f}, share {each.accuracy:.3f}"
        for each in bins
    )
    caption = (
        f"Expected calibration error {ece:.4f} over {len(confidence):,} predictions. Points below the dashed line are "
        "overconfident: their probability is higher than the share that is true."
    )
    line = Line("model", points, notes)
    return LineChart("Reliability diagram", caption, x_label, y_label, (line,), UNIT, UNIT, DIAGONAL, markers=True)


def chart_ranking(probabilities: Floats, gold: NDArray[Any], labels: Sequence[str]) -> list[LineChart]:
    """Precision-recall and ROC curves of each label against the others; none for labels without both kinds of rows.

    With more than :data:`MOST_LINES` labels these are the curve of all labels together (micro-average) and those of
    the labels with the lowest average precision.

    Args:
        probabilities: (B, L).
        gold: 0/1 (B, L).
        labels: the L names.
    """
    defined = [i for i in range(len(labels)) if 0 < gold[:, i].sum() < len(gold)]
    if not defined:
        return []
    columns = [(labels[i], probabilities[:, i], gold[:, i]) for i in defined]
    note = ""
    if len(columns) > MOST_LINES:
        weakest = sorted(columns, key=lambda column: precision_recall_curve(*column[1:]).area)[: MOST_LINES - 1]
        columns = [("all labels", probabilities[:, defined], gold[:, defined]), *weakest]
        note = (
            f" Shown are all labels together and the {len(weakest)} of {len(defined)} labels with the lowest average "
            "precision."
        )
    return [
        LineChart(
            "Precision-recall curve",
            f"{_describe_areas(columns, 'average precision', 'AP', precision_recall_curve)}.{note}",
            "recall",
            "precision",
            tuple(_line(name, precision_recall_curve(scores, truth), "AP") for name, scores, truth in columns),
            UNIT,
            UNIT,
        ),
        LineChart(
            "ROC curve",
            f"{_describe_areas(columns, 'area under the curve', 'AUC', roc_curve)}; 0.5 is random.{note}",
            "false-positive rate",
            "true-positive rate",
            tuple(_line(name, roc_curve(scores, truth), "AUC") for name, scores, truth in columns),
            UNIT,
            UNIT,
            DIAGONAL,
        ),
    ]


def _describe_areas(
    columns: Sequence[tuple[str, Floats, NDArray[Any]]], area: str, short: str, curve: Callable[..., Curve]
) -> str:
    """Where the areas are shown; the area itself if there is a single curve, which needs no legend."""
    if len(columns) > 1:
        return f"The legend has the {area} ({short}) of each label"
    name, scores, truth = columns[0]
    return f'The {area} ({short}) of the label "{name}" is {curve(scores, truth).area:.4f}'


def _line(name: str, curve: Curve, area: str) -> Line:
    return Line(f"{name} ({area} {curve.area:.3f})", _points(curve.x, curve.y))


def _points(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


def chart_thresholds(
    probabilities: Floats, gold: NDArray[Any], labels: Sequence[str], thresholds: Sequence[float]
) -> list[LineChart]:
    """Precision, recall and F1 of all labels by threshold, and the F1 of each label.

    Args:
        probabilities: (B, L).
        gold: 0/1 (B, L).
        labels: the L names.
        thresholds: of the model, (L,).
    """
    micro = threshold_curve(probabilities, gold)
    curves = {name: threshold_curve(probabilities[:, i], gold[:, i]) for i, name in enumerate(labels)}
    weakest = sorted(curves, key=lambda name: float(curves[name].f1.max()))[:MOST_LINES]
    shown = dict(zip(labels, thresholds, strict=True))
    note = "" if len(labels) <= MOST_LINES else f" Shown are the {MOST_LINES} labels with the lowest F1."
    return [
        LineChart(
            "Threshold curve",
            "Micro-averages over all labels if every label had this threshold.",
            "threshold",
            "score",
            tuple(
                Line(name, _points(micro.thresholds, values))
                for name, values in (("precision", micro.precision), ("recall", micro.recall), ("F1", micro.f1))
            ),
            UNIT,
            UNIT,
        ),
        LineChart(
            "F1 of each label by threshold",
            f"The legend has the threshold that the model uses.{note}",
            "threshold",
            "F1",
            tuple(
                Line(f"{name} (at {shown[name]:.2f})", _points(curves[name].thresholds, curves[name].f1))
                for name in labels
                if name in weakest
            ),
            UNIT,
            UNIT,
        ),
    ]


def chart_confusions(outcome: Outcome, unit: str = "rows") -> list[ValueTable]:
    """The most confused pairs of labels; nothing if no prediction is wrong."""
    pairs = confused_pairs(outcome, MOST_CONFUSED_PAIRS)
    if not pairs:
        return []
    support = np.bincount(outcome.gold, minlength=len(outcome.labels))
    of_label = dict(zip(outcome.labels, support.tolist(), strict=True))
    wrong = int((~outcome.right).sum())
    shown = sum(count for _, _, count in pairs)
    return [
        ValueTable(
            "Most confused labels",
            f"{shown:,} of the {wrong:,} wrong predictions; the share is that of the {unit} with the true label.",
            ("true label", "predicted label", unit, "share"),
            tuple((gold, predicted, count, count / of_label[gold]) for gold, predicted, count in pairs),
        )
    ]


def chart_residuals(outcome: Outcome) -> list[Chart]:
    """Residuals by prediction, and the distribution of their size."""
    residuals = outcome.predicted - outcome.gold
    order = np.argsort(outcome.predicted, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_POINTS)).round().astype(np.intp))]
    low, high = float(outcome.predicted.min()), float(outcome.predicted.max())
    note = f" {len(shown):,} of {len(order):,} rows are shown." if len(shown) < len(order) else ""
    sizes = np.abs(residuals)
    values = {
        "mean residual (bias)": residuals.mean(),
        "standard deviation of residuals": residuals.std(),
        "median absolute error": np.median(sizes),
        "90 % of absolute errors are at most": np.quantile(sizes, 0.9),
        "99 % of absolute errors are at most": np.quantile(sizes, 0.99),
        "largest absolute error": sizes.max(),
        "standard deviation of the true values": outcome.gold.std(),
    }
    return [
        ScatterPlot(
            "Residuals",
            f"Predicted minus true value; above the dashed line the prediction is too high.{note}",
            "predicted value",
            "residual",
            _points(outcome.predicted[shown], residuals[shown]),
            ((low, 0.0), (high, 0.0)),
        ),
        ValueTable(
            "Size of the errors",
            f"On {len(order):,} rows, in the unit of the targets.",
            ("measure", "value"),
            tuple((name, float(value)) for name, value in values.items()),
        ),
    ]


def chart_span_errors(outcome: TaggingOutcome) -> list[Chart]:
    """The kinds of errors of predicted spans, in total and by type."""
    errors = count_span_errors(outcome)
    n_errors = sum(errors.counts[kind] for kind in ERRORS)
    kinds = (CORRECT, *ERRORS)
    by_type = sorted(errors.by_type.items(), key=lambda item: -sum(item[1][kind] for kind in ERRORS))
    return [
        BarChart(
            "Kinds of errors",
            f"{pluralize(errors.counts[CORRECT], 'correct span')}, {pluralize(n_errors, 'error')}. A wrong boundary "
            "overlaps a true span of the same type; a missed span overlaps no predicted span, and a spurious span no "
            "true one.",
            "error",
            "spans",
            ERRORS,
            (Bars("spans", tuple(float(errors.counts[kind]) for kind in ERRORS)),),
        ),
        ValueTable(
            "Errors by type",
            "Types with the most errors first; a spurious span counts for its predicted type.",
            ("type", *kinds),
            tuple((type_, *(counts[kind] for kind in kinds)) for type_, counts in by_type[:MOST_TYPES]),
        ),
    ]


def chart_answers(outcome: AnswerOutcome, questions: Sequence[str], answers: Sequence[str | None]) -> list[BarChart]:
    """EM and F1 by question word and by the length of the answer.

    Args:
        outcome: of the questions.
        questions: their texts.
        answers: the first true answer of each; None for no answer.
    """
    caption = "Exact match (EM) and token F1 in percent; small groups vary by chance."
    return [
        _answer_bars("Score by question word", caption, "question word", outcome, group_by_question_word(questions)),
        _answer_bars(
            "Score by answer length", caption, "length of the true answer", outcome, group_by_answer_length(answers)
        ),
    ]


def _answer_bars(title: str, caption: str, x_label: str, outcome: AnswerOutcome, groups: list[RowGroup]) -> BarChart:
    values = {"EM": outcome.apply_threshold(outcome.exact), "F1": outcome.apply_threshold(outcome.f1)}
    return BarChart(
        title,
        caption,
        x_label,
        "score",
        tuple(group.name for group in groups),
        tuple(
            Bars(name, tuple(100 * float(scores[group.rows].mean()) for group in groups))
            for name, scores in values.items()
        ),
        tuple(len(group.rows) for group in groups),
        (0.0, 100.0),
    )


def chart_length(task: Task, outputs: Outputs, examples: Sequence[Example]) -> list[BarChart]:
    """The first metric of the task by the length of the texts; nothing if all have the same length."""
    groups = group_by_length([len(example.text) + len(example.text_pair or "") for example in examples])
    if len(groups) < 2:
        return []
    metric = task.chosen_metrics[0]
    values = []
    for group in groups:
        rows = group.rows.tolist()
        part = outputs[group.rows] if isinstance(outputs, np.ndarray) else [outputs[i] for i in rows]
        outcome = task.to_outcome(part, [examples[i] for i in rows])
        values.append(compute_metrics((metric,), outcome)[metric])
    low, high = METRICS[metric].range
    bounded = math.isfinite(low) and math.isfinite(high)
    return [
        BarChart(
            "Score by text length",
            f"The {metric} of groups of rows by their number of characters; small groups vary by chance.",
            "characters",
            metric,
            tuple(group.name for group in groups),
            (Bars(metric, tuple(values)),),
            tuple(len(group.rows) for group in groups),
            (min(low, 0.0) if min(values) < 0 else 0.0, high) if bounded else None,
        )
    ]
