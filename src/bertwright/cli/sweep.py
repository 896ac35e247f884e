"""``bertwright sweep``, and ``bertwright train`` with several seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer

from bertwright.cli.console import err, out, show
from bertwright.cli.options import RecipeOptions, recipe_of
from bertwright.errors import OutputError, RecipeError
from bertwright.output.terminal import print_line
from bertwright.run.interrupt import STOPPED
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.leaderboard import Leaderboard
from bertwright.sweep.search import sweep as run
from bertwright.sweep.settings import SWEEP_FILE, SweepSettings, load_sweep_settings
from bertwright.sweep.space import has_several_values, override_recipe


@dataclass(frozen=True)
class SearchOptions:
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
    spellings: RecipeOptions,
    directory: Path | None,
    resume: bool = False,
    searching: SearchOptions = SearchOptions(),
    parallel: int = 1,
    allow_code: bool = False,
) -> None:
    """Try what varies, show how it goes, and where the best is.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    if directory is None:
        raise OutputError("sweep: no directory is named for it; add --out DIR.")
    if resume and all("=" in word for word in words):
        settings = _resumed(directory, words, spellings, searching)
    else:
        settings = _settings(words, spellings, searching)
    try:
        with SweepDisplay(err()) as display:
            board = run(
                settings, directory, parallel=parallel, resume=resume, allow_code=allow_code, listeners=[display]
            )
    except KeyboardInterrupt:
        again = f"bertwright sweep --resume --out {shlex.quote(str(directory))}"
        begun = (directory / SWEEP_FILE).exists()
        said = f"stopped; nothing is lost: `{again}` goes on from here." if begun else "stopped; nothing was written."
        print_line(err(), said, wrap=False)
        raise typer.Exit(STOPPED) from None
    finish(board, directory)


def several_seeds(words: Sequence[str], directory: Path | None, resume: bool) -> bool:
    """Whether what ``train`` was told is a search over seeds.

    Raises:
        RecipeError: something else varies too.
    """
    if resume and directory is not None and (directory / SWEEP_FILE).exists():
        return True
    if not any(word.partition("=")[0].strip() == "seed" and has_several_values(word) for word in words):
        return False
    others = [word for word in words if has_several_values(word) and word.partition("=")[0].strip() != "seed"]
    if others:
        raise RecipeError(f"{others[0]}: train takes several values for seed alone; use `bertwright sweep`.")
    return True


def finish(board: Leaderboard, directory: Path) -> None:
    """Show the table, and say where things are."""
    console = out()
    show(console, ["", *board.renderables()])
    made = [path.name for path in sorted(directory.glob("leaderboard.*"))]
    print_line(console, f"table  {', '.join([f'{directory}/{made[0]}', *made[1:]])}")
    if (directory / "best").exists():
        print_line(console, f"best   {directory}/best")
        print_line(console, f"next   bertwright inspect {shlex.quote(f'{directory}/best')}", wrap=False)


def _resumed(
    directory: Path, words: Sequence[str], spellings: RecipeOptions, searching: SearchOptions
) -> SweepSettings:
    """The settings of a sweep that was stopped, with those of the command line laid over them."""
    former = load_sweep_settings(directory)
    varied = tuple(word for word in words if has_several_values(word))
    pairs = [*spellings.pairs(), *(word for word in words if word not in varied)]
    return former.replace(recipe=override_recipe(former.recipe, pairs), vary=varied or former.vary, **searching.given())


def _settings(words: Sequence[str], spellings: RecipeOptions, searching: SearchOptions) -> SweepSettings:
    varied = [word for word in words if has_several_values(word)]
    if not varied and searching.folds is None:
        raise RecipeError(
            "sweep: nothing varies; give a setting several values, such as train.learning_rate=2e-5,3e-5 or seed=0..4."
        )
    recipe = recipe_of([word for word in words if word not in varied], spellings)
    try:
        return SweepSettings(recipe=recipe, vary=tuple(varied), **searching.given())
    except RecipeError as error:
        raise RecipeError(*(text.replace("SweepSettings: ", "sweep: --") for text in error.sentences)) from None
