"""Where commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

PATIENCE = 2.0
"""Seconds before a progress bar appears: what takes less needs none."""


def out() -> Console:
    """Standard output. Texts are printed as they are: brackets and colons in them are no markup."""
    return Console(markup=False, highlight=False, emoji=False)


def err() -> Console:
    """Standard error, for notes and progress."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def note(console: Console, text: str, warning: bool = False) -> None:
    """One note or warning on one line."""
    console.print(f"{'warning' if warning else 'note'}: {text}", style="yellow" if warning else "dim", soft_wrap=True)


def show(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print tables and lines; lines are left to the terminal to wrap, and a file gets no padding at their ends."""
    with nullcontext() if console.is_terminal else console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str | Text))
    if captured is not None:
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def show_rows(
    rows: Sequence[Sequence[str]], columns: Mapping[str, Literal["left", "right"]], shown: Sequence[Any] | None = None
) -> None:
    """Print rows as a table on a terminal, else a line each with tabs between.

    Args:
        rows: their cells.
        columns: names → how cells are set; of more names than a row has cells the last ones are left out.
        shown: the rows as the terminal has them, where that differs.
    """
    console = out()
    if not console.is_terminal:
        sys.stdout.write("".join("\t".join(row) + "\n" for row in rows))
        sys.stdout.flush()
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, justify in list(columns.items())[: len(rows[0])]:
        table.add_column(name, justify=justify, overflow="fold")
    for row in shown or rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


class RowsBar:
    """A bar over rows that appears on a terminal if they take longer than a moment, and goes when they are done."""

    def __init__(self, console: Console, total: int | None, what: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(what, total=total)
        self._began = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shown:
            self._progress.stop()

    def at(self, done: int, total: int | None = None) -> None:
        """So many rows are done, maybe of so many as only now is known."""
        self._progress.update(self._task, completed=done, total=total)
        if not self._shown and time.monotonic() - self._began > PATIENCE:
            self._shown = True
            self._progress.start()
