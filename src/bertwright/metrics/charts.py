"""Charts and tables of an evaluation, as values: what they show, without how a page draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Point = tuple[float, float]
"""x and y."""

Range = tuple[float, float]
"""Lowest and highest value of an axis."""


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: x and y, in the order in which they are joined.
        notes: what each point shows on hover; empty for its coordinates.
    """

    name: str
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


class Bars(NamedTuple):
    """The bars of one color: a value for each group; nan for none."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over a common axis.

    Attributes:
        title: heading.
        caption: how to read it, as sentences.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        lines: in the order of the legend.
        x_range: bounds of the horizontal axis; None: those of the points.
        y_range: bounds of the vertical axis; None: those of the points.
        reference: two ends of a dashed line to compare with; None for none.
        markers: whether each point is marked.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_range: Range | None = None
    y_range: Range | None = None
    reference: tuple[Point, Point] | None = None
    markers: bool = False


@dataclass(frozen=True, slots=True)
class ScatterPlot:
    """Points.

    Attributes:
        title: heading.
        caption: how to read it, as sentences.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        points: x and y.
        reference: two ends of a dashed line to compare with; None for none.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]
    reference: tuple[Point, Point] | None = None


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars in groups.

    Attributes:
        title: heading.
        caption: how to read it, as sentences.
        x_label: what the groups are.
        y_label: what the bars measure.
        groups: names of the groups, in order.
        bars: one or more values for each group.
        counts: rows of each group; empty if the bars are counts.
        y_range: bounds of the values; None: from 0 to the largest.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    groups: tuple[str, ...]
    bars: tuple[Bars, ...]
    counts: tuple[int, ...] = ()
    y_range: Range | None = None


Cell = str | int | float
"""A text, a count, or a number; nan for none."""


@dataclass(frozen=True, slots=True)
class ValueTable:
    """A table.

    Attributes:
        title: heading.
        caption: how to read it, as sentences.
        columns: headings.
        rows: with a cell for each column.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Chart = LineChart | ScatterPlot | BarChart | ValueTable
"""Anything that a report shows about an evaluation besides its metrics."""
