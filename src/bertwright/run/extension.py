"""Extending a finished or interrupted run to another ``train.length``."""

from __future__ import annotations

import shutil
from pathlib import Path

from bertwright.config.duration import Duration, TimeBudget, portion_steps
from bertwright.config.yaml_tree import format_number
from bertwright.errors import OutputError, RecipeError
from bertwright.output.plurals import pluralize
from bertwright.recipe import Recipe
from bertwright.run.directory import CHECKPOINT, LENGTH, STATE, differences, is_finished, saved_recipe
from bertwright.run.plan import make_plan
from bertwright.tokenization.sampling import EpochOrder
from bertwright.training.compute import ComputeConfig


def check_resumable(directory: Path, recipe: Recipe) -> None:
    """Check that a run can be resumed; a finished run must be extensible.

    Raises:
        OutputError: the run has finished, and the recipe does not change its length.
        RecipeError: the recipe changes the length, but the run cannot be extended.
    """
    if not is_finished(directory):
        return
    former = saved_recipe(directory)
    longer = recipe.train.length != former.train.length
    resumable = (directory / CHECKPOINT / STATE).exists()
    if longer and isinstance(recipe.train.length, TimeBudget):
        raise RecipeError(
            f"{directory}: this run has finished its {former.train.length}; to extend it, set train.length in epochs "
            f"or steps (found {recipe.train.length})."
        )
    if longer:
        if reason := reason_for_fixed_length(former):
            raise RecipeError(f"{_describe_change(directory, former, recipe)}: {reason}.")
        if not resumable:
            raise RecipeError(
                f"{_describe_change(directory, former, recipe)}: its training state was not kept; train with "
                f"train.keep_state=true (the default) and do not remove {CHECKPOINT}/, or start a new run from its "
                f"weights with model.base={directory}."
            )
    elif not resumable or recipe == former:
        raise OutputError(f"{directory}: this run has already finished; nothing to resume.")


def remove_unneeded_state(directory: Path) -> None:
    """Remove the training state of a finished run that cannot be extended, if a killed process left it."""
    if is_finished(directory) and not should_keep_state(saved_recipe(directory)):
        shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)


def reason_for_fixed_length(recipe: Recipe) -> str:
    """Why a run with this recipe cannot change its length; empty if it can."""
    schedule = recipe.train.schedule
    if isinstance(schedule, str) and schedule != "constant":
        return (
            f"train.schedule is {schedule}, so all past learning rates depend on the planned length; only constant and "
            "listed schedules can be extended; start a new run from its weights with model.base"
        )
    if recipe.train.refit is True:
        return "train.refit has trained the saved weights on all rows from the start; start a new run"
    if recipe.train.average is not None:
        return "train.average is a share of the run, so the average depends on the planned length; start a new run"
    if getattr(recipe.task, "phases", ()):
        return "task.phases are shares of the run, so the past sequences depend on the planned length; start a new run"
    return ""


def should_keep_state(recipe: Recipe) -> bool:
    """Whether to keep the training state of a finished run, so that it can be extended."""
    return recipe.train.keep_state and not reason_for_fixed_length(recipe)


def extend_recipe(
    directory: Path, former: Recipe, recipe: Recipe, order: EpochOrder, compute: ComputeConfig, done: int
) -> Recipe:
    """The recipe for extending a run: shares of the former length are replaced by the same number of steps.

    Args:
        directory: of the run.
        former: the recipe of the run so far.
        recipe: the same with another ``train.length``.
        order: of the rows.
        compute: device, precision and threads of the run.
        done: number of steps so far.

    Raises:
        RecipeError: past steps would have had another learning rate, or are more than the new length.
    """
    before = make_plan(former, order, compute)
    after = recipe.train.length.steps(before.per_epoch)
    change = _describe_change(directory, former, recipe)
    if after <= done:
        raise RecipeError(
            f"{change}: the run already has {pluralize(done, 'step')}, and the new length is {after:,}; set a larger "
            "one."
        )
    if done and (reason := reason_for_fixed_length(former)):
        raise RecipeError(f"{change}: {reason}.")

    def in_steps(portion: float | Duration) -> float | Duration:
        if isinstance(portion, Duration) or not done:
            return portion
        steps = portion_steps(portion, before.steps, before.per_epoch)
        return Duration(steps, "steps") if steps else 0.0

    settings = recipe.train.replace(warmup=in_steps(recipe.train.warmup))
    if not isinstance(settings.schedule, str):
        segments = tuple(segment.replace(steps=in_steps(segment.steps)) for segment in settings.schedule)
        settings = settings.replace(schedule=segments)
    recipe = recipe.replace(train=settings)
    plan = make_plan(recipe, order, compute)
    for step in range(done):
        rates = [settings.peak_learning_rate * schedule(step) for schedule in (before.schedule, plan.schedule)]
        if rates[0] != rates[1]:
            raise RecipeError(
                f"{change}: step {step + 1} used learning rate {format_number(rates[0])}, but in a run of "
                f"{plan.steps:,} steps it would be {format_number(rates[1])}; start a new run."
            )
    return recipe


def _describe_change(directory: Path, former: Recipe, recipe: Recipe) -> str:
    return f"{directory}: the run cannot change its length ({differences(former, recipe)[LENGTH]})"
