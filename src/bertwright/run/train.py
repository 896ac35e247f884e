"""Training runs: five stages from a recipe to a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from bertwright.config.duration import AutoLength, TimeBudget
from bertwright.errors import RecipeError
from bertwright.files.atomic import check_unlocked, expand_home, lock_directory
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.settings import HEAD_OBJECT
from bertwright.output.progress import stderr_console
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.data_preparation import RunOptions, prepare_data
from bertwright.run.directory import check_free, saved_recipe
from bertwright.run.display import RunDisplay
from bertwright.run.event_log import starting_directory
from bertwright.run.events import Listener, Note, TrainingFinished, emit
from bertwright.run.extension import check_resumable, remove_unneeded_state
from bertwright.run.fitting import RunDirectory, fit_run
from bertwright.run.report import Report
from bertwright.run.restart import Restart, describe_restart, read_restart, restart_if_collapsed
from bertwright.run.stages import PlannedRun, build_run_model, plan_run
from bertwright.run.tracking.listener import track_run
from bertwright.run.writing import write_run
from bertwright.training.compute import choose_compute, set_threads
from bertwright.training.process_state import reserve_process


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    data: Mapping[str, Any] | None = None,
    test: bool = True,
    head: nn.Module | None = None,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
    tracking_group: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Train a model by a recipe, and write a bundle that can predict.

    Progress, notes and the result are printed on standard error, or below the cell of a notebook. One process can run
    one training at a time. Torch's random state, thread count and signal handlers are restored at the end.

    Args:
        recipe: all settings of the run.
        out: the run directory; it is created. It must not hold a run already, unless ``resume``.
        data: rows in memory (or paths) that replace the recipe's ``train``, ``dev`` and ``test``.
        test: evaluate on the test rows at the end, if there are any; set it to False while you search for settings.
        head: any module with ``forward(hidden, layout) -> scores`` that replaces the recipe's head. To open the bundle
            later, pass it again: :meth:`Bundle.load(directory, head=…) <bertwright.run.bundle.Bundle.load>`.
        resume: continue the run that was stopped in ``out``; the result is identical to an uninterrupted run.
        quiet: print nothing; ``listeners`` still receive every event.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners: called with every event: those of :mod:`bertwright.run.events`, and
            :class:`~bertwright.training.loop.Step` after every training step.
        tracking_group: a directory that contains several runs; the trackers of ``train.track`` group them.

    Returns:
        The bundle, opened.

    Raises:
        BertwrightError: the recipe, the data or the model is wrong; saved states and checkpoints stay.
        KeyboardInterrupt: Ctrl-C; the state has been saved, and ``resume`` continues from it.
    """
    recipe = _check_recipe(recipe, head, allow_code)
    directory = Path(expand_home(out))
    with ExitStack() as stack:
        stack.enter_context(reserve_process())
        if not quiet:
            display = stack.enter_context(RunDisplay(stderr_console(), recipe.tokens.max_length, with_result=True))
            listeners = (*listeners, display)
        listeners = tuple(listeners)
        group = None if tracking_group is None else Path(expand_home(tracking_group))
        trackers = stack.enter_context(track_run(recipe.train.track, directory, group, listeners))
        start = starting_directory(directory) if resume else None
        options = RunOptions(data, test, head, allow_code, start)
        return _train(recipe, directory, options, resume, (*listeners, *trackers))


def _train(
    recipe: Recipe, directory: Path, options: RunOptions, resume: bool, listeners: tuple[Listener, ...]
) -> Bundle:
    """Run the five stages; nothing is written before the fourth."""
    check_unlocked(directory)
    check_free(directory, resume)
    if resume:
        remove_unneeded_state(directory)
        if isinstance(recipe.train.length, AutoLength):
            recipe = _keep_length(recipe, directory)
        check_resumable(directory, recipe)
        if isinstance(recipe.train.length, TimeBudget):
            recipe = _keep_length(recipe, directory)
    compute = choose_compute(recipe.train.device, recipe.train.precision, recipe.train.threads)
    set_threads(compute)
    prepared = prepare_data(recipe, options, compute, listeners)
    untrained = options.copy_head()

    def plan_attempt(restart: Restart | None) -> PlannedRun:
        data = prepared if restart is None else replace(prepared, recipe=prepared.recipe.replace(seed=restart.seed))
        attempt = options if restart is None else untrained.copy_head()
        planned = plan_run(data, build_run_model(data, attempt, compute), compute, listeners)
        if restart is None:
            return planned
        return replace(planned, recipe=planned.recipe.replace(seed=prepared.recipe.seed), restarted=restart.reason)

    planned = plan_attempt(read_restart(directory) if resume else None)
    with lock_directory(directory) as check_in_place:
        check_free(directory, resume)  # another process may have taken the directory in the meantime
        place = RunDirectory(directory, check_in_place)
        fitted = fit_run(planned, place, listeners, resume)
        if (restart := restart_if_collapsed(fitted, place)) is not None:
            emit(listeners, Note(describe_restart(restart, fitted), warning=True))
            again = replace(plan_attempt(restart), notes=())  # they have been reported
            fitted = fit_run(again, place, listeners)
        bundle = write_run(fitted, place, untrained, listeners)
    emit(listeners, TrainingFinished(bundle.report or Report(), directory))
    return bundle


def _keep_length(recipe: Recipe, directory: Path) -> Recipe:
    """The recipe with the length, early stopping and refit that were chosen when the run started."""
    settings, saved = recipe.train, saved_recipe(directory).train
    patience = saved.patience if settings.patience == "auto" else settings.patience
    refit = saved.refit if settings.refit == "auto" else settings.refit
    return recipe.replace(train=settings.replace(length=saved.length, patience=patience, refit=refit))


def _check_recipe(recipe: Recipe, head: nn.Module | None, allow_code: bool) -> Recipe:
    """Check that the recipe describes a single run; return it with a head from Python entered.

    Raises:
        RecipeError: it has continued pre-training, names another head than the one from Python, or names a head that
            is code and not allowed.
    """
    if recipe.continued_pretraining is not None:
        raise RecipeError(
            "continued_pretraining: cannot be used in a single run; use `bertwright train` or continue_pretraining, "
            "which also fine-tune."
        )
    if head is None:
        check_code_allowed(recipe.model.head, allow_code)
        return recipe
    if recipe.model.head not in (None, HEAD_OBJECT):
        raise RecipeError("model.head: the recipe names a head, and another one was passed as head=…; remove one.")
    return recipe.replace(model=recipe.model.replace(head=HEAD_OBJECT))
