"""The terminal output of a run: notes, progress, evaluations and the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bertwright.config.yaml_tree import format_number
from bertwright.output.plurals import pluralize
from bertwright.output.progress import LineSchedule, can_redraw, print_note
from bertwright.output.terminal import print_line, print_parts
from bertwright.run.events import EvaluationFinished, Note, TrainingFinished, TrainingStarted, Working
from bertwright.run.html_report import describe_files
from bertwright.run.report import Report, duration, show, show_loss
from bertwright.training.loop import Step

SMOOTHING = 0.98
"""The displayed loss is a running mean over about 1 / (1 - SMOOTHING) = 50 steps."""


class RunDisplay:
    """Prints the events of a run as lines, with a progress bar below them on an interactive terminal.

    As a context manager, it removes the bar at the end.

    Args:
        console: where to print.
        max_length: maximum sequence length, for the line about the data.
        with_result: print the report and the run directory when the run finishes.
    """

    def __init__(self, console: Console, max_length: int, with_result: bool = False) -> None:
        self._console = console
        self._max_length = max_length
        self._with_result = with_result
        self._bar: Progress | None = None
        redraws = can_redraw(console)
        self._status = console.status("reading rows, tokenizing, loading weights …") if redraws else None
        if self._status is not None:
            self._status.start()
        self._rate = _Rate(0, 0)
        self._loss = _Loss()
        self._pace = LineSchedule(0)
        self._work, self._work_began, self._work_pace = "", 0.0, LineSchedule(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __call__(self, event: Any) -> None:
        """Print one event."""
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Note):
            print_note(self._console, event.text, event.warning)
        elif isinstance(event, Working):
            self._show_work(event)
        elif isinstance(event, TrainingStarted):
            self._show_start(event)
        elif isinstance(event, EvaluationFinished):
            self._line(self._evaluation(event), "bold" if event.best else "")
        elif isinstance(event, TrainingFinished):
            self.close()
            if self._with_result:
                print_result(self._console, event.report, event.directory)

    def close(self) -> None:
        """Remove the progress bar; the printed lines stay."""
        if self._status is not None:
            self._status.stop()
        if self._bar is not None:
            self._bar.stop()

    def _line(self, text: str, style: str = "") -> None:
        print_line(self._console, text, style or None)

    def _show_work(self, event: Working) -> None:
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], facts=f"{event.what}: {_progress_count(event)}{self._time_left(event)}"
            )
            return
        left = self._time_left(event)
        if self._status is not None:
            self._status.update(f"{event.what} … {_progress_count(event)}{left}")
        elif self._work_pace.should_print(event.done):
            self._line(f"{event.what}: {_progress_count(event)}{left}")

    def _time_left(self, event: Working) -> str:
        """The remaining time, once it can be estimated."""
        if self._work != event.what or not event.done:
            self._work, self._work_began, self._work_pace = event.what, time.monotonic(), LineSchedule(0)
            return ""
        spent = time.monotonic() - self._work_began
        if event.total is None:
            return ""
        return f", {duration(spent * (event.total - event.done) / event.done)} left" if spent > 1 else ""

    def _show_start(self, event: TrainingStarted) -> None:
        if self._status is not None:
            self._status.stop()
        trainable, total = event.trainable
        lines = [("device", event.compute), ("model", event.loading.source)]
        lines.append(("model", f"{total:,} parameters, {_describe_trainable(trainable, total)}"))
        lines += [("weights", line) for line in event.loading.summary().splitlines()]
        lines += [("data", f"{split}: {self._describe_data(facts)}") for split, facts in event.data.items()]
        from_step = f"from step {event.step:,} of " if event.step else ""
        lines.append(("run", f"{from_step}{pluralize(event.steps, 'step')}"))
        for i, (name, text) in enumerate(lines):
            self._line(f"{'' if i and lines[i - 1][0] == name else name:<8} {text}")
        self._rate = _Rate(event.step, event.steps)
        self._pace = LineSchedule(event.steps, event.step)
        if self._status is None:
            return
        self._bar = Progress(
            TextColumn("step {task.completed:,}/{task.total:,}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=4,
            expand=True,
        )
        self._bar.add_task("", total=event.steps, completed=event.step, facts="")
        self._bar.start()

    def _describe_data(self, facts: dict[str, Any]) -> str:
        if "sequences" in facts:
            counts = [_count(facts[key], key) for key in ("documents", "tokens", "sequences")]
            return ", ".join(counts) + f" of at most {self._max_length} tokens"
        truncated = facts["truncated_rows"]
        truncation = f"{truncated:,} truncated to {self._max_length} tokens" if truncated else "none truncated"
        skipped = f", {facts['skipped_rows']:,} skipped" if facts["skipped_rows"] else ""
        sequences = "".join(_count(facts[name], name) + ", " for name in ("windows", "choices") if name in facts)
        rows, tokens = (_count(facts[name], name) for name in ("rows", "tokens"))
        return f"{rows}, {sequences}{tokens}, {truncation}{skipped}"

    def _step(self, event: Step) -> None:
        self._loss.add(event.loss)
        self._rate.add(event)
        if self._bar is None:
            if self._pace.should_print(event.step):
                self._line(self._progress(event))
        else:
            left = f"{self._rate.left()} left" if event.step < self._rate.last else "evaluating …"
            facts = f"loss {show_loss(self._loss.smooth)}  {self._rate.examples:,.0f} examples/s  {left}"
            self._bar.update(self._bar.task_ids[0], completed=event.step, facts=facts)

    def _progress(self, event: Step) -> str:
        """The progress of training as a line."""
        steps = self._rate.last
        parts = [
            f"step {event.step:,} of {steps:,} ({event.step / steps:.0%})",
            f"loss {show_loss(self._loss.smooth)}",
            f"learning rate {format_number(float(f'{event.learning_rate:.3g}'))}",
            f"{self._rate.examples:,.0f} examples/s",
            f"{self._rate.left()} left",
        ]
        return "  ".join(parts)

    def _evaluation(self, event: EvaluationFinished) -> str:
        several = len(event.metrics) > 1
        scores = []
        for split, by_name in event.metrics.items():
            loss = event.validation_loss.get(split)
            parts = [split] if several else []
            parts += [] if loss is None else [f"validation loss {show_loss(loss)}"]
            scores.append("  ".join([*parts, *(f"{name} {show(name, value)}" for name, value in by_name.items())]))
        trained = "" if event.train_loss is None else f"train loss {show_loss(event.train_loss)}  "
        best = "  * best" if event.best else ""
        return f"epoch {event.epoch:<5.2f} step {event.step:>6,}  {trained}{'  '.join(scores)}{best}"


class _Loss:
    """The training loss, smoothed."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, loss: float) -> None:
        self._sum = SMOOTHING * self._sum + loss
        self._weight = SMOOTHING * self._weight + 1

    @property
    def smooth(self) -> float:
        return self._sum / self._weight


class _Rate:
    """Examples per second of the training steps, and the remaining time including evaluations."""

    def __init__(self, first: int, last: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._first, self._step, self.last = first, first, last
        self._clock, self._began = clock, clock()
        self._examples = self._seconds = 0.0

    def add(self, event: Step) -> None:
        self._step = event.step
        self._examples = SMOOTHING * self._examples + event.examples
        self._seconds = SMOOTHING * self._seconds + event.seconds

    @property
    def examples(self) -> float:
        return self._examples / max(self._seconds, 1e-9)

    def left(self) -> str:
        spent = (self._clock() - self._began) / (self._step - self._first)
        seconds = round(spent * (self.last - self._step))
        return f"{seconds} s" if seconds < 60 else duration(seconds)


def print_result(console: Console, report: Report, directory: Path) -> None:
    """Print the report of a run and the paths of its files."""
    print_parts(console, ["", *report.renderables()])
    for line in describe_files(directory):
        print_line(console, line)


def _progress_count(event: Working) -> str:
    return f"{event.done:,}" + ("" if event.total is None else f" of {event.total:,}")


def _count(n: int, nouns: str) -> str:
    """A number with its noun, which is given in the plural, as in :attr:`TrainingStarted.data`."""
    return pluralize(n, nouns.removesuffix("s"), nouns)


def _describe_trainable(trainable: int, total: int) -> str:
    return "all trainable" if trainable == total else f"{trainable:,} trainable"
