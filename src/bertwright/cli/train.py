"""The implementation of ``bertwright train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import typer

from bertwright.cli.command import print_errors
from bertwright.cli.console import out, show, stderr_console
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.cli.sweep import SearchOptions, has_several_seeds, sweep
from bertwright.errors import OutputError, RecipeError
from bertwright.output.terminal import print_line
from bertwright.recipe import Recipe
from bertwright.run.bundle import RECIPE, Bundle
from bertwright.run.continued_pretraining import FINE_TUNING_RUN, RECIPE_FILE, run_stages
from bertwright.run.directory import check_same, saved_recipe
from bertwright.run.display import RunDisplay
from bertwright.run.events import Listener
from bertwright.run.html_report import describe_files
from bertwright.run.interrupt import STOPPED
from bertwright.run.report import Report
from bertwright.run.tracking.listener import track_run
from bertwright.run.train import train as run
from bertwright.sweep.space import override_recipe

TENSORBOARD = "tensorboard"


def train(
    words: Sequence[str],
    options: RecipeOptions,
    directory: Path | None,
    resume: bool = False,
    tensorboard: bool = False,
    allow_code: bool = False,
    ensemble: str | None = None,
) -> None:
    """Train with one or several seeds, print the progress and the report.

    Raises:
        BertwrightError: an argument, the recipe or the data is invalid.
    """
    if has_several_seeds(words, directory, resume):
        if tensorboard:
            raise OutputError("train: --tensorboard supports a single run; remove it, or use one seed.")
        sweep(words, options, directory, resume, SearchOptions(ensemble=ensemble), allow_code=allow_code)
        return
    if ensemble is not None:
        raise RecipeError("train: --ensemble needs several seeds; add for example seed=0..4.")
    if directory is None:
        raise OutputError("train: --out is missing; add --out DIR.")
    if resume and all("=" in word for word in words):
        recipe = load_resumed_recipe(directory, [*options.pairs(), *words])
    else:
        recipe = load_command_recipe(words, options)
    if recipe.continued_pretraining is not None:
        if tensorboard:
            raise OutputError("train: --tensorboard supports a single run; remove it, or remove continued_pretraining.")
        run_continued_pretraining(recipe, directory, resume, allow_code)
        return
    with RunDisplay(stderr_console(), recipe.tokens.max_length) as display, ExitStack() as stack:
        listeners: list[Listener] = [display]
        names = [TENSORBOARD] if tensorboard and TENSORBOARD not in recipe.train.track else []
        listeners += stack.enter_context(track_run(names, directory, listeners=listeners, setting=f"--{TENSORBOARD}"))
        try:
            bundle = run(recipe, directory, resume=resume, quiet=True, allow_code=allow_code, listeners=listeners)
        except KeyboardInterrupt:
            display.close()
            report_interruption(directory)
            raise typer.Exit(STOPPED) from None
    finish(bundle, directory)


def load_resumed_recipe(directory: Path, pairs: Sequence[str]) -> Recipe:
    """Load the recipe of a finished or interrupted run and apply ``key=value`` pairs.

    Raises:
        OutputError: the directory holds no run.
        RecipeError: the pairs change anything other than the length of the run.
    """
    file = RECIPE_FILE if (directory / RECIPE_FILE).exists() else RECIPE
    former = saved_recipe(directory, file)
    recipe = override_recipe(former, pairs)
    check_same(directory / file, former, recipe)
    return recipe


def run_continued_pretraining(recipe: Recipe, directory: Path, resume: bool, allow_code: bool = False) -> None:
    """Continue pre-training, fine-tune with and without it, and print the difference.

    Raises:
        BertwrightError: an argument, the recipe or the data is invalid.
    """
    try:
        bundle, result = run_stages(recipe, directory, resume=resume, allow_code=allow_code)
    except KeyboardInterrupt:
        report_interruption(directory, RECIPE_FILE)
        raise typer.Exit(STOPPED) from None
    finish(bundle, directory / FINE_TUNING_RUN)
    for line in ("", *result.lines()):
        print_line(out(), line)


def report_interruption(directory: Path, file: str = RECIPE) -> None:
    """After Ctrl-C, print how to continue the run."""
    try:
        saved_recipe(directory, file)
    except OutputError:
        print_errors("stopped before training began; nothing was written.")
    else:
        command = f"bertwright train --resume --out {shlex.quote(str(directory))}"
        print_line(stderr_console(), f"stopped; continue with `{command}`.", wrap=False)


def finish(bundle: Bundle, directory: Path) -> None:
    """Print the report and the paths of the results."""
    console = out()
    show(console, ["", *(bundle.report or Report()).renderables()])
    place = shlex.quote(str(directory))
    text = bundle.task.predict_arguments(bool(bundle.takes_pairs))
    for line in describe_files(directory):
        print_line(console, line)
    print_line(console, f"next   bertwright predict {place} {text}", wrap=False)
