"""``bertwright train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from bertwright.cli.command import complain
from bertwright.cli.console import err, out, show
from bertwright.cli.options import RecipeOptions, recipe_of
from bertwright.cli.sweep import several_seeds, sweep
from bertwright.errors import OutputError
from bertwright.output.terminal import print_line
from bertwright.recipe import Recipe
from bertwright.run.bundle import RECIPE, Bundle
from bertwright.run.continued_pretraining import FILE, TUNED, run_chain
from bertwright.run.data_preparation import Listener
from bertwright.run.directory import check_same, saved_recipe
from bertwright.run.display import RunDisplay
from bertwright.run.interrupt import STOPPED
from bertwright.run.plots import pictures_of
from bertwright.run.report import Report
from bertwright.run.train import train as run
from bertwright.sweep.space import override_recipe


def train(
    words: Sequence[str],
    spellings: RecipeOptions,
    directory: Path | None,
    resume: bool = False,
    tensorboard: bool = False,
    allow_code: bool = False,
) -> None:
    """Train as the words and options say, with one seed or several; show how it goes, and what to do with the outcome.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    if several_seeds(words, directory, resume):
        if tensorboard:
            raise OutputError("train: --tensorboard shows one run; leave it out with several seeds.")
        sweep(words, spellings, directory, resume, allow_code=allow_code)
        return
    if directory is None:
        raise OutputError("train: no directory is named for the run; add --out DIR.")
    if resume and all("=" in word for word in words):
        recipe = resumed_recipe(directory, [*spellings.pairs(), *words])
    else:
        recipe = recipe_of(words, spellings)
    if recipe.continued_pretraining is not None:
        if tensorboard:
            raise OutputError("train: --tensorboard shows one run; leave it out where pre-training comes before.")
        chain(recipe, directory, resume, allow_code)
        return
    with RunDisplay(err(), recipe.tokens.max_length) as display:
        listeners: list[Listener] = [display]
        if tensorboard:
            from bertwright.cli.tensorboard import Scalars

            listeners.append(Scalars(directory / "tensorboard"))
        try:
            bundle = run(recipe, directory, resume=resume, quiet=True, allow_code=allow_code, listeners=listeners)
        except KeyboardInterrupt:
            display.close()
            complain_of_stop(directory)
            raise typer.Exit(STOPPED) from None
    finish(bundle, directory)


def resumed_recipe(directory: Path, pairs: Sequence[str]) -> Recipe:
    """The recipe of a stopped or finished run with ``key=value`` pairs laid over it.

    Raises:
        OutputError: there is no run to resume.
        RecipeError: the pairs change anything but the length of a run.
    """
    file = FILE if (directory / FILE).exists() else RECIPE
    former = saved_recipe(directory, file)
    recipe = override_recipe(former, pairs)
    check_same(directory / file, former, recipe)
    return recipe


def chain(recipe: Recipe, directory: Path, resume: bool, allow_code: bool = False) -> None:
    """Pre-train further, fine-tune with and without it, and show what it brought.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    try:
        bundle, effect = run_chain(recipe, directory, resume=resume, allow_code=allow_code)
    except KeyboardInterrupt:
        complain_of_stop(directory, FILE)
        raise typer.Exit(STOPPED) from None
    finish(bundle, directory / TUNED)
    for line in ("", *effect.lines()):
        print_line(out(), line)


def complain_of_stop(directory: Path, file: str = RECIPE) -> None:
    """Say after Ctrl-C what there is to go on from."""
    try:
        saved_recipe(directory, file)
    except OutputError:
        complain("stopped before training began; nothing was written.")
    else:
        again = f"bertwright train --resume --out {shlex.quote(str(directory))}"
        print_line(err(), f"stopped; nothing is lost: `{again}` goes on from here.", wrap=False)


def finish(bundle: Bundle, directory: Path) -> None:
    """Show the report, and say where things are."""
    console = out()
    show(console, ["", *(bundle.report or Report()).renderables()])
    place = shlex.quote(str(directory))
    text = bundle.task.predict_arguments(bool(bundle.takes_pairs))
    print_line(console, f"bundle {', '.join([str(directory), *pictures_of(directory)])}")
    print_line(console, f"next   bertwright predict {place} {text}", wrap=False)
