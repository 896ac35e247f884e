"""The HTML page of a comparison of models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from bertwright.html.axes import Axis
from bertwright.html.categories import Bar, bar_chart
from bertwright.html.charts import Reference
from bertwright.html.page import Block, BulletList, Cell, CellValue, Facts, Page, Paragraph, Row, Section, Table
from bertwright.metrics import METRICS
from bertwright.run.report import environment, show, show_signed
from bertwright.run.settings_in_words import last_part
from bertwright.tasks.review import shorten_text, show_differing
from bertwright.tools.compare import ComparedModel, MetricDifference, ModelComparison, format_prediction, is_row_correct

MOST_CHARTS: Final = 4
"""Metrics that are drawn; the table has all."""

MOST_ROWS: Final = 50
"""Rows on which two models disagree that are listed."""

MOST_VISIBLE: Final = 10
"""Of these, the rows that are visible before a click."""


def build_comparison_page(comparisons: Mapping[str | None, ModelComparison]) -> Page:
    """Build the page of a comparison.

    Args:
        comparisons: by the name of the split; None for data without splits.
    """
    first = next(iter(comparisons.values()))
    names = [side.name for side in first.sides]
    sections = [
        section
        for split, comparison in comparisons.items()
        for section in _split_sections(comparison, f" on {split}" if len(comparisons) > 1 else "")
    ]
    return Page(
        "Comparison of models",
        sections,
        f"{', '.join(names[1:])} compared with {names[0]}.",
        f"Written by bertwright {environment()['bertwright']}.",
    )


def _split_sections(comparison: ModelComparison, suffix: str) -> list[Section]:
    n, names = len(comparison.rows), [side.name for side in comparison.sides]
    summary: list[Block] = [
        Facts({"data": last_part(comparison.rows.report.source), "rows": f"{n:,}", "models": ", ".join(names)}),
        BulletList(
            [line for difference in comparison.differences for line in comparison.describe_agreement(difference)]
        ),
    ]
    return [
        Section(f"Summary{suffix}", summary),
        Section(
            f"Metrics{suffix}",
            [Row(list(_metric_charts(comparison))), _metric_table(comparison)],
            "Intervals are 95 % bootstrap intervals over the rows.",
        ),
        Section(
            f"Paired differences{suffix}",
            [Row(list(_difference_charts(comparison))), _difference_table(comparison)],
            f"Each model minus {names[0]} on the same rows. An interval that excludes 0 and a small p speak for a "
            "difference that is not due to the choice of rows; they do not include the variance between random seeds.",
        ),
        Section(
            f"Rows on which models disagree{suffix}",
            list(_disagreements(comparison)),
            "Rows that only one of two models predicts correctly come first; for numbers, those with the largest "
            "differences.",
        ),
    ]


def _metrics(comparison: ModelComparison) -> list[str]:
    return list(comparison.differences[0].metrics)


def _value(comparison: ModelComparison, metric: str, number: int) -> float:
    test = comparison.differences[max(number - 1, 0)].metrics[metric]
    return test.second if number else test.first


def _metric_charts(comparison: ModelComparison) -> Iterator[Block]:
    for metric in _metrics(comparison)[:MOST_CHARTS]:
        bars = [
            Bar(side.name, _value(comparison, metric, i), *side.intervals[metric])
            for i, side in enumerate(comparison.sides)
        ]
        yield bar_chart(metric, bars, _axis(metric), as_dots=True, note=_direction(metric))


def _difference_charts(comparison: ModelComparison) -> Iterator[Block]:
    for metric in _metrics(comparison)[:MOST_CHARTS]:
        bars = []
        for difference in comparison.differences:
            test = difference.metrics[metric]
            bars.append(Bar(difference.name, test.difference, *test.interval))
        axis = Axis(f"difference in {metric}", show=lambda value, metric=metric: show_signed(metric, value))  # type: ignore[misc]
        reference = Reference("no difference", x=0.0)
        yield bar_chart(f"{metric}: difference", bars, axis, [reference], as_dots=True, note=_direction(metric))


def _axis(metric: str) -> Axis:
    return Axis(metric, show=lambda value: show(metric, value))


def _direction(metric: str) -> str:
    return "" if metric not in METRICS or METRICS[metric].higher_is_better else "Lower is better."


def _metric_table(comparison: ModelComparison) -> Table:
    rows: list[list[CellValue]] = []
    for metric in _metrics(comparison):
        for i, side in enumerate(comparison.sides):
            low, high = side.intervals[metric]
            value = _value(comparison, metric, i)
            interval = Cell(f"{show(metric, low)} … {show(metric, high)}", low)
            rows.append([metric, side.name, Cell(show(metric, value), value), interval])
    return Table(["metric", "model", "value", "95 % interval"], rows)


def _difference_table(comparison: ModelComparison) -> Table:
    rows: list[list[CellValue]] = []
    for metric in _metrics(comparison):
        for difference in comparison.differences:
            test = difference.metrics[metric]
            low, high = test.interval
            p = test.p_permutation
            rows.append(
                [
                    metric,
                    difference.name,
                    Cell(show_signed(metric, test.difference), test.difference),
                    Cell(f"{show_signed(metric, low)} … {show_signed(metric, high)}", low),
                    Cell("–" if math.isnan(p) else f"{p:.3f}", p),
                ]
            )
    return Table(
        ["metric", f"compared with {comparison.sides[0].name}", "difference", "95 % interval", "p"],
        rows,
        note="Interval: paired bootstrap; p: approximate randomization, two-sided.",
    )


def _disagreements(comparison: ModelComparison) -> Iterator[Block]:
    first = comparison.sides[0]
    for side, difference in zip(comparison.sides[1:], comparison.differences, strict=True):
        if not difference.differing:
            yield Paragraph(f"{side.name} and {first.name} agree on every row.", "note")
            continue
        yield _disagreement_table(comparison, (first, side), difference)


def _disagreement_table(
    comparison: ModelComparison, pair: tuple[ComparedModel, ComparedModel], difference: MetricDifference
) -> Table:
    places = difference.differing[:MOST_ROWS]
    examples = [comparison.rows[place] for place in places]
    has_pair = any(example.text_pair is not None for example in examples)
    correct = None if difference.mcnemar is None else [is_row_correct(side.outcome) for side in pair]
    rows: list[list[CellValue]] = []
    for place, example in zip(places, examples, strict=True):
        truth, *predictions = show_differing(example, [side.predictions[place] for side in pair], format_prediction)
        colors = ["" if correct is None else ("good" if side[place] else "bad") for side in (correct or ((), ()))]
        rows.append(
            [
                shorten_text(example.text),
                *([shorten_text(example.text_pair or "")] if has_pair else []),
                truth,
                *(Cell(text, css=color) for text, color in zip(predictions, colors, strict=True)),
                last_part(example.where or example.id),
            ]
        )
    columns = ["text", *(["second text"] if has_pair else []), "truth", *(side.name for side in pair), "row"]
    n, total = len(places), len(difference.differing)
    caption = f"{pair[1].name} and {pair[0].name}: {n:,} of {total:,} rows on which they disagree"
    return Table(columns, rows, caption, stacked=True, most_visible=MOST_VISIBLE)
