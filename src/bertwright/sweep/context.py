"""What all parts of a search know."""

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
    """What trials are ranked by, whether there are rows to test the winner on, and how the rows were read."""

    metric: str
    split: str
    tested: bool
    remarks: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class SearchContext:
    """A search that has been checked.

    Attributes:
        directory: of the search.
        settings: what decides it.
        space: what varies.
        aim: what trials are ranked by.
        parallel: how many run at once.
        tell: called with every event of :mod:`bertwright.sweep.events`.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
    """

    directory: Path
    settings: SweepSettings
    space: SearchSpace
    aim: SelectionCriterion
    parallel: int
    tell: Listener
    allow_code: bool = False

    def place(self, name: str) -> Path:
        """The directory of a trial."""
        return self.directory / TRIALS / name

    def file(self, name: str) -> Path:
        """Where the result of a trial is written down."""
        return self.directory / TRIALS / f"{name}.json"

    def recipe(self, pairs: list[str], parallel: int | None = None) -> Recipe:
        """The recipe of one trial, with its share of the CPU's threads.

        Raises:
            RecipeError: the pairs do not fit it.
        """
        recipe, parallel = override_recipe(self.settings.recipe, pairs), parallel or self.parallel
        # trials of a search have the same length, so none is extended
        recipe = recipe.replace(train=recipe.train.replace(keep_state=False))
        if parallel > 1 and recipe.train.threads is None:
            threads = max(1, default_threads()[0] // parallel)
            recipe = recipe.replace(train=recipe.train.replace(threads=threads))
        return recipe
