"""Axes of charts: ranges, tick marks and the mapping of values to positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from bertwright.html.svg import element, text_width

WIDTH, HEIGHT = 400.0, 250.0
"""Of a chart: readable on a phone that is 390 pixels wide, and in columns on a desk."""

_LINE = 16.0
"""Height of a line of text."""


def show_value(value: float) -> str:
    """A value with up to four significant digits; large numbers with separators.

    >>> show_value(0.31416), show_value(12345.6), show_value(2e-05), show_value(3.0)
    ('0.3142', '12,346', '2e-05', '3')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows.

    Attributes:
        label: its name and unit.
        low: its lower end; None for that of the values.
        high: its upper end; None for that of the values.
        log: whether it is logarithmic; values must be positive then.
        show: how a value is written in tips.
    """

    label: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    show: Callable[[float], str] = show_value


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis with its ends and its place in the picture.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: position in units.
        end: the same.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value."""
        low, high = self.low, self.high
        if self.log:
            if value <= 0:
                return math.nan
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The position of a value, or of the end beyond which it is."""
        return self(min(max(value, self.low), self.high))

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the range, at most ``most``."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / most))
            powers = [10.0**power for power in range(first, last + 1, step)]
            if len(powers) >= 2:
                return powers
        width = round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / width - 1e-9), math.floor(self.high / width + 1e-9)
        return [number * width for number in range(first, last + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * (1 - 1e-9))


def make_scale(axis: Axis, values: Iterable[float], start: float, end: float) -> Scale:
    """The scale of an axis for some values; it has a margin where the axis has no fixed end."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)]
    low = min(finite, default=0.1 if axis.log else 0.0) if axis.low is None else axis.low
    high = max(finite, default=1.0) if axis.high is None else axis.high
    if axis.log:
        factor = (high / low) ** 0.04 if high > low else 2.0
        return Scale(
            low / factor if axis.low is None else low, high * factor if axis.high is None else high, start, end, True
        )
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        return Scale(low - spread if axis.low is None else low, low + spread, start, end)
    margin = 0.04 * (high - low)
    return Scale(low - margin if axis.low is None else low, high + margin if axis.high is None else high, start, end)


@dataclass(frozen=True, slots=True)
class Frame:
    """The area of a chart with its scales.

    Attributes:
        x: the horizontal scale.
        y: the vertical scale, which runs upwards.
        elements: the axes, grid lines and labels.
    """

    x: Scale
    y: Scale
    elements: tuple[str, ...]


def make_frame(
    x_axis: Axis,
    y_axis: Axis,
    xs: Iterable[float],
    ys: Iterable[float],
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Frame:
    """Draw the axes of a chart.

    Args:
        x_axis: the horizontal axis.
        y_axis: the vertical axis.
        xs: the values that must be visible on the horizontal axis.
        ys: the same for the vertical axis.
        width: of the chart.
        height: of the chart.
    """
    top = 8.0 + (_LINE if y_axis.label else 0.0)
    y = make_scale(y_axis, ys, height - 24 - (_LINE if x_axis.label else 0.0), top)
    names = show_ticks(y.ticks())
    x = make_scale(x_axis, xs, 10 + text_width(names), width - 14)
    marks = []
    for value, name in zip(y.ticks(), names, strict=True):
        marks.append(element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), css="grid"))
        marks.append(element("text", name, x=x.start - 5, y=y(value) + 4, text_anchor="end"))
    columns = x.ticks(max(2, int((x.end - x.start) / 58)))
    for value, name in zip(columns, show_ticks(columns), strict=True):
        marks.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, css="axis"))
        marks.append(element("text", name, x=x(value), y=y.start + 17, text_anchor="middle"))
    marks.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, css="axis"))
    if y_axis.label:
        marks.append(element("text", y_axis.label, x=2, y=12, css="name"))
    if x_axis.label:
        middle = (x.start + x.end) / 2
        marks.append(element("text", x_axis.label, x=middle, y=height - 5, text_anchor="middle", css="name"))
    return Frame(x, y, tuple(marks))


def _show_power(value: float) -> str:
    """A value with a power of ten, such as ``1.5e-5``."""
    factor, _, power = f"{value:.2e}".partition("e")
    return f"{float(factor):g}e{int(power)}"


def show_ticks(values: list[float]) -> list[str]:
    """Tick labels; those of evenly spaced values have the same number of decimals."""
    steps = [after - before for before, after in pairwise(values)]
    if not steps or max(steps) > 1.01 * min(steps):
        return [f"{value:,.12g}" if 1e-3 <= value < 1e6 else f"{value:.0e}" for value in values]
    step, largest = steps[0], max(map(abs, values))
    if step < 1e-4 or largest >= 1e6 or largest / step > 1e4:
        return ["0" if abs(value) < step / 2 else _show_power(value) for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return [f"{0.0 if abs(value) < step / 2 else value:,.{decimals}f}" for value in values]
