"""Charts of named values: bars, means with intervals, and tables of counts as heat maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bertwright.html.axes import WIDTH, Axis, Scale, make_scale, show_ticks
from bertwright.html.charts import ANY_AXIS, Reference, describe_references
from bertwright.html.svg import N_COLORS, Drawing, LegendEntry, element, marker, shorten, text_width

BAR = 24.0
"""Height of a bar and the space below it."""

MOST_OF_NAME = 27
"""Characters of a name next to a bar."""

MOST_NUMBERED = 12
"""Heat maps with more columns show colors without numbers."""

MOST_NAMED = 40
"""Heat maps with more rows have no names at their sides, because these would be too small to read."""

MOST_CELLS = 4000
"""Cells of a heat map with a tip; of more, those with the highest counts."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A named value.

    Attributes:
        name: left of the bar.
        value: its length; nan for none.
        low: lower end of its interval; None for none.
        high: upper end of its interval.
        tip: more lines to show on hover.
        color: the number of its color.
        series: which of several bars with the same name it is; only the first bar of a name shows the name.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    tip: str = ""
    color: int = 1
    series: str = ""


def bar_chart(
    title: str,
    bars: Sequence[Bar],
    axis: Axis = ANY_AXIS,
    references: Sequence[Reference] = (),
    *,
    as_dots: bool = False,
    note: str = "",
    description: str = "",
) -> Drawing:
    """Draw horizontal bars, or dots with intervals, from top to bottom.

    Args:
        title: caption.
        bars: the values.
        axis: of the values; bars start at 0, dots at the lowest value.
        references: lines at a value ``x``, such as a baseline.
        as_dots: whether to draw dots, for values that are compared by their differences.
        note: a sentence below the chart.
        description: text alternative; the default lists the values.
    """
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None]
    ends += [reference.x for reference in references if reference.x is not None]
    if not as_dots and axis.low is None and min(ends, default=0.0) >= 0:
        axis = Axis(axis.label, 0.0, axis.high, axis.log, axis.show)
    names = [
        "" if i and bar.series and bars[i - 1].name == bar.name else shorten(bar.name, MOST_OF_NAME)
        for i, bar in enumerate(bars)
    ]
    values = [axis.show(bar.value) for bar in bars]
    x = make_scale(axis, ends, 12 + text_width(names), WIDTH - 14 - text_width(values))
    bottom = 6 + BAR * len(bars)
    elements = list(_draw_value_axis(axis, x, bottom))
    for number, (bar, name, value) in enumerate(zip(bars, names, values, strict=True)):
        elements += _draw_bar(bar, name, value, x, 6 + BAR * (number + 0.5), as_dots)
    for reference in references:
        if reference.x is not None:
            place, css = x(reference.x), "muted" if reference.color is None else f"c{reference.color % N_COLORS}"
            elements.append(element("line", x1=place, x2=place, y1=6.0, y2=bottom, css=f"line dotted {css}"))
    for number, bar in enumerate(bars):
        interval = "" if bar.low is None or bar.high is None else f" ({axis.show(bar.low)} … {axis.show(bar.high)})"
        tip = "\n".join(filter(None, (f"{_full_name(bar)}: {axis.show(bar.value)}{interval}", bar.tip)))
        elements.append(element("rect", tip=tip, x=0, width=WIDTH, y=6 + BAR * number, height=BAR, css="hit"))
    legend = [
        LegendEntry(name, f"c{color % N_COLORS}")
        for name, color in {b.series: b.color for b in bars if b.series}.items()
    ]
    legend += describe_references(references)
    text = description or "; ".join(f"{_full_name(bar)}: {axis.show(bar.value)}" for bar in bars) + "."
    height = bottom + (38 if axis.label else 22)
    return Drawing(title, text, WIDTH, height, tuple(elements), tuple(legend), note)


def _full_name(bar: Bar) -> str:
    return f"{bar.name}, {bar.series}" if bar.series else bar.name


def _draw_value_axis(axis: Axis, x: Scale, bottom: float) -> Iterator[str]:
    ticks = x.ticks(max(2, int((x.end - x.start) / 52)))
    for value, name in zip(ticks, show_ticks(ticks), strict=True):
        yield element("line", x1=x(value), x2=x(value), y1=6.0, y2=bottom, css="grid")
        yield element("text", name, x=x(value), y=bottom + 14, text_anchor="middle")
    if axis.label:
        yield element("text", axis.label, x=(x.start + x.end) / 2, y=bottom + 32, text_anchor="middle", css="name")


def _draw_bar(bar: Bar, name: str, value: str, x: Scale, middle: float, as_dot: bool) -> Iterator[str]:
    yield element("text", name, x=x.start - 6, y=middle + 4, text_anchor="end")
    if not math.isfinite(bar.value):
        return
    start, end = x.clamp(max(0.0, x.low) if x.log else 0.0), x.clamp(bar.value)
    if not as_dot:
        left, right = min(start, end), max(start, end)
        css = f"bar c{bar.color % N_COLORS}"
        yield element("rect", x=left, width=max(1.0, right - left), y=middle - 8, height=16.0, css=css)
    if bar.low is not None and bar.high is not None:
        css = f"c{bar.color % N_COLORS}" if as_dot else "whisker"
        yield element("line", x1=x.clamp(bar.low), x2=x.clamp(bar.high), y1=middle, y2=middle, css=f"line {css}")
        end = max(end, x.clamp(bar.high))
    if as_dot:
        yield marker(x.clamp(bar.value), middle, bar.color)
    yield element("text", value, x=max(start, end) + 6, y=middle + 4)


def heat_map(
    title: str,
    counts: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    axes: tuple[str, str] = ("true", "predicted"),
    note: str = "",
    description: str = "",
) -> Drawing:
    """Draw a table of counts; colors are the shares of each row, so that rare rows are readable.

    Args:
        title: caption.
        counts: of each row and column.
        rows: their names.
        columns: their names.
        axes: what rows and columns are.
        note: a sentence below the chart.
        description: text alternative; the default gives the share on the diagonal if the table is square.
    """
    n_rows, n_columns = len(rows), len(columns)
    numbered, named = n_columns <= MOST_NUMBERED, max(n_rows, n_columns) <= MOST_NAMED
    width = WIDTH if numbered else 640.0
    names = [shorten(name, 16) for name in rows] if named else []
    left = 22 + text_width(names)
    cell = min((width - left - 6) / n_columns, 90.0 if numbered else 40.0)
    height = max(min(cell, 64.0), 22.0) if numbered else cell
    upright = [shorten(name, max(1, int(cell / 6.4))) for name in columns] if numbered else []
    tilted = any(len(short) < len(name) for short, name in zip(upright, columns, strict=False)) or not numbered
    below = text_width([shorten(name, 16) for name in columns]) if named and tilted else 14.0 if named else 0.0
    bottom = 20 + height * n_rows
    elements = [
        element("text", f"{axes[0]} ↓   {axes[1]} →", x=2, y=12, css="name"),
        element("rect", x=left, y=20.0, width=cell * n_columns, height=height * n_rows, css="field"),
        *_draw_cells(counts, rows, columns, axes, (left, cell, height), numbered),
    ]
    for number, name in enumerate(names):
        y = 20 + height * (number + 0.5)
        elements.append(element("text", name, x=left - 5, y=y + 4, text_anchor="end", **_small(height)))
    for number, name in enumerate(columns if named else ()):
        x = left + cell * (number + 0.5)
        if tilted:
            place = f"translate({x + 4:.1f} {bottom + 6:.1f}) rotate(-90)"
            elements.append(element("text", shorten(name, 16), transform=place, text_anchor="end", **_small(cell)))
        else:
            elements.append(element("text", name, x=x, y=bottom + 15, text_anchor="middle"))
    text = description
    total = sum(map(sum, counts))
    if not text and n_rows == n_columns and total:
        diagonal = sum(counts[i][i] for i in range(n_rows))
        text = (
            f"{n_rows} by {n_columns} table; {diagonal:,.0f} of {total:,.0f} ({diagonal / total:.1%}) on the diagonal."
        )
    size = bottom + below + 8
    return Drawing(title, text, width, size, tuple(elements), note=note, wide=not numbered)


def _small(space: float) -> dict[str, Any]:
    """Attributes of a name that has less than a line of space."""
    return {"style": f"font-size:{max(6.0, space * 0.85):.1f}px"} if space < 14 else {}


def _shade_by_share(share: float) -> float:
    return 0.06 + 0.94 * share


def _shade_small_shares(share: float) -> float:
    """Without numbers, confusions of a few rows must differ from empty cells."""
    return 0.08 + 0.92 * math.sqrt(share)


def _draw_cells(
    counts: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    geometry: tuple[float, float, float],
    numbered: bool,
) -> Iterator[str]:
    """The cells that are not zero."""
    left, width, height = geometry
    shade = _shade_by_share if numbered else _shade_small_shares
    cells = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if count]
    least = sorted(count for count, _, _ in cells)[-MOST_CELLS] if len(cells) > MOST_CELLS else 0
    totals = [sum(row) for row in counts]
    gap = 1.0 if numbered else 0.0
    for count, i, j in cells:
        share = count / totals[i]
        tip = f"{axes[0]}: {rows[i]}\n{axes[1]}: {columns[j]}\n{count:,.0f} ({share:.1%} of the row)"
        x, y = left + width * j, 20 + height * i
        yield element(
            "rect",
            tip=tip if count >= least else "",
            x=x + gap / 2,
            y=y + gap / 2,
            width=width - gap,
            height=height - gap,
            css="heat",
            fill_opacity=shade(share),
        )
        if numbered:
            css = "inverse" if shade(share) > 0.58 else ""
            two_lines = height >= 40 and width >= 44
            place: dict[str, Any] = {"x": x + width / 2, "text_anchor": "middle", "css": f"number {css}"}
            yield element("text", f"{count:,.0f}", y=y + height / 2 + (-2 if two_lines else 4), **place)
            if two_lines:
                yield element("text", f"{share:.0%}", y=y + height / 2 + 14, **place | {"css": f"number small {css}"})
