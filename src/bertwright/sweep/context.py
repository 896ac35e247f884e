"""The checked settings that all parts of a search share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.cores import default_threads
from bertwright.recipe import Recipe
from bertwright.sweep.settings import SweepSettings
from bertwright.sweep.space import SearchSpace, override_recipe

TRIALS = "trials"

Listener = Callable[[Any], None]


@dataclass(frozen=True)
class SelectionCriterion:
    """The metric and split that rank trials, whether there is a test split, and how the data was read."""

    metric: str
    split: str
    tested: bool
    remarks: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class SearchContext:
    """A checked search.

    Attributes:
        directory: the directory of the search.
        settings: its settings.
        space: the search space.
        criterion: the ranking criterion.
        parallel: the number of trials that run at once.
        emit: receives every event of :mod:`bertwright.sweep.events`.
        allow_code: whether a custom head ``module:name`` may be imported and called.
    """

    directory: Path
    settings: SweepSettings
    space: SearchSpace
    criterion: SelectionCriterion
    parallel: int
    emit: Listener
    allow_code: bool = False

    def trial_directory(self, name: str) -> Path:
        """Return the directory of a trial."""
        return self.directory / TRIALS / name

    def result_file(self, name: str) -> Path:
        """Return the result file of a trial."""
        return self.directory / TRIALS / f"{name}.json"

    def trial_recipe(self, pairs: list[str], parallel: int | None = None) -> Recipe:
        """Return the recipe of a trial, with its share of the CPU threads.

        Raises:
            RecipeError: the settings are invalid.
        """
        recipe, parallel = override_recipe(self.settings.recipe, pairs), parallel or self.parallel
        # trials of a search have the same length, so none is extended; they serve to compare scores on validation rows
        train = recipe.train.replace(keep_state=False, refit=False)
        recipe = recipe.replace(train=train)
        if parallel > 1 and recipe.train.threads is None:
            threads = max(1, default_threads()[0] // parallel)
            recipe = recipe.replace(train=recipe.train.replace(threads=threads))
        return recipe
