"""Notes and progress for users: a progress bar in terminals and notebooks, lines of progress elsewhere.

A bar needs a terminal, or a notebook with ipywidgets. Everywhere else (nohup, Slurm, CI, ``!`` in a notebook) progress
is printed as occasional lines. This module does not import torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bertwright.output.terminal import PlainConsole, print_line

BAR_DELAY = 2.0
"""Seconds before a progress bar appears; shorter work shows none."""

LINE_SECONDS = 60.0
"""Seconds between two lines of progress without a bar."""

TENTHS = 10
"""Minimum number of progress lines of a run without a bar."""

KERNEL_VARIABLE = "JPY_PARENT_PID"
"""Jupyter sets this variable for its kernels; commands that a cell starts with ``!`` inherit it."""


def stderr_console() -> PlainConsole:
    """The console for notes and progress: standard error, or the output of the cell in a notebook."""
    return PlainConsole(stderr=True)


def print_note(console: Console, text: str, warning: bool = False) -> None:
    """Print one note or warning."""
    print_line(console, f"{'warning' if warning else 'note'}: {text}", "yellow" if warning else "dim")


def can_redraw(console: Console) -> bool:
    """Whether a progress bar can be redrawn in place; otherwise progress is printed as lines."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    if KERNEL_VARIABLE in os.environ:
        return False  # `!` in a cell has a pseudo-terminal, but notebooks show every redrawn bar on a new line
    if os.environ.get("FORCE_COLOR") and not console.file.isatty():
        return False  # CI systems request colors for logs, which are not terminals
    return console.is_interactive


class LineSchedule:
    """Decides when to print the next line of progress: after each tenth of the work, and every 60 seconds.

    Args:
        total: the total amount of work; 0 if only the time counts.
        done: the amount done at the start.
        clock: function that returns the time in seconds.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] | None = None) -> None:
        self._total, self._tenth = total, done * TENTHS // total if total else 0
        self._clock = clock or time.monotonic
        self._printed = self._clock()

    def should_print(self, done: int) -> bool:
        """Whether to print a line now; if so, the next line is scheduled from here."""
        tenth = done * TENTHS // self._total if self._total else 0
        now = self._clock()
        if tenth == self._tenth and now - self._printed < LINE_SECONDS:
            return False
        self._tenth, self._printed = tenth, now
        return True


class RowProgress:
    """Progress over rows that take longer than a moment: a bar that disappears at the end, or lines.

    Args:
        console: where to print; None for :func:`stderr_console`, which is made only when something is printed, because
            making it takes a few percent of the time of a short prediction.
        total: the number of rows; None if unknown.
        what: a description of the work.
        quiet: show nothing.
    """

    def __init__(self, console: Console | None, total: int | None, what: str, quiet: bool = False) -> None:
        self._chosen_console = console
        self._what = what
        self._total = total
        self._quiet = quiet
        self._began = time.monotonic()
        self._schedule = LineSchedule(0)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @cached_property
    def _console(self) -> Console:
        return stderr_console() if self._chosen_console is None else self._chosen_console

    def update(self, done: int, total: int | None = None) -> None:
        """Report the number of rows done, and the total once it is known."""
        self._total = self._total if total is None else total
        if self._quiet or time.monotonic() - self._began <= BAR_DELAY:
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
        elif self._schedule.should_print(done):
            total_text = "" if self._total is None else f" of {self._total:,}"
            print_line(self._console, f"{self._what}: {done:,}{total_text}")
