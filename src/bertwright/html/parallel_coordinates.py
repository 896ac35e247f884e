"""Parallel coordinates: each line is a configuration, each axis a setting or a result (Inselberg 1985)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bertwright.html.axes import WIDTH
from bertwright.html.svg import Drawing, LegendEntry, element, polyline, shorten

PER_AXIS, HEIGHT = 130.0, 280.0
"""Width for each axis, and height of the drawing."""

MOST_AXES = 8
"""Axes that fit into the width of a page."""

MOST_OF_NAME = 16
"""Characters of the name of an axis or a value."""

MOST_MARKS = 4
"""An axis with more distinct numbers shows the lowest and the highest."""

LOG_RATIO = 4.0
"""Positive values that differ by more than this factor have a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """An axis.

    Attributes:
        name: above the axis.
        values: of each line, as they are shown.
        numbers: the same as numbers; None for values that are placed at equal distances, in the order of their first
            occurrence.
    """

    name: str
    values: tuple[str, ...]
    numbers: tuple[float, ...] | None = None

    def place(self) -> tuple[list[float], list[tuple[float, str]]]:
        """The position of each value from 0 to 1, nan for none, and the marks of the axis as position and text."""
        if self.numbers is None:
            texts = list(dict.fromkeys(self.values))
            places = {text: (i + 0.5) / len(texts) for i, text in enumerate(texts)}
            return [places[value] for value in self.values], [(place, text) for text, place in places.items()]
        finite = [value for value in self.numbers if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        log = low > 0 and high / low > LOG_RATIO
        start, end = (math.log(low), math.log(high)) if log else (low, high)

        def position(value: float) -> float:
            if not math.isfinite(value):
                return math.nan
            return 0.5 if start == end else ((math.log(value) if log else value) - start) / (end - start)

        shown = dict(zip(self.numbers, self.values, strict=True))
        distinct = sorted(set(finite))
        marks = [low, high] if len(distinct) > MOST_MARKS else distinct
        return [position(value) for value in self.numbers], [(position(value), shown[value]) for value in marks]


def draw_parallel_coordinates(
    title: str, coordinates: Sequence[Coordinate], names: Sequence[str], best: int, note: str = ""
) -> Drawing:
    """Draw a line for each configuration through its values; the best one is highlighted and drawn last.

    Args:
        title: caption.
        coordinates: the axes from left to right, at most :data:`MOST_AXES`.
        names: of each line, shown on hover.
        best: the number of the best line.
        note: a sentence below the drawing.
    """
    top, bottom = 34.0, HEIGHT - 16.0
    xs = [PER_AXIS * (i + 0.5) for i in range(len(coordinates))]
    width = PER_AXIS * len(coordinates)
    placed = [coordinate.place() for coordinate in coordinates]

    def height(position: float) -> float:
        return bottom - position * (bottom - top)

    elements: list[str] = []
    lines = [
        [(x, height(positions[row])) for x, (positions, _) in zip(xs, placed, strict=True)] for row in range(len(names))
    ]
    order = [row for row in range(len(names)) if row != best] + [best]
    elements += [polyline(lines[row], "c0 solid" if row == best else "c1 faint") for row in order]
    for coordinate, (_, marks), x in zip(coordinates, placed, xs, strict=True):
        elements += _draw_axis(coordinate.name, [(height(place), text) for place, text in marks], x, top, bottom)
    for row in order:
        elements += [
            element("circle", tip=names[row], cx=x, cy=y, r=3.2, css=f"dot c{0 if row == best else 1}")
            for x, y in lines[row]
            if math.isfinite(y)
        ]
    axes = ", ".join(coordinate.name for coordinate in coordinates)
    description = f"{len(names):,} configurations over the axes {axes}. Best: {names[best]}."
    legend = (LegendEntry("best", "c0"), LegendEntry("others", "c1", "faint"))
    return Drawing(title, description, width, HEIGHT, tuple(elements), legend, note, wide=width > WIDTH)


def _draw_axis(name: str, marks: Sequence[tuple[float, str]], x: float, top: float, bottom: float) -> Iterator[str]:
    yield element("line", x1=x, x2=x, y1=top, y2=bottom, css="axis")
    yield element("text", shorten(name, MOST_OF_NAME), x=x, y=top - 18, text_anchor="middle", css="name")
    for y, text in marks:
        yield element("text", shorten(text, MOST_OF_NAME), x=x + 7, y=y + 4)
