"""The directory of a run: who may write to it, and what a run in it was started with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertwright.bundle import CONFIG, RECIPE
from bertwright.errors import OutputError, RecipeError
from bertwright.files import check_writable, half_written
from bertwright.recipe import Recipe, load_recipe

CHECKPOINT = "checkpoint"
"""The folder, in a run's directory, of what a resumed run starts from; removed once the bundle is whole."""


def saved_recipe(directory: str | os.PathLike[str], file: str = RECIPE) -> Recipe:
    """The recipe of a run that has begun, as it was settled.

    Raises:
        OutputError: there is no run there.
    """
    path = Path(directory) / file
    if not path.exists():
        raise OutputError(f"{directory}: there is no run to resume; start one without --resume.")
    return load_recipe(path)


def check_free(directory: Path, resume: bool) -> None:
    """Refuse a directory that holds something else or cannot be written to; when resuming, one without a run in it."""
    if resume:
        saved_recipe(directory)
    check_writable(directory)
    finished = (directory / CONFIG).exists()
    if resume and finished:
        shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)  # a kill may have come just before it was removed
        raise OutputError(f"{directory}: this run has finished already; there is nothing to resume.")
    if resume:
        return
    if (directory / RECIPE).exists() and not finished:
        raise OutputError(f"{directory}: holds a run that was stopped; add --resume, or remove it or name another.")
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: exists already and is a file; name a new directory with --out.")
    if directory.exists() and any(not half_written(item) for item in directory.iterdir()):
        raise OutputError(f"{directory}: exists already and is not empty; name another place with --out, or remove it.")


def check_same(path: Path, recipe: Recipe) -> None:
    """Refuse to resume a run by another recipe, naming what differs."""
    former = load_recipe(path)
    if former == recipe:
        return
    changes = [
        f"{key} {before!r} → {after!r}"
        for section, settings in recipe.model_dump().items()
        for key, before, after in _differences(section, former.model_dump()[section], settings)
    ]
    raise RecipeError(
        f"{path}: the run was started with other settings ({'; '.join(changes)}); resume it with --resume --out alone."
    )


def _differences(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _differences(f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield name, before, after
