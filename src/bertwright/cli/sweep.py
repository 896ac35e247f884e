"""The implementation of ``bertwright sweep``, and of ``bertwright train`` with several seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import typer

from bertwright.cli.console import out, show, stderr_console
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.errors import OutputError, RecipeError
from bertwright.output.plurals import pluralize
from bertwright.output.terminal import print_line
from bertwright.run.interrupt import STOPPED
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.leaderboard import Leaderboard
from bertwright.sweep.search import sweep as run
from bertwright.sweep.seed_ensemble import ENSEMBLE_DIRECTORY
from bertwright.sweep.settings import SWEEP_FILE, SweepSettings, load_sweep_settings
from bertwright.sweep.space import has_several_values, override_recipe
from bertwright.sweep.sweep_page import PAGE_FILE


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search; None stands for the default or, when resuming, for the value of the interrupted sweep."""

    search: str | None = None
    trials: int | None = None
    folds: int | None = None
    keep: str | None = None
    refit: bool | None = None
    ensemble: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the options that the user set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def sweep(
    words: Sequence[str],
    options: RecipeOptions,
    directory: Path | None,
    resume: bool = False,
    search_options: SearchOptions = SearchOptions(),
    parallel: int = 1,
    allow_code: bool = False,
) -> None:
    """Search over the settings that vary, print the progress and the leaderboard.

    Raises:
        BertwrightError: an argument or the recipe is invalid, or all trials failed.
    """
    if directory is None:
        raise OutputError("sweep: --out is missing; add --out DIR.")
    if resume and all("=" in word for word in words):
        settings = _load_resumed_settings(directory, words, options, search_options)
    else:
        settings = _settings(words, options, search_options)
    try:
        with SweepDisplay(stderr_console()) as display:
            board = run(
                settings, directory, parallel=parallel, resume=resume, allow_code=allow_code, listeners=[display]
            )
    except KeyboardInterrupt:
        exit_interrupted("sweep", directory)
    finish(board, directory)


def exit_interrupted(command: str, directory: Path) -> NoReturn:
    """After Ctrl-C, print how to continue, and end the program.

    Raises:
        typer.Exit: always.
    """
    line = f"bertwright {command} --resume --out {shlex.quote(str(directory))}"
    started = (directory / SWEEP_FILE).exists()
    text = f"stopped; continue with `{line}`." if started else "stopped; nothing was written."
    print_line(stderr_console(), text, wrap=False)
    raise typer.Exit(STOPPED) from None


def has_several_seeds(words: Sequence[str], directory: Path | None, resume: bool) -> bool:
    """Whether the arguments of ``train`` give several seeds.

    Raises:
        RecipeError: another setting varies too.
    """
    if resume and directory is not None and (directory / SWEEP_FILE).exists():
        return True
    if not any(word.partition("=")[0].strip() == "seed" and has_several_values(word) for word in words):
        return False
    others = [word for word in words if has_several_values(word) and word.partition("=")[0].strip() != "seed"]
    if others:
        raise RecipeError(f"{others[0]}: train accepts several values only for seed; use `bertwright sweep`.")
    return True


def finish(board: Leaderboard, directory: Path) -> None:
    """Print the leaderboard and the paths of the results."""
    console = out()
    show(console, ["", *board.renderables()])
    names = [path.name for path in sorted(directory.glob("leaderboard.*"))]
    print_line(console, f"report {directory}/{PAGE_FILE}")
    print_line(console, f"table  {', '.join([f'{directory}/{names[0]}', *names[1:]])}")
    if board.ensemble is not None:
        place = directory / ENSEMBLE_DIRECTORY
        size = pluralize(len(board.ensemble.trials) if board.ensemble.form == "average" else 1, "model")
        print_line(console, f"bundle {place} ({size})")
    if (directory / "best").exists():
        print_line(console, f"best   {directory}/best")
        print_line(console, f"next   bertwright inspect {shlex.quote(f'{directory}/best')}", wrap=False)


def _load_resumed_settings(
    directory: Path, words: Sequence[str], options: RecipeOptions, search_options: SearchOptions
) -> SweepSettings:
    """Return the settings of an interrupted sweep, updated with those of the command line."""
    former = load_sweep_settings(directory)
    varying = tuple(word for word in words if has_several_values(word))
    pairs = [*options.pairs(), *(word for word in words if word not in varying)]
    return former.replace(
        recipe=override_recipe(former.recipe, pairs), vary=varying or former.vary, **search_options.to_dict()
    )


def _settings(words: Sequence[str], options: RecipeOptions, search_options: SearchOptions) -> SweepSettings:
    varying = [word for word in words if has_several_values(word)]
    if not varying and search_options.folds is None:
        raise RecipeError(
            "sweep: no setting varies; give one several values, for example train.learning_rate=2e-5,3e-5 or seed=0..4."
        )
    recipe = load_command_recipe([word for word in words if word not in varying], options)
    try:
        return SweepSettings(recipe=recipe, vary=tuple(varying), **search_options.to_dict())
    except RecipeError as error:
        raise RecipeError(*(text.replace("SweepSettings: ", "sweep: --") for text in error.sentences)) from None
