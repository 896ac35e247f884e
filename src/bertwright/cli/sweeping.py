"""``bertwright sweep``, and ``bertwright train`` with several seeds."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bertwright.cli.command import STOPPED
from bertwright.cli.console import err, out, show
from bertwright.cli.options import Spellings, recipe_of
from bertwright.errors import OutputError, RecipeError
from bertwright.report import duration
from bertwright.report import show as figure
from bertwright.sweep.events import Advanced, Begun, Crowning, Tried
from bertwright.sweep.leaderboard import Leaderboard, Result, short
from bertwright.sweep.search import sweep as run
from bertwright.sweep.settings import FILE, SweepSettings, saved_sweep
from bertwright.sweep.space import varies


@dataclass(frozen=True)
class Searching:
    """How is searched; None is the default, or what a search that is resumed was begun with."""

    search: str | None = None
    trials: int | None = None
    folds: int | None = None
    keep: str | None = None
    refit: bool | None = None

    def given(self) -> dict[str, Any]:
        """What was said."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def sweep(
    words: Sequence[str],
    spellings: Spellings,
    directory: Path | None,
    resume: bool = False,
    searching: Searching = Searching(),
    parallel: int = 1,
) -> None:
    """Try what varies, show how it goes, and where the best is.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    if directory is None:
        raise OutputError("sweep: no directory is named for it; add --out DIR.")
    if resume and not words and spellings == Spellings():
        settings = saved_sweep(directory).replace(**searching.given())
    else:
        settings = _settings(words, spellings, searching)
    display = Display(err())
    try:
        board = run(settings, directory, parallel=parallel, resume=resume, listeners=[display])
    except KeyboardInterrupt:
        display.close()
        again = f"bertwright sweep --resume --out {shlex.quote(str(directory))}"
        begun = (directory / FILE).exists()
        said = f"stopped; nothing is lost: `{again}` goes on from here." if begun else "stopped; nothing was written."
        typer.echo(said, err=True)
        raise typer.Exit(STOPPED) from None
    finally:
        display.close()
    finish(board, directory)


def several_seeds(words: Sequence[str], directory: Path | None, resume: bool) -> bool:
    """Whether what ``train`` was told is a search over seeds.

    Raises:
        RecipeError: something else varies too.
    """
    if resume and not words and directory is not None:
        return (directory / FILE).exists()
    if not any(word.partition("=")[0].strip() == "seed" and varies(word) for word in words):
        return False
    others = [word for word in words if varies(word) and word.partition("=")[0].strip() != "seed"]
    if others:
        raise RecipeError(f"{others[0]}: train takes several values for seed alone; use `bertwright sweep`.")
    return True


def finish(board: Leaderboard, directory: Path) -> None:
    """Show the table, and say where things are."""
    console = out()
    show(console, ["", *board.renderables()])
    made = [path.name for path in sorted(directory.glob("leaderboard.*"))]
    console.print(f"table  {', '.join([f'{directory}/{made[0]}', *made[1:]])}", soft_wrap=True)
    if (directory / "best").exists():
        console.print(f"best   {directory}/best", soft_wrap=True)
        console.print(f"next   bertwright inspect {shlex.quote(f'{directory}/best')}", soft_wrap=True)


class Display:
    """Prints a line a trial, and on a terminal a bar below them with the time that is left."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun: Begun | None = None
        self._began = 0.0
        self._tried = 0
        self._bar = Progress(
            TextColumn("{task.completed:.1f} of {task.total:.0f} trials"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,
        )

    def __call__(self, event: Any) -> None:
        """Show one event."""
        if isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, Advanced):
            self._advance(event.done)
        elif isinstance(event, Tried):
            self._tried += 1
            self._line(self._trial(event), "bold" if event.best else "red" if event.result.error else "")
            self._advance((self._begun.done if self._begun else 0) + self._tried)
        elif isinstance(event, Crowning):
            self._line(event.text)

    def close(self) -> None:
        """Leave the lines and take the bar away."""
        self._bar.stop()

    def left(self, done: float) -> str:
        """How long the rest will take if it goes on as fast."""
        if self._begun is None or done <= self._begun.done:
            return ""
        spent = (self._clock() - self._began) / (done - self._begun.done)
        return f"{duration(spent * (self._begun.trials - done))} left"

    def _begin(self, event: Begun) -> None:
        self._begun, self._began = event, self._clock()
        done = f", {event.done:,} of them done before" if event.done else ""
        self._line(f"sweep  {event.trials:,} trials{done}, ranked by {event.metric} on {event.split}")
        self._bar.add_task("", total=event.trials, completed=event.done, left="")
        self._bar.start()

    def _advance(self, done: float) -> None:
        if self._bar.tasks:
            self._bar.update(self._bar.task_ids[0], completed=done, left=self.left(done))

    def _trial(self, event: Tried) -> str:
        result = event.result
        words = [result.name, _named(result)]
        if result.error:
            return "  ".join([*words, f"failed: {result.error}"])
        metric = self._begun.metric if self._begun else "value"
        words += [f"{metric} {figure(metric, result.value)}", duration(result.seconds)]
        words += ["collapsed"] if result.collapsed else []
        return "  ".join([*words, *(["* best"] if event.best else [])])

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, soft_wrap=True)


def _named(result: Result) -> str:
    fold = {"fold": result.fold} if result.fold else {}
    return short({**result.settings, "seed": result.seed, **fold})


def _settings(words: Sequence[str], spellings: Spellings, searching: Searching) -> SweepSettings:
    varied = [word for word in words if varies(word)]
    if not varied and searching.folds is None:
        raise RecipeError(
            "sweep: nothing varies; give a setting several values, such as train.learning_rate=2e-5,3e-5 or seed=0..4."
        )
    recipe = recipe_of([word for word in words if word not in varied], spellings)
    try:
        return SweepSettings(recipe=recipe, vary=tuple(varied), **searching.given())
    except RecipeError as error:
        raise RecipeError(str(error).replace("SweepSettings: ", "sweep: --")) from None
