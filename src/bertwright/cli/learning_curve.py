"""The implementation of ``bertwright learning-curve``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bertwright.cli.console import out, show, stderr_console
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.cli.sweep import exit_interrupted
from bertwright.errors import OutputError, RecipeError
from bertwright.output.terminal import print_line
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.learning_curve import (
    CURVE_FILE,
    CURVE_PLOT,
    DEFAULT_SEEDS,
    LearningCurve,
    load_curve_settings,
    plan_learning_curve,
)
from bertwright.sweep.learning_curve import run_learning_curve as run
from bertwright.sweep.settings import SweepSettings
from bertwright.sweep.space import has_several_values
from bertwright.sweep.sweep_page import PAGE_FILE


@dataclass(frozen=True)
class CurveOptions:
    """Options of the learning curve; None stands for the default.

    Attributes:
        sizes: numbers of rows, separated by commas.
        seeds: the number of seeds for each size.
        keep_weights: whether to keep the weights of every run.
    """

    sizes: str | None = None
    seeds: int | None = None
    keep_weights: bool = False


def learning_curve(
    words: Sequence[str],
    options: RecipeOptions,
    directory: Path | None,
    resume: bool = False,
    curve_options: CurveOptions = CurveOptions(),
    parallel: int = 1,
    allow_code: bool = False,
) -> None:
    """Measure a learning curve, print the progress, the table and the estimate.

    Raises:
        BertwrightError: an argument, the recipe or the data is invalid, or all runs failed.
    """
    if directory is None:
        raise OutputError("learning-curve: --out is missing; add --out DIR.")
    if (
        resume
        and not words
        and options == RecipeOptions()
        and (curve_options.sizes, curve_options.seeds) == (None, None)
    ):
        settings = load_curve_settings(directory)
        settings = settings.replace(keep="all" if curve_options.keep_weights else settings.keep)
    else:
        settings = _plan(words, options, curve_options)
    try:
        with SweepDisplay(stderr_console(), ranks=False) as display:
            curve = run(
                settings, directory, parallel=parallel, resume=resume, allow_code=allow_code, listeners=[display]
            )
    except KeyboardInterrupt:
        exit_interrupted("learning-curve", directory)
    finish(curve, directory)


def finish(curve: LearningCurve, directory: Path) -> None:
    """Print the table, the estimate and the paths of the results."""
    console = out()
    show(console, ["", *curve.renderables()])
    names = [name for name in (CURVE_FILE, CURVE_PLOT) if (directory / name).exists()]
    place = shlex.quote(str(directory))
    print_line(console, f"report     {place}/{PAGE_FILE}", wrap=False)
    print_line(console, f"files      {', '.join([f'{place}/{names[0]}', *names[1:]])}", wrap=False)


def _plan(words: Sequence[str], options: RecipeOptions, curve_options: CurveOptions) -> SweepSettings:
    """Return the settings of a new curve, with errors that name the options."""
    if varying := [word for word in words if has_several_values(word)]:
        raise RecipeError(
            f"{varying[0]}: learning-curve varies only the number of rows and the seed; use --sizes and --seeds."
        )
    recipe = load_command_recipe(words, options)
    sizes = None if curve_options.sizes is None else curve_options.sizes.split(",")
    seeds = DEFAULT_SEEDS if curve_options.seeds is None else curve_options.seeds
    try:
        return plan_learning_curve(recipe, sizes, seeds, curve_options.keep_weights)
    except RecipeError as error:
        texts = (f"--{text}" if text.startswith(("sizes: ", "seeds: ")) else text for text in error.sentences)
        raise RecipeError(*texts) from None
