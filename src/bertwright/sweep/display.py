"""Progress display of a sweep, for the command line and for Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bertwright.output.progress import can_redraw
from bertwright.output.terminal import print_line
from bertwright.run.report import duration
from bertwright.run.report import show as figure
from bertwright.sweep.events import SearchProgress, SearchStarted, TrialFinished, WinnerProgress
from bertwright.sweep.leaderboard import TrialResult, format_settings


class SweepDisplay:
    """Prints one line per trial, and a progress bar with the remaining time on terminals.

    It is a context manager: leaving it removes the bar.

    Args:
        console: the console.
        clock: the time in seconds.
        ranks: whether trials are ranked; False for a learning curve, whose largest size is always the best.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic, ranks: bool = True) -> None:
        self._console = console
        self._clock = clock
        self._ranks = ranks
        self._started: SearchStarted | None = None
        self._start_time = 0.0
        self._tried = 0
        self._bar = Progress(
            TextColumn("{task.completed:.1f} of {task.total:.0f} trials"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
            disable=not can_redraw(console),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __call__(self, event: Any) -> None:
        """Show one event."""
        if isinstance(event, SearchStarted):
            self._begin(event)
        elif isinstance(event, SearchProgress):
            self._advance(event.done)
        elif isinstance(event, TrialFinished):
            self._tried += 1
            best = event.best and self._ranks
            self._line(self._trial(event, best), "bold" if best else "red" if event.result.error else "")
            self._advance((self._started.done if self._started else 0) + self._tried)
        elif isinstance(event, WinnerProgress):
            self._line(event.text)

    def close(self) -> None:
        """Remove the bar; the lines stay."""
        self._bar.stop()

    def left(self, done: float) -> str:
        """Estimate the remaining time."""
        if self._started is None or done <= self._started.done:
            return ""
        spent = (self._clock() - self._start_time) / (done - self._started.done)
        return f"{duration(spent * (self._started.trials - done))} left"

    def _begin(self, event: SearchStarted) -> None:
        self._started, self._start_time = event, self._clock()
        done = f", {event.done:,} already finished" if event.done else ""
        title, purpose = ("sweep", "ranked by") if self._ranks else ("curve", "scored by")
        self._line(f"{title}  {event.trials:,} trials{done}, {purpose} {event.metric} on {event.split}")
        for text, warning in event.remarks:
            self._line(f"{'warning' if warning else 'note'}: {text}", "yellow" if warning else "dim")
        self._bar.add_task("", total=event.trials, completed=event.done, left="")
        self._bar.start()

    def _advance(self, done: float) -> None:
        if self._bar.tasks:
            self._bar.update(self._bar.task_ids[0], completed=done, left=self.left(done))

    def _trial(self, event: TrialFinished, best: bool) -> str:
        result = event.result
        words = [result.name, _name_setting(result)]
        if result.error:
            return "  ".join([*words, f"failed: {result.error}"])
        metric = self._started.metric if self._started else "value"
        words += [f"{metric} {figure(metric, result.value)}", duration(result.seconds)]
        words += ["collapsed"] if result.collapsed else []
        return "  ".join([*words, *(["* best"] if best else [])])

    def _line(self, text: str, style: str = "") -> None:
        print_line(self._console, text, style or None)


def _name_setting(result: TrialResult) -> str:
    fold = {"fold": result.fold} if result.fold else {}
    return format_settings({**result.settings, "seed": result.seed, **fold})
