"""Drawings and tables of the charts that tasks compose of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable

from bertwright.html.axes import Axis
from bertwright.html.categories import Bar, bar_chart
from bertwright.html.charts import Point, Reference, Series, line_chart, scatter_chart
from bertwright.html.page import Block, Row, Table
from bertwright.html.svg import Drawing
from bertwright.metrics.charts import BarChart, Chart, LineChart, Range, ScatterPlot, ValueTable

MOST_VISIBLE = 15
"""Rows of a table before a click."""

BAR_COLORS = (1, 0, 2, 3, 4)


def draw_charts(charts: Iterable[Chart]) -> list[Block]:
    """Draw charts in their order; neighboring drawings share a row."""
    blocks: list[Block] = []
    row: list[Drawing] = []
    for chart in charts:
        if isinstance(chart, ValueTable):
            blocks += [Row(row)] if row else []
            row = []
            blocks.append(Table(chart.columns, chart.rows, chart.title, chart.caption, most_visible=MOST_VISIBLE))
        else:
            row.append(draw_chart(chart))
    return [*blocks, Row(row)] if row else blocks


def draw_chart(chart: LineChart | ScatterPlot | BarChart) -> Drawing:
    """Draw one chart."""
    if isinstance(chart, BarChart):
        return _draw_bars(chart)
    references = [] if chart.reference is None else [Reference("", ends=chart.reference)]
    if isinstance(chart, ScatterPlot):
        points = [Point(*point, series=1) for point in chart.points]
        x, y = Axis(chart.x_label), Axis(chart.y_label)
        return scatter_chart(chart.title, points, x, y, references, note=chart.caption)
    series = [
        Series(line.name, *_to_columns(line.points), markers=chart.markers, tips=line.notes) for line in chart.lines
    ]
    x, y = _to_axis(chart.x_label, chart.x_range), _to_axis(chart.y_label, chart.y_range)
    return line_chart(chart.title, series, x, y, references, note=chart.caption)


def _draw_bars(chart: BarChart) -> Drawing:
    grouped = len(chart.bars) > 1
    counts = chart.counts or (None,) * len(chart.groups)
    bars = [
        Bar(
            name,
            bars.values[i],
            tip="" if count is None else f"{count:,} rows",
            color=BAR_COLORS[number % len(BAR_COLORS)],
            series=bars.name if grouped else "",
        )
        for i, (name, count) in enumerate(zip(chart.groups, counts, strict=True))
        for number, bars in enumerate(chart.bars)
    ]
    low, high = chart.y_range or (None, None)
    axis = Axis(chart.y_label if grouped else chart.bars[0].name, low, high)
    return bar_chart(chart.title, bars, axis, note=chart.caption)


def _to_axis(label: str, ends: Range | None) -> Axis:
    return Axis(label) if ends is None else Axis(label, *ends)


def _to_columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [x for x, _ in pairs], [y for _, y in pairs]
