"""Drawings in SVG: elements whose colors come from the page, and a text alternative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bertwright.output.escaping import escape_html

N_COLORS = 5
"""Colors of series: the classes ``c0`` … ``c4`` of the style sheet."""

CHARACTER = 6.9
"""Mean width of a character of 12 units."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a legend.

    Attributes:
        name: what it stands for.
        color: a class of the style sheet: ``c0`` … ``c4`` or ``muted``.
        style: how the line is drawn: ``solid``, ``dashed``, ``dotted`` or ``faint``.
    """

    name: str
    color: str
    style: str = "solid"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with its text alternative; a block of a page.

    Attributes:
        title: what the picture shows; its caption.
        description: the content in sentences, for readers who cannot see it.
        width: in units of about one pixel.
        height: the same.
        elements: SVG elements, from :func:`element`.
        legend: shown above the picture.
        note: a sentence below it.
        wide: whether the picture takes the full width of the page instead of a column.
    """

    template: ClassVar[str] = "drawing.html"

    title: str
    description: str
    width: float
    height: float
    elements: tuple[str, ...]
    legend: tuple[LegendEntry, ...] = ()
    note: str = ""
    wide: bool = False

    def __html__(self) -> str:
        """The SVG element, escaped."""
        label = escape_html(f"{self.title}. {self.description}".strip())
        size = f"{self.width:g} {self.height:g}"
        return f'<svg viewBox="0 0 {size}" role="img" aria-label="{label}">{"".join(self.elements)}</svg>'


def element(name: str, content: str = "", /, tip: str = "", **attributes: object) -> str:
    """An SVG element; text and attributes are escaped.

    Args:
        name: of the element.
        content: its text.
        tip: shown when the pointer is on the element; may have several lines.
        attributes: by name, with ``_`` for ``-``; ``css`` is the class. Numbers are rounded to two decimals.
    """
    if tip:
        attributes["data_tip"] = tip
    parts = []
    for key, value in attributes.items():
        shown = _shorten_number(value) if isinstance(value, float) else escape_html(str(value))
        parts.append(f' {"class" if key == "css" else key.replace("_", "-")}="{shown}"')
    return f"<{name}{''.join(parts)}>{escape_html(content)}</{name}>"


def polyline(points: Iterable[tuple[float, float]], css: str) -> str:
    """A line through points; it has gaps where a coordinate is not a number."""
    commands, pen_down = [], False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            commands.append(f"{'L' if pen_down else 'M'}{_shorten_number(x)} {_shorten_number(y)}")
            pen_down = True
        else:
            pen_down = False
    return element("path", d="".join(commands), css=f"line {css}")


def marker(x: float, y: float, series: int, tip: str = "") -> str:
    """The marker of a series: each of the five colors has its own shape."""
    css = f"dot c{series % N_COLORS}"
    shape = ("circle", "square", "triangle", "diamond", "wedge")[series % N_COLORS]
    if shape == "circle":
        return element("circle", tip=tip, cx=x, cy=y, r=3.2, css=css)
    corners = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "triangle": ((0, -4), (3.8, 3), (-3.8, 3)),
        "diamond": ((0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)),
        "wedge": ((0, 4), (3.8, -3), (-3.8, -3)),
    }[shape]
    path = "".join(f"{'L' if i else 'M'}{x + dx:.2f} {y + dy:.2f}" for i, (dx, dy) in enumerate(corners))
    return element("path", tip=tip, d=f"{path}Z", css=css)


def shorten(text: str, most: int) -> str:
    """The beginning of a text that is too long for its place."""
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def text_width(texts: Sequence[str]) -> float:
    """The width of the longest text, in units."""
    return max(map(len, texts), default=0) * CHARACTER


def _shorten_number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
