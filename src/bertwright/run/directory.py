"""The directory of a run: checks before writing, saved recipe, and relative paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bertwright.config.sections import Section
from bertwright.errors import OutputError, RecipeError
from bertwright.files.atomic import check_writable, is_partial
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import CONFIG, RECIPE

LENGTH = "train.length"

CHECKPOINT = "checkpoint"
"""The folder of the training state in a run directory."""

STATE = "state.safetensors"
"""The file of parameters, optimizer state and step in :data:`CHECKPOINT`."""


def saved_recipe(directory: str | os.PathLike[str], file: str = RECIPE) -> Recipe:
    """The resolved recipe of a run; after an extension, with the new length.

    Raises:
        OutputError: the directory contains no run.
    """
    path = Path(directory) / file
    if not path.exists():
        raise OutputError(f"{directory}: no run to resume; start without --resume.")
    # recipe.yaml of a finished run also has settings that were tuned on the dev rows, such as thresholds
    training = Path(directory) / CHECKPOINT / RECIPE
    return load_recipe(training if file == RECIPE and training.exists() else path, report_former_names=False)


def is_finished(directory: Path) -> bool:
    """Whether a run has a bundle and is not being extended."""
    if not (directory / CONFIG).exists():
        return False
    training = directory / CHECKPOINT / RECIPE
    finished = load_recipe(directory / RECIPE, report_former_names=False)
    return (
        not training.exists() or load_recipe(training, report_former_names=False).train.length == finished.train.length
    )


def check_free(directory: Path, resume: bool) -> None:
    """Check that a run can write to a directory: it must be new or empty, or contain the run to resume."""
    if resume:
        saved_recipe(directory)
    check_writable(directory)
    if resume:
        return
    if (directory / RECIPE).exists() and not (directory / CONFIG).exists():
        raise OutputError(
            f"{directory}: contains an interrupted run; add --resume to continue it, or choose another directory."
        )
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: already exists and is a file; choose a new directory with --out.")
    if directory.exists() and any(not is_partial(item) for item in directory.iterdir()):
        raise OutputError(
            f"{directory}: already exists and is not empty; choose another directory with --out, or remove it."
        )


def differences(former: Recipe, recipe: Recipe) -> dict[str, str]:
    """The settings that differ: key → ``'former value' → 'new value'``."""
    return {
        key: f"{key} {before!r} → {after!r}"
        for section, settings in recipe.model_dump().items()
        for key, before, after in _differences(section, former.model_dump()[section], settings)
    }


def check_same(path: Path, former: Recipe, recipe: Recipe) -> None:
    """Check that a recipe equals that of the run to resume; only the length may differ.

    Raises:
        RecipeError: other settings differ; the message lists them.
    """
    changes = differences(former, recipe)
    if changes.keys() - {LENGTH}:
        raise RecipeError(
            f"{path}: the run was started with other settings ({'; '.join(changes.values())}); "
            "resume it with --resume --out alone."
        )


def _differences(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield name, before, after


PATHS = {
    "data": ("path", "train", "dev", "test"),
    "model": ("base", "tokenizer"),
    "continued_pretraining": ("corpus", "general"),
}
"""The settings that may be paths, by their section."""


def change_paths(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    """Apply a function to every setting of a recipe that may be a path."""

    def change_section(section: Section, names: tuple[str, ...]) -> Section:
        values = {name: getattr(section, name) for name in names}
        return section.replace(**{name: change(value) for name, value in values.items() if value})

    sections = {
        name: change_section(section, PATHS[name]) for name in PATHS if (section := getattr(recipe, name)) is not None
    }
    recipe = recipe.replace(**sections)
    augment = change_section(recipe.data.augment, ("synonym_file", "masked_lm_model"))
    return recipe.replace(data=recipe.data.replace(augment=augment))


def resolve_paths(recipe: Recipe, start: Path | None) -> Recipe:
    """Replace relative paths that exist relative to ``start`` by absolute paths.

    Args:
        recipe: of a run.
        start: the working directory in which the run was started; None if it is not recorded.
    """
    if start is None or start == Path.cwd():
        return recipe
    return change_paths(recipe, lambda path: str(start / path) if (start / path).exists() else path)
