"""Text and tables for terminals: foreign text is escaped, and lines wrap at spaces with a hanging indent."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from bertwright.output.escaping import escape_line, escape_lines

_LABEL = re.compile(r" *(?:(?:error|warning|note): |\S+ {2,})?")
"""The start of a line before its text: spaces, and an optional label such as ``note:`` or ``data``."""

_LEAST_TEXT = 24
"""Minimum number of columns for the text; narrower continuation lines are not indented."""


class PlainConsole(Console):
    """A console that prints text literally: no markup, no number highlighting, and escaped control characters.

    A text is printed as one line; line breaks in it are escaped. Print several lines one by one.

    Args:
        wraps: whether long lines wrap; None for terminals only.
        options: options of rich's console.
    """

    def __init__(self, wraps: bool | None = None, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)
        self.wraps = self.is_terminal if wraps is None else wraps

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a text, also in a table."""
        return super().render_str(escape_line(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape control characters in other renderables, such as the text of a progress bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_lines(segment.text))


def print_line(console: Console, text: str | Text, style: StyleType | None = None, wrap: bool = True) -> None:
    """Print one line of text.

    On a terminal it wraps at spaces, and continuation lines are indented to the text after the label. Files get the
    line
    unchanged.

    Args:
        console: the console.
        text: the line.
        style: its style.
        wrap: whether a terminal wraps it at spaces; False for commands, which users copy.
    """
    line = plain_text(text) if isinstance(text, str) else text
    wraps = wrap and (console.wraps if isinstance(console, PlainConsole) else console.is_terminal)
    if not wraps or line.cell_len <= console.width:
        console.print(line, style=style, soft_wrap=True)
        return
    label = _LABEL.match(line.plain)
    indent = len(label[0]) if label else 0
    indent = indent if console.width - indent >= _LEAST_TEXT else 0
    start, body = line.divide([indent]) if indent else (Text(), line)
    for i, part in enumerate(body.wrap(console, console.width - indent)):
        part.rstrip()
        console.print(Text.assemble(start if i == 0 else " " * indent, part), style=style, soft_wrap=True)


def print_parts(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print tables and lines."""
    for part in parts:
        if isinstance(part, str | Text):
            print_line(console, part)
        else:
            console.print(part)


class PlainTable(Table):
    """A table that prints its cells literally, in any console."""

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """Add a row."""
        texts = (plain_text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*texts, style=style, end_section=end_section)


def make_table(*columns: str) -> PlainTable:
    """Make a table in the style of all commands."""
    return PlainTable(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def plain_text(text: str, style: StyleType = "") -> Text:
    """A text as one line with escaped control characters."""
    return Text(escape_line(text), style=style)


def render_plain(parts: Iterable[RenderableType], width: int = 80) -> str:
    """Render tables and lines as plain text, wrapped at ``width``."""
    console = PlainConsole(wraps=True, file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        print_parts(console, parts)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1])
