"""Where commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.text import Text

from bertwright.progress import RowsBar as RowsBar
from bertwright.progress import err as err
from bertwright.progress import note as note
from bertwright.progress import print_parts


def out() -> Console:
    """Standard output. Texts are printed as they are: brackets and colons in them are no markup."""
    return Console(markup=False, highlight=False, emoji=False)


def show(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print tables and lines; lines are left to the terminal to wrap, and a file gets no padding at their ends."""
    with nullcontext() if console.is_terminal else console.capture() as captured:
        print_parts(console, parts)
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
