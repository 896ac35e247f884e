"""Printing of results (standard output) and of progress, notes and errors (standard error)."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType

from bertwright.cli.options import name_options
from bertwright.data.dataset import ReadReport
from bertwright.output.escaping import to_tsv_line
from bertwright.output.progress import RowProgress as RowProgress
from bertwright.output.progress import print_note as print_note
from bertwright.output.progress import stderr_console as stderr_console
from bertwright.output.terminal import PlainConsole, make_table, print_line, print_parts
from bertwright.tasks.formats.spec import PredictionTable


def out(wraps: bool | None = None) -> PlainConsole:
    """Return a console on standard output; long lines wrap on a terminal, or as ``wraps`` requests."""
    return PlainConsole(wraps)


def report_reading(report: ReadReport) -> None:
    """Print what the reader inferred, skipped or ignored."""
    report_remarks(report.remarks())


def report_remarks(remarks: Iterable[tuple[str, bool]]) -> None:
    """Print sentences about the input, each with whether it is a warning."""
    for text, warning in remarks:
        print_note(stderr_console(), name_options(text), warning)


def show(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print tables and lines; without trailing spaces if the output is a file."""
    if console.is_terminal:
        print_parts(console, parts)
        return
    with console.capture() as captured:
        print_parts(console, parts)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1]))


def write_tsv(rows: Iterable[Iterable[object]]) -> None:
    """Write rows to standard output as tab-separated values, one line per row."""
    sys.stdout.writelines(map(to_tsv_line, rows))
    sys.stdout.flush()


def show_predictions(table: PredictionTable) -> None:
    """Print predictions: as a table or lines on a terminal, else a line per row with tabs between the cells."""
    console = out()
    if not console.is_terminal or not (table.columns or table.lines):
        write_tsv(table.rows)
        return
    for line, style in table.lines:
        print_line(console, line, style)
    if table.columns:
        shown = make_table()
        rows = table.rows if table.shown is None else table.shown
        for name, justify in list(table.columns.items())[: len(table.rows[0])]:
            shown.add_column(name, justify=justify, overflow="fold")
        for row in rows:
            shown.add_row(*map(str, row))
        console.print(shown)
