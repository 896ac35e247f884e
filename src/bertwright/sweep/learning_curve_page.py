"""The HTML page of a learning curve, ``report.html``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from bertwright.html.axes import Axis
from bertwright.html.charts import Series, line_chart
from bertwright.html.page import Cell, CellValue, Facts, Page, Row, Section, Table
from bertwright.metrics import METRICS
from bertwright.run.report import duration, environment, show
from bertwright.sweep.sweep_page import list_remarks

if TYPE_CHECKING:
    from bertwright.sweep.learning_curve import LearningCurve

N_LAW_POINTS: Final = 30
"""Points at which the fitted law is drawn."""


def build_learning_curve_page(curve: LearningCurve, name: str) -> Page:
    """Build the page of a learning curve.

    Args:
        curve: the results.
        name: of the directory.
    """
    lower = "" if METRICS[curve.metric].higher_is_better else " Lower is better."
    results = [result for point in curve.points for result in point.results]
    facts = {
        "sizes": f"{len(curve.points):,}",
        "trials": f"{len(results):,}",
        "seeds": ", ".join(map(str, dict.fromkeys(result.seed for result in results))),
        "time of all trials": duration(sum(result.seconds for result in results)),
    }
    return Page(
        name,
        [
            Section("Summary", [Facts(facts), list_remarks(curve.remarks())]),
            Section("Learning curve", [*_draw_curve(curve), _curve_table(curve)], lower.strip()),
        ],
        f"{curve.metric} on {curve.split} by number of training rows.",
        f"Written by bertwright {environment()['bertwright']}.",
    )


def _draw_curve(curve: LearningCurve) -> list[Row]:
    points = [point for point in curve.points if point.values]
    if not points:
        return []
    sizes = [float(point.rows) for point in points]
    series = [Series("mean", sizes, [point.mean for point in points], markers=True)]
    for seed in dict.fromkeys(result.seed for point in points for result in point.results):
        by_size = {point.rows: result.value for point in points for result in point.results if result.seed == seed}
        series.append(Series(f"seed {seed}", sizes, [by_size.get(int(size), np.nan) for size in sizes], "faint", 1))
    note = ""
    if curve.extrapolation is not None:
        law = np.geomspace(sizes[0], 2 * sizes[-1], N_LAW_POINTS).round().tolist()
        series.append(Series("fitted law", law, curve.extrapolation.scores(law).tolist(), "dashed", 2, markers=False))
        note = "The dashed line is the fitted law, up to twice the rows."
    x, y = Axis("training rows", log=True), Axis(curve.metric, show=lambda value: show(curve.metric, value))
    return [Row([line_chart("Score by number of training rows", series, x, y, note=note)])]


def _curve_table(curve: LearningCurve) -> Table:
    rows: list[list[CellValue]] = []
    for point in curve.points:
        seconds = sum(result.seconds for result in point.results)
        cells: list[CellValue] = [Cell(show(curve.metric, value), value) for value in (point.mean, point.std)]
        counts = (len(point.values), len(point.collapsed), len(point.failed))
        rows.append([Cell(f"{point.rows:,}", point.rows), *cells, *counts, Cell(duration(seconds), seconds)])
    return Table(["training rows", curve.metric, "± std", "n", "collapsed", "failed", "time"], rows)
