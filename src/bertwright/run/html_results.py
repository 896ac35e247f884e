"""The results of a run as blocks of its HTML report: numbers, curves, labels and data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bertwright.html.axes import Axis
from bertwright.html.categories import heat_map
from bertwright.html.charts import Reference, Series, line_chart
from bertwright.html.page import Block, Cell, CellValue, Paragraph, Row, Table, Tile, Tiles
from bertwright.html.svg import Drawing
from bertwright.run.curves import Curve, Curves, LearningCurves, collect_curves, highest_shown
from bertwright.run.plots import WIDE_RANGE
from bertwright.run.report import DATA_WORDS, Report, show, show_loss, show_signed
from bertwright.run.settings_in_words import last_part

MOST_POINTS = 400
"""Points of a curve; of more, the means of neighboring ones are drawn."""

MOST_TILES = 4

MOST_LABELS_VISIBLE = 30
"""Rows of the table per label before a click."""


def result_tiles(report: Report) -> list[Tiles]:
    """The metrics of the first split in large letters, each with its interval and baseline."""
    split = next(iter(report.metrics), None)
    if split is None:
        return []
    tiles = []
    for name, value in list(report.metrics[split].items())[:MOST_TILES]:
        interval = _interval(report, split, name)
        baseline = report.baseline.get(split, {}).get(name, math.nan)
        details = [
            f"95 % interval {interval}" if interval else "",
            "" if math.isnan(baseline) else f"{report.wording.baseline_column} baseline {show(name, baseline)}",
        ]
        tiles.append(Tile(f"{name} · {split}", show(name, value), "\n".join(filter(None, details))))
    return [Tiles(tiles)]


def has_baseline(report: Report) -> bool:
    """Whether any metric of the baseline is defined."""
    return any(math.isfinite(value) for baseline in report.baseline.values() for value in baseline.values())


def metrics_table(report: Report) -> list[Table]:
    """All metrics of all splits."""
    rows: list[list[CellValue]] = []
    for split, metrics in report.metrics.items():
        baseline = report.baseline.get(split, {})
        for name, value in metrics.items():
            reference = baseline.get(name, math.nan)
            difference = value - reference
            cells = [
                Cell(show(name, value), value),
                Cell(_interval(report, split, name) or "–", value),
                Cell(show(name, reference), reference),
                Cell("–" if math.isnan(difference) else show_signed(name, difference), difference),
            ]
            rows.append([split, name, *cells])
    if not rows:
        return []
    columns = ["split", "metric", "value", "95 % interval", f"{report.wording.baseline_column} baseline", "difference"]
    n_columns = len(columns) if has_baseline(report) else -2
    return [Table(columns[:n_columns], [row[:n_columns] for row in rows])]


def learning_charts(report: Report, events: Iterable[Mapping[str, Any]]) -> list[Block]:
    """Losses, metrics and learning rate over the steps; nothing without events."""
    curves = collect_curves(events)
    step = report.best.get("step")
    chosen = [] if step is None else [Reference("selected checkpoint", x=float(step))]
    x = Axis("step", low=0.0)
    charts: list[Drawing] = []
    if curves.losses is not None or curves.validation:
        charts.append(_draw_losses(curves, x, chosen))
    for direction, group in curves.metrics.items():
        charts.append(_draw_metrics(report, direction, group, x, chosen))
    if curves.rates is not None:
        series = [_to_series("", curves.rates, markers=False)]
        charts.append(line_chart("Learning rate", series, x, Axis("learning rate", low=0.0)))
    if not charts:
        return []
    blocks: list[Block] = [Row(charts)]
    if (losses := report.losses()) is not None:
        training, validation = map(show_loss, losses)
        text = f"Loss of the selected checkpoint: training {training}, validation {validation}."
        blocks.append(Paragraph(text, "note"))
    return blocks


def _draw_losses(curves: LearningCurves, x: Axis, chosen: list[Reference]) -> Drawing:
    series = []
    lowest = 0.0
    if curves.losses is not None and curves.smooth is not None:
        lowest = min(0.0, float(curves.losses[1].min()))
        series.append(_to_series("training, each step", curves.losses, style="faint", color=1))
        series.append(_to_series("training, smoothed", curves.smooth, color=1, markers=False))
    for color, (split, curve) in zip((0, 2, 4), curves.validation.items(), strict=False):
        series.append(_to_series(f"validation, {split}" if split else "validation", curve, color=color))
    return line_chart("Loss", series, x, Axis("loss", lowest, highest_shown(curves), show=show_loss), chosen)


def _draw_metrics(report: Report, direction: str, group: Curves, x: Axis, chosen: list[Reference]) -> Drawing:
    baselines = {
        f"{split} {name}": value for split, metrics in report.baseline.items() for name, value in metrics.items()
    }
    series, references = [], []
    for number, (name, curve) in enumerate(group.items()):
        series.append(_to_series(name, curve, color=number))
        baseline = baselines.get(name, math.nan)
        if math.isfinite(baseline):
            references.append(Reference(f"{report.wording.baseline_column} baseline", y=baseline, color=number))
    values = np.concatenate([values for _, values in group.values()])
    log = bool(values.min() > 0 and values.max() > WIDE_RANGE * values.min())
    if log:
        references = [reference for reference in references if (reference.y or 0) > 0]
    return line_chart(f"Metrics ({direction})", series, x, Axis(log=log), [*references, *chosen])


def _to_series(
    name: str, curve: Curve, style: str = "solid", color: int | None = None, markers: bool | None = None
) -> Series:
    steps, values = curve
    if len(steps) > MOST_POINTS:
        edges = np.linspace(0, len(steps), MOST_POINTS + 1).round().astype(int)[:-1]
        counts = np.diff(np.append(edges, len(steps)))
        steps, values = (np.add.reduceat(column, edges) / counts for column in (steps, values))
        steps = steps.round()
    return Series(name, steps.tolist(), values.tolist(), style, color, markers)


def label_blocks(report: Report) -> list[Block]:
    """Precision, recall and F1 of each label, the confusion matrix, and the most confused labels."""
    blocks: list[Block] = []
    for split, labels in list(report.per_class.items())[:1]:
        rows: list[list[CellValue]] = [
            [
                label,
                *(Cell(f"{values[key]:.3f}", values[key], values[key]) for key in ("precision", "recall", "f1")),
                int(values["support"]),
                int(values["predicted"]),
            ]
            for label, values in labels.items()
        ]
        columns = ["label", "precision", "recall", "f1", "true", "predicted"]
        blocks.append(Table(columns, rows, f"Scores per label on {split}", most_visible=MOST_LABELS_VISIBLE))
    for split, counts in list(report.confusion.items())[:1]:
        note = "Rows are true labels, columns predicted ones; colors are shares of the true label."
        blocks.append(heat_map(f"Confusion matrix on {split}", counts, report.labels, report.labels, note=note))
    for split, pairs in list(report.confused.items())[:1]:
        columns = ["true label", "predicted label", "rows"]
        blocks.append(Table(columns, pairs, f"Most confused labels on {split}", most_visible=MOST_LABELS_VISIBLE))
    return blocks


def data_table(report: Report) -> list[Table]:
    """The counts of rows and tokens of each split, with its source."""
    shown = {key: title for key, title in DATA_WORDS.items() if any(key in row for row in report.data.values())}
    rows: list[list[CellValue]] = [
        [split, last_part(str(row["source"])) if row.get("source") else None, *(row.get(key) for key in shown)]
        for split, row in report.data.items()
    ]
    return [Table(["split", "source", *shown.values()], rows)] if rows else []


def _interval(report: Report, split: str, name: str) -> str:
    low, high = report.intervals.get(split, {}).get(name, (math.nan, math.nan))
    return "" if math.isnan(low) else f"{show(name, low)} … {show(name, high)}"
