"""Comparison of models on the same rows, with significance tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.errors import DataError
from bertwright.metrics import (
    AnswerOutcome,
    AnyOutcome,
    MetricComparison,
    Outcome,
    TaggingOutcome,
    bootstrap_intervals,
    check_metrics,
    compare_metrics,
    mcnemar,
)
from bertwright.metrics.significance import McNemar
from bertwright.output.notebook import render_html
from bertwright.output.plurals import pluralize
from bertwright.run.bundle import Bundle
from bertwright.run.report import show, show_signed
from bertwright.tasks.review import show_prediction, show_target
from bertwright.tasks.spec import Prediction

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bertwright.output.terminal import PlainTable

MAX_TEXT_LENGTH = 200
"""Maximum number of characters of a row to show."""


@dataclass(frozen=True)
class ComparedModel:
    """The predictions of one model.

    Attributes:
        name: the name of the model.
        predictions: one per row.
        outcome: the predictions with the gold targets.
        intervals: the 95 % bootstrap interval of each metric.
    """

    name: str
    predictions: list[Prediction]
    outcome: AnyOutcome
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MetricDifference:
    """The difference between a model and the first one.

    Attributes:
        name: the name of the model.
        metrics: for each metric the difference, its interval and its p-values.
        mcnemar: McNemar's test; None for regression.
        differing: indices of rows with different predictions; rows that only one model predicts correctly come first,
            for numbers the largest differences.
    """

    name: str
    metrics: dict[str, MetricComparison]
    mcnemar: McNemar | None
    differing: tuple[int, ...]


@dataclass(frozen=True)
class ModelComparison:
    """Several models on the same rows.

    Attributes:
        rows: the rows.
        sides: the models; the others are compared with the first.
        differences: the difference of each other model.
    """

    rows: Dataset
    sides: tuple[ComparedModel, ...]
    differences: tuple[MetricDifference, ...]

    def _repr_html_(self) -> str:
        """The tables and lines in a notebook."""
        return render_html(self.renderables())

    def renderables(self) -> list[RenderableType]:
        """Return tables and lines for a rich console of at least 80 columns."""
        from bertwright.output.terminal import plain_text

        n = len(self.rows)
        first = self.sides[0].name
        values = _table("metric", "model", "value", "95 % interval")
        for metric in self.differences[0].metrics:
            for i, side in enumerate(self.sides):
                value = self.differences[max(i - 1, 0)].metrics[metric]
                low, high = (show(metric, bound) for bound in side.intervals[metric])
                shown = show(metric, value.second if i else value.first)
                values.add_row("" if i else metric, side.name, shown, f"{low} … {high}")
        parts: list[RenderableType] = [plain_text(f"{self.rows.report.source} · {n:,} examples"), "", values, ""]
        tests = _table("metric", f"compared with {first}", "difference", "95 % interval", "p")
        for metric in self.differences[0].metrics:
            for i, difference in enumerate(self.differences):
                test = difference.metrics[metric]
                low, high = (show_signed(metric, bound) for bound in test.interval)
                shown = show_signed(metric, test.difference)
                p = show(metric, float("nan")) if np.isnan(test.p_permutation) else f"{test.p_permutation:.3f}"
                tests.add_row("" if i else metric, difference.name, shown, f"{low} … {high}", p)
        parts += [
            tests,
            "",
            *(plain_text(line) for difference in self.differences for line in self.describe_agreement(difference)),
        ]
        parts.append("interval: paired bootstrap; p: approximate randomization, two-sided")
        return parts

    def disagreements(self, most: int) -> Iterator[list[str]]:
        """Yield rows on which a model and the first one disagree, as blocks of lines."""
        first = self.sides[0]
        for side, difference in zip(self.sides[1:], self.differences, strict=True):
            width = max(map(len, ("truth", first.name, side.name)))
            for place in difference.differing[:most]:
                example = self.rows[place]
                answers = [
                    ("truth", show_target(example)),
                    *((s.name, format_prediction(s.predictions[place])) for s in (first, side)),
                ]
                yield [_text(example), *(f"  {name:<{width}}  {answer}" for name, answer in answers)]

    def to_dict(self) -> dict[str, Any]:
        """Return all values for JSON, except that nan is not converted."""
        values = {
            side.name: {
                name: {"value": test.second if i else test.first, "interval": side.intervals[name]}
                for name, test in self.differences[max(i - 1, 0)].metrics.items()
            }
            for i, side in enumerate(self.sides)
        }
        differences = [
            {
                "of": difference.name,
                "to": self.sides[0].name,
                "metrics": {name: asdict(test) for name, test in difference.metrics.items()},
                "mcnemar": None if difference.mcnemar is None else asdict(difference.mcnemar),
                "differing": len(difference.differing),
            }
            for difference in self.differences
        ]
        source = self.rows.report.source
        return {"source": source, "rows": len(self.rows), "values": values, "differences": differences}

    def describe_agreement(self, difference: MetricDifference) -> list[str]:
        """Return how often a model agrees with the first one, and how often only one of them is correct."""
        n, differing = len(self.rows), len(difference.differing)
        first, second = self.sides[0].name, difference.name
        lines = [
            f"{second} and {first} agree on {n - differing:,} of {pluralize(n, 'example')} ({1 - differing / n:.1%})"
        ]
        if (mcnemar_test := difference.mcnemar) is not None:
            times = pluralize(mcnemar_test.only_second, "time"), pluralize(mcnemar_test.only_first, "time")
            alone = f"only {second} is correct {times[0]}, only {first} {times[1]}"
            lines.append(f"{alone} (McNemar's p {mcnemar_test.p:.3f})")
        return lines


def compare_models(
    bundles: dict[str, Bundle],
    source: Any,
    columns: ColumnNames | None = None,
    *,
    split: str | None = None,
    encoding: str = "utf-8",
) -> ModelComparison:
    """Compare models on the same labeled rows with the first one.

    Args:
        bundles: two or more models by name; the metrics are those of the first.
        source: a path, ``hub:…``, or rows in memory.
        columns: the columns to read; None: those that the first model was trained on.
        split: the split, if the source has several.
        encoding: the character encoding of text files.

    Raises:
        DataError: there are fewer than two models, their tasks or labels differ, or the source is invalid.
    """
    if len(bundles) < 2:
        raise DataError("compare: one model cannot be compared; name two or more models.")
    kinds = {name: bundle.task.outcome_kind for name, bundle in bundles.items()}
    if len(set(kinds.values())) > 1:
        tasks = ", ".join(f"{name} is for {kind}" for name, kind in kinds.items())
        raise DataError(f"compare: the models have different tasks ({tasks}); compare models of one task.")
    if any(bundle.task.target_spec.is_corpus for bundle in bundles.values()):
        raise DataError(
            "compare: pre-trained models have no predictions to compare; use `bertwright evaluate` on each."
        )
    first, sides, rows = next(iter(bundles.values())), list[ComparedModel](), None
    for name, bundle in bundles.items():
        # the first model infers columns if needed, and the others read the same ones; each normalizes texts itself
        read = bundle.read(source, columns, split=split, encoding=encoding)
        if rows is None:
            rows = read
            if rows.report.layout is None and first.task.target_spec.shares_columns:
                columns = rows.report.columns
        outputs, _ = bundle.compute_outputs(read)
        outcome = bundle.task.to_outcome(outputs, read)
        names = check_metrics(first.task.chosen_metrics, outcome.kind, len(outcome.labels) or None)
        sides.append(
            ComparedModel(name, bundle.task.decode(outputs, read), outcome, bootstrap_intervals(names, outcome))
        )
    if rows is None:
        raise DataError("compare: one model cannot be compared; name two or more models.")
    return ModelComparison(rows, tuple(sides), tuple(_difference(sides[0], side, names) for side in sides[1:]))


def _difference(first: ComparedModel, second: ComparedModel, names: Sequence[str]) -> MetricDifference:
    metrics = compare_metrics(names, first.outcome, second.outcome)  # type: ignore[type-var]  # raises if the types differ
    if all(prediction.value is not None for prediction in first.predictions):
        apart = [
            abs((a.value or 0.0) - (b.value or 0.0)) for a, b in zip(first.predictions, second.predictions, strict=True)
        ]
        places = sorted((i for i, by in enumerate(apart) if by > 0), key=lambda i: -apart[i])
        return MetricDifference(second.name, metrics, None, tuple(places))
    right = [is_row_correct(side.outcome) for side in (first, second)]
    differing = [
        i
        for i, (a, b) in enumerate(zip(first.predictions, second.predictions, strict=True))
        if (a.label, a.tags, a.answer) != (b.label, b.tags, b.answer)
    ]
    differing.sort(key=lambda i: bool(right[0][i] == right[1][i]))
    return MetricDifference(second.name, metrics, mcnemar(*right), tuple(differing))


def is_row_correct(outcome: AnyOutcome) -> NDArray[np.bool_]:
    """Return whether each row is completely correct, (B,)."""
    if isinstance(outcome, Outcome):
        return outcome.right
    if isinstance(outcome, AnswerOutcome):
        return np.asarray(outcome.apply_threshold(outcome.exact) == 1)
    tagged = cast("TaggingOutcome", outcome)
    return np.array(
        [list(gold) == list(predicted) for gold, predicted in zip(tagged.gold, tagged.predicted, strict=True)]
    )


def _text(example: Example) -> str:
    text = " ".join(" | ".join(filter(None, (example.text, example.text_pair))).split())
    shown = text if len(text) <= MAX_TEXT_LENGTH else f"{text[: MAX_TEXT_LENGTH - 1]}…"
    return f"{example.where or example.id}: {shown}"


def format_prediction(prediction: Prediction) -> str:
    """Return a prediction as text, with the probability of a label."""
    probability = f" ({prediction.probability:.2f})" if isinstance(prediction.label, str) else ""
    return show_prediction(prediction) + probability


def _table(*columns: str) -> PlainTable:
    from bertwright.output.terminal import make_table

    table = make_table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i > 1 else "left", overflow="fold" if i < 2 else "ellipsis")
    return table
