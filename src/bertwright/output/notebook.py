"""Tables and lines as HTML, for the output cells of notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import RenderableType

from bertwright.output.terminal import PlainConsole, print_parts

WIDTH = 100
"""Columns of a table in a notebook."""

# without colors for text and background, so that it follows the theme of the notebook
_PAGE = '<pre style="white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace">{code}</pre>'


def render_html(parts: Iterable[RenderableType]) -> str:
    """Render tables and lines as preformatted HTML; text is escaped."""
    console = PlainConsole(
        wraps=True, file=io.StringIO(), width=WIDTH, record=True, force_terminal=False, force_jupyter=False
    )
    print_parts(console, parts)
    return console.export_html(inline_styles=True, code_format=_PAGE)
