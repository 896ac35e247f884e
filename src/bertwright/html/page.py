"""Pages: sections of text, tables and drawings, rendered as one HTML file without external parts.

Texts of rows, labels and file names are escaped when they are inserted, and the page forbids every script but its own,
so no row can act as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bertwright.files.atomic import write_atomically
from bertwright.html.axes import show_value
from bertwright.output.escaping import escape_lines
from bertwright.output.palette import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:
    from jinja2 import Environment


class Block(Protocol):
    """A part of a section.

    Attributes:
        template: the name of the template that renders it, as ``block``.
    """

    @property
    def template(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; ``css`` may be ``note`` for small print or ``warning``."""

    template: ClassVar[str] = "paragraph.html"

    text: str
    css: str = ""


@dataclass(frozen=True, slots=True)
class BulletList:
    """Sentences, one a bullet."""

    template: ClassVar[str] = "bullets.html"

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, such as settings."""

    template: ClassVar[str] = "facts.html"

    items: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that is shown in large letters.

    Attributes:
        name: above the number.
        value: the number.
        detail: below it, for example its interval.
    """

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The main numbers of a page."""

    template: ClassVar[str] = "tiles.html"

    items: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table whose text is not its value.

    Attributes:
        text: what it shows.
        value: what the column is sorted by.
        bar: a share, 0 to 1, to draw behind the text; None for none.
        css: a class: ``good``, ``bad`` or none.
    """

    text: str
    value: float | str | None = None
    bar: float | None = None
    css: str = ""


@dataclass(frozen=True, slots=True)
class HighlightedText:
    """A text whose pieces have weights, such as attributions; also a cell of a table.

    Attributes:
        pieces: texts that together are the text, and their weights from -1 to 1. Positive weights speak for the
            prediction.
        label: what the weights are, as text alternative.
    """

    template: ClassVar[str] = "highlighted.html"

    pieces: Sequence[tuple[str, float]]
    label: str = ""


CellValue = str | float | None | Cell | HighlightedText


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be sorted by its columns.

    Attributes:
        columns: headings.
        rows: their cells; numbers are aligned right, None is shown as a dash.
        caption: above the table.
        note: below it.
        stacked: whether a narrow screen shows each row as a card; for tables with long texts.
        most_visible: rows that are visible at first; the others are folded.
    """

    template: ClassVar[str] = "table.html"

    columns: Sequence[str]
    rows: Sequence[Sequence[CellValue]]
    caption: str = ""
    note: str = ""
    stacked: bool = False
    most_visible: int | None = None

    @property
    def styles(self) -> list[str]:
        """A class for each column: ``number``, ``short`` (no line breaks), ``text`` or ``wide``."""
        return [_choose_style([row[i] for row in self.rows]) for i in range(len(self.columns))]


@dataclass(frozen=True, slots=True)
class Row:
    """Drawings next to each other where the screen is wide enough."""

    template: ClassVar[str] = "row.html"

    items: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown after a click on the title; always shown in print."""

    template: ClassVar[str] = "folded.html"

    title: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a page.

    Attributes:
        title: its heading, also in the list of contents.
        blocks: its content; the page omits a section without blocks.
        introduction: what the section shows and how to read it.
    """

    title: str
    blocks: Sequence[Block]
    introduction: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        title: its heading.
        subtitle: below the heading.
        sections: its content.
        footer: the last line, such as the version of the program.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    footer: str = ""


def render_page(page: Page) -> str:
    """The HTML of a page: one file that needs no network and no other file."""
    environment = _environment()
    script = _read("script.js")
    html = environment.get_template("page.html").render(
        page=page,
        sections=[section for section in page.sections if section.blocks],
        style=render_style(),
        script=script,
        script_hash=hash_source(script),
    )
    return f"{html}\n"


def render_style() -> str:
    """The style sheet of all pages, for light and dark mode and for print."""
    return Template(_read("style.css")).substitute(PALETTE)


def hash_source(text: str) -> str:
    """The hash of a script or style sheet, as a content security policy names the ones that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def write_page(path: str | os.PathLike[str], page: Page) -> Path:
    """Write a page atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_atomically(path, render_page(page))


MOST_OF_SHORT, MOST_OF_TEXT = 28, 80
"""Characters of a cell that is never broken into lines, and of one that fits next to others on a phone."""

PALETTE = {"blue": BLUE, "vermilion": VERMILION, "green": GREEN, "purple": PURPLE, "orange": ORANGE, "sky": SKY}


def _choose_style(cells: Sequence[CellValue]) -> str:
    if all(isinstance(cell.value if isinstance(cell, Cell) else cell, float | int | None) for cell in cells):
        return "number"
    longest = max(
        (len(_show_cell(cell)) for cell in cells if not isinstance(cell, HighlightedText)), default=MOST_OF_TEXT
    )
    return "short" if longest <= MOST_OF_SHORT else "text" if longest < MOST_OF_TEXT else "wide"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_spell_out_controls,
    )
    environment.filters["show"] = _show_cell
    environment.filters["sort_key"] = _to_sort_key
    return environment


def _spell_out_controls(value: Any) -> Any:
    """Spell out control and direction characters of every inserted text; Jinja escapes the rest."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else escape_lines(value)


def _show_cell(cell: CellValue) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, int) or (isinstance(cell, float) and cell.is_integer() and abs(cell) >= 1e4):
        return f"{cell:,.0f}"
    if isinstance(cell, float):
        return show_value(cell)
    return cell.text if isinstance(cell, Cell) else str(cell)


def _to_sort_key(cell: CellValue) -> str:
    """What a column is sorted by; numbers without separators."""
    value = cell.value if isinstance(cell, Cell) and cell.value is not None else cell
    if isinstance(value, float | int):
        return "" if math.isnan(value) else repr(value)
    return "" if value is None or isinstance(value, HighlightedText) else _show_cell(value).casefold()[:80]


@cache
def _read(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
