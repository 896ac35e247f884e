"""Charts over two axes: lines and points."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bertwright.html.axes import HEIGHT, WIDTH, Axis, Frame, make_frame
from bertwright.html.svg import N_COLORS, Drawing, LegendEntry, element, marker, polyline

MOST_MARKERS = 40
"""Lines with more points have no markers; in a scatter chart with more points these are small."""

MOST_TIPS = 150
"""Values that a line chart shows on hover; of more, evenly spaced ones."""

ANY_AXIS = Axis()


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a line, from left to right.

    Attributes:
        name: in the legend and in tips.
        xs: positions.
        ys: values; nan leaves a gap.
        style: ``solid``, ``dashed``, ``dotted``, or ``faint`` for noisy values behind another line.
        color: the number of its color; None for the number of the series.
        markers: whether points have markers; None if there are few.
        tips: what each point shows on hover; empty for its coordinates.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: str = "solid"
    color: int | None = None
    markers: bool | None = None
    tips: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A straight line to compare values with.

    Attributes:
        name: in the legend.
        x: of a vertical line.
        y: of a horizontal line.
        ends: of any other line, in the unit of the axes.
        color: the number of its color; None for gray.
    """

    name: str
    x: float | None = None
    y: float | None = None
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None
    color: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter chart.

    Attributes:
        x: position.
        y: value.
        tip: shown on hover, for example the text of a row.
        series: the number of its color and shape.
    """

    x: float
    y: float
    tip: str = ""
    series: int = 0


def line_chart(
    title: str,
    series: Sequence[Series],
    x: Axis = ANY_AXIS,
    y: Axis = ANY_AXIS,
    references: Sequence[Reference] = (),
    *,
    note: str = "",
    description: str = "",
) -> Drawing:
    """Draw lines, with all values at a position on hover.

    Args:
        title: caption.
        series: the lines; from the sixth on they are dashed, because there are five colors.
        x: the horizontal axis.
        y: the vertical axis.
        references: straight lines.
        note: a sentence below the chart.
        description: text alternative; the default gives the range and the last value of each line.
    """
    xs = [value for line in series for value in line.xs] + [r.x for r in references if r.x is not None]
    ys = [value for line in series for value in line.ys] + [r.y for r in references if r.y is not None]
    frame = make_frame(x, y, xs, ys)
    elements = [*frame.elements, *_draw_references(frame, references), *_draw_tips(frame, series, x, y)]
    legend = []
    for number, line in enumerate(series):
        color = number if line.color is None else line.color
        style = "dashed" if line.style == "solid" and color >= N_COLORS else line.style
        elements += _draw_series(frame, replace(line, style=style), color, x, y)
        legend.append(LegendEntry(line.name, f"c{color % N_COLORS}", style))
    legend += describe_references(references)
    shown = tuple(entry for entry in legend if entry.name)
    text = description or " ".join(filter(None, (_describe(line, y) for line in series)))
    return Drawing(title, text, WIDTH, HEIGHT, tuple(elements), shown, note)


def scatter_chart(
    title: str,
    points: Sequence[Point],
    x: Axis = ANY_AXIS,
    y: Axis = ANY_AXIS,
    references: Sequence[Reference] = (),
    *,
    names: Sequence[str] = (),
    note: str = "",
    description: str = "",
) -> Drawing:
    """Draw points, with their coordinates and tips on hover.

    Args:
        title: caption.
        points: to draw.
        x: the horizontal axis.
        y: the vertical axis.
        references: straight lines, such as the diagonal.
        names: of the series, for the legend.
        note: a sentence below the chart.
        description: text alternative; the default gives the number of points and their ranges.
    """
    xs, ys = [point.x for point in points], [point.y for point in points]
    frame = make_frame(
        x,
        y,
        xs + [r.x for r in references if r.x is not None],
        ys + [r.y for r in references if r.y is not None],
    )
    elements = [*frame.elements, *_draw_references(frame, references)]
    for point in points:
        place = frame.x(point.x), _place(frame, point.y)
        if all(map(math.isfinite, place)):
            lines = [
                f"{x.label or 'x'} {x.show(point.x)}, {y.label or 'y'} {y.show(point.y)}",
                *([point.tip] if point.tip else []),
            ]
            tip = "\n".join(lines)
            if len(points) > MOST_MARKERS:  # many points are small and translucent, so that dense areas are visible
                css = f"dot cloud c{point.series % N_COLORS}"
                elements.append(element("circle", tip=tip, cx=place[0], cy=place[1], r=2.4, css=css))
            else:
                elements.append(marker(*place, series=point.series, tip=tip))
    legend = [LegendEntry(name, f"c{number % N_COLORS}") for number, name in enumerate(names)]
    legend += describe_references(references)
    text = description
    if not text and points:
        text = (
            f"{len(points):,} points; {x.label or 'x'} from {x.show(min(xs))} to {x.show(max(xs))}, "
            f"{y.label or 'y'} from {y.show(min(ys))} to {y.show(max(ys))}."
        )
    return Drawing(title, text, WIDTH, HEIGHT, tuple(elements), tuple(legend), note)


def _draw_series(frame: Frame, line: Series, color: int, x: Axis, y: Axis) -> Iterator[str]:
    """The line, and markers with tips if it has few points."""
    places = [(frame.x(a), _place(frame, b)) for a, b in zip(line.xs, line.ys, strict=True)]
    yield polyline(places, f"c{color % N_COLORS} {line.style}")
    if line.markers or (line.markers is None and len(places) <= MOST_MARKERS and line.style != "faint"):
        for i, place in enumerate(places):
            if all(map(math.isfinite, place)):
                tip = line.tips[i] if line.tips else _tip(x, line.xs[i], [_value_tip(line, line.ys[i], y)])
                yield marker(*place, series=color, tip=tip)


def _tip(x: Axis, position: float, lines: Sequence[str]) -> str:
    return "\n".join((f"{x.label} {x.show(position)}".strip(), *lines))


def _value_tip(line: Series, value: float, y: Axis) -> str:
    return f"{line.name or y.label} {y.show(value)}".strip()


def _place(frame: Frame, value: float) -> float:
    """The vertical position of a value; values beyond the axis are drawn at its end."""
    return frame.y.clamp(value) if math.isfinite(value) else math.nan


def _draw_references(frame: Frame, references: Sequence[Reference]) -> Iterator[str]:
    x, y = frame.x, frame.y
    for reference in references:
        css = "muted" if reference.color is None else f"c{reference.color % N_COLORS}"
        if reference.x is not None:
            ends = (x(reference.x), y.start), (x(reference.x), y.end)
        elif reference.y is not None:
            ends = (x.start, y(reference.y)), (x.end, y(reference.y))
        elif reference.ends is not None:
            (x1, y1), (x2, y2) = reference.ends
            ends = (x(x1), y.clamp(y1)), (x(x2), y.clamp(y2))
        else:
            continue
        yield polyline(ends, f"{css} {_style_of(reference)}")


def describe_references(references: Sequence[Reference]) -> list[LegendEntry]:
    """One entry for each name; lines that share a name have the colors of what they refer to."""
    counts = Counter(reference.name for reference in references)
    entries = {}
    for reference in references:
        gray = reference.color is None or counts[reference.name] > 1
        color = "muted" if gray else f"c{(reference.color or 0) % N_COLORS}"
        entries[reference.name] = LegendEntry(reference.name, color, _style_of(reference))
    return [entry for name, entry in entries.items() if name]


def _style_of(reference: Reference) -> str:
    return "dotted" if reference.x is not None else "dashed"


def _draw_tips(frame: Frame, series: Sequence[Series], x: Axis, y: Axis) -> Iterator[str]:
    """Invisible columns between the positions of values; each shows the values within it."""
    lines = [line for line in series if not line.tips]
    places = sorted({place for line in lines for position in line.xs if math.isfinite(place := frame.x(position))})
    edges = [frame.x.start, *((a + b) / 2 for a, b in pairwise(places)), frame.x.end]
    if len(places) > MOST_TIPS:
        edges = [frame.x.start + (frame.x.end - frame.x.start) * i / MOST_TIPS for i in range(MOST_TIPS + 1)]
    columns: dict[int, dict[int, tuple[float, float]]] = {}
    for number, line in enumerate(lines):
        for position, value in zip(line.xs, line.ys, strict=True):
            place = frame.x(position)
            if math.isfinite(place):
                column = min(max(bisect_right(edges, place) - 1, 0), len(edges) - 2)
                columns.setdefault(column, {})[number] = position, value
    for column, values in columns.items():
        left, right = edges[column], edges[column + 1]
        texts = [_value_tip(lines[number], value, y) for number, (_, value) in sorted(values.items())]
        yield element(
            "rect",
            tip=_tip(x, next(iter(values.values()))[0], texts),
            x=left,
            width=max(0.0, right - left),
            y=frame.y.end,
            height=frame.y.start - frame.y.end,
            css="hit",
        )


def _describe(line: Series, y: Axis) -> str:
    """A sentence on a line for readers who cannot see it."""
    values = [value for value in line.ys if math.isfinite(value)]
    if not values or line.style == "faint":
        return ""
    if len(values) == 1:
        return f"{line.name}: {y.show(values[0])}.".removeprefix(": ")
    text = f"{line.name}: from {y.show(values[0])} to {y.show(values[-1])}"
    return f"{text}, between {y.show(min(values))} and {y.show(max(values))}.".removeprefix(": ")
