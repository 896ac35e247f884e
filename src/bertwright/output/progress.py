"""Notes and progress for people: where they go, a bar where one can be redrawn, and lines elsewhere.

A bar needs a terminal, or a notebook with ipywidgets. Everywhere else (nohup, Slurm, CI, ``!`` in a notebook) progress
is printed as a line now and then. Nothing here imports torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bertwright.output.terminal import PlainConsole, print_line

PATIENCE = 2.0
"""Seconds before a progress bar appears: shorter work needs none."""

LINE_SECONDS = 60.0
"""Seconds between two lines of progress where no bar can be redrawn."""

TENTHS = 10
"""Lines of progress that training prints at least, where no bar can be redrawn."""

KERNEL_VARIABLE = "JPY_PARENT_PID"
"""Jupyter sets this variable for its kernels, so the commands that a cell starts with ``!`` have it too."""


def err() -> PlainConsole:
    """Standard error, for notes and progress; in a notebook, the output of the cell."""
    return PlainConsole(stderr=True)


def note(console: Console, text: str, warning: bool = False) -> None:
    """Print one note or warning."""
    print_line(console, f"{'warning' if warning else 'note'}: {text}", "yellow" if warning else "dim")


def can_redraw(console: Console) -> bool:
    """Whether a bar can be redrawn in place; if not, progress is printed as lines."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    if KERNEL_VARIABLE in os.environ:
        return False  # `!` in a cell has a pseudo-terminal, but the notebook shows every redrawn bar below the last
    if os.environ.get("FORCE_COLOR") and not console.file.isatty():
        return False  # colors were asked for, as CI systems do; that makes a log no terminal
    return console.is_interactive


class Pace:
    """Decide when to print the next line of progress: after each tenth of the work, and every 60 seconds.

    Args:
        total: of the work; 0 where only the time counts.
        done: where it begins.
        clock: in seconds.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] | None = None) -> None:
        self._total, self._tenth = total, done * TENTHS // total if total else 0
        self._clock = clock or time.monotonic
        self._printed = self._clock()

    def is_due(self, done: int) -> bool:
        """Whether to print a line now."""
        tenth = done * TENTHS // self._total if self._total else 0
        now = self._clock()
        if tenth == self._tenth and now - self._printed < LINE_SECONDS:
            return False
        self._tenth, self._printed = tenth, now
        return True


class RowsBar:
    """Progress over rows, shown once they take longer than a moment: a bar that goes when they are done, or lines.

    Args:
        console: where to print.
        total: rows in all; None if that is not known.
        what: is done with them.
        quiet: show nothing.
    """

    def __init__(self, console: Console, total: int | None, what: str, quiet: bool = False) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._quiet = quiet
        self._began = time.monotonic()
        self._pace = Pace(0)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, total: int | None = None) -> None:
        """Report how many rows are done, and the total if it has become known."""
        self._total = self._total if total is None else total
        if self._quiet or time.monotonic() - self._began <= PATIENCE:
            return
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self._total)
        elif can_redraw(self._console):
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._what, total=self._total, completed=done)
            self._bar.start()
        elif self._pace.is_due(done):
            of = "" if self._total is None else f" of {self._total:,}"
            print_line(self._console, f"{self._what}: {done:,}{of}")
