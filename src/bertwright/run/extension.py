"""Extending a run: whether its state can go on to another ``train.length``, and the recipe it goes on with."""

from __future__ import annotations

import shutil
from pathlib import Path

from bertwright.config.duration import Duration, TimeBudget, portion_steps
from bertwright.config.yaml_tree import format_number
from bertwright.errors import OutputError, RecipeError
from bertwright.recipe import Recipe
from bertwright.run.directory import CHECKPOINT, LENGTH, STATE, differences, is_finished, saved_recipe
from bertwright.run.plan import make_plan
from bertwright.tokenization.sampling import EpochOrder
from bertwright.training.compute import ComputeConfig


def check_resumable(directory: Path, recipe: Recipe) -> None:
    """Refuse, before anything slow, to resume a run that has finished and cannot be extended.

    Raises:
        OutputError: the run has finished, and the recipe does not ask for another length.
        RecipeError: it does, but the run cannot be extended; says why.
    """
    if not is_finished(directory):
        return
    former = saved_recipe(directory)
    longer = recipe.train.length != former.train.length
    resumable = (directory / CHECKPOINT / STATE).exists()
    if longer and isinstance(recipe.train.length, TimeBudget):
        raise RecipeError(
            f"{directory}: this run has finished its {former.train.length}; to extend it, give train.length in epochs "
            f"or steps (found {recipe.train.length})."
        )
    if longer:
        if reason := why_fixed(former):
            raise RecipeError(f"{_change(directory, former, recipe)}: {reason}.")
        if not resumable:
            raise RecipeError(
                f"{_change(directory, former, recipe)}: its state was not kept; train with train.keep_state=true "
                f"(the default) and leave {CHECKPOINT}/ in place, or start a new run from its weights with "
                f"model.base={directory}."
            )
    elif not resumable or recipe == former:
        raise OutputError(f"{directory}: this run has already finished; nothing to resume.")


def remove_unneeded_state(directory: Path) -> None:
    """Remove the saved state of a finished run that cannot be extended; a kill may precede its removal."""
    if is_finished(directory) and not keeps_state(saved_recipe(directory)):
        shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)


def why_fixed(recipe: Recipe) -> str:
    """Why a run by this recipe cannot change its length; empty where it can."""
    schedule = recipe.train.schedule
    if isinstance(schedule, str) and schedule != "constant":
        return (
            f"train.schedule is {schedule}, so every learning rate so far depends on the planned length; only constant "
            "and listed schedules can be extended; start a new run from its weights with model.base"
        )
    if getattr(recipe.task, "phases", ()):
        return "task.phases are shares of the run, so its length decides which sequences were seen; start a new run"
    return ""


def keeps_state(recipe: Recipe) -> bool:
    """Whether the state of a run stays after it has finished, so that it can be extended."""
    return recipe.train.keep_state and not why_fixed(recipe)


def lengthen(
    directory: Path, former: Recipe, recipe: Recipe, order: EpochOrder, compute: ComputeConfig, done: int
) -> Recipe:
    """The recipe of a run that goes on to another length, with its shares of the former length as steps.

    Args:
        directory: of the run.
        former: the recipe with which the steps so far were made.
        recipe: the same with another ``train.length``.
        order: of the rows.
        machine: that the run uses.
        done: steps made so far.

    Raises:
        RecipeError: the steps so far would have been made differently, or are more than the new length.
    """
    before = make_plan(former, order, compute)
    after = recipe.train.length.steps(before.per_epoch)
    change = _change(directory, former, recipe)
    if after <= done:
        raise RecipeError(f"{change}: the run has made {done:,} steps already, and that is {after:,}; name more.")
    if done and (reason := why_fixed(former)):
        raise RecipeError(f"{change}: {reason}.")

    def in_steps(portion: float | Duration) -> float | Duration:
        if isinstance(portion, Duration) or not done:
            return portion
        steps = portion_steps(portion, before.steps, before.per_epoch)
        return Duration(steps, "steps") if steps else 0.0

    settings = recipe.train.replace(warmup=in_steps(recipe.train.warmup))
    if not isinstance(settings.schedule, str):
        stretches = tuple(stretch.replace(steps=in_steps(stretch.steps)) for stretch in settings.schedule)
        settings = settings.replace(schedule=stretches)
    recipe = recipe.replace(train=settings)
    plan = make_plan(recipe, order, compute)
    for step in range(done):
        rates = [settings.learning_rate * schedule(step) for schedule in (before.schedule, plan.schedule)]
        if rates[0] != rates[1]:
            raise RecipeError(
                f"{change}: step {step + 1} was made with learning rate {format_number(rates[0])}, but a run of "
                f"{plan.steps:,} steps would make it with {format_number(rates[1])}; start a new run."
            )
    return recipe


def _change(directory: Path, former: Recipe, recipe: Recipe) -> str:
    return f"{directory}: the run cannot change its length ({differences(former, recipe)[LENGTH]})"
