"""A search as it is written down: what all trials have in common, what varies, how it is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bertwright.config.sections import InvalidSettingError, Section, build
from bertwright.config.yaml_tree import load_yaml
from bertwright.errors import OutputError
from bertwright.recipe import Recipe
from bertwright.run.directory import differences

SWEEP_FILE = "sweep.yaml"

SearchMethod = Literal["grid", "random", "tpe"]
WeightsToKeep = Literal["best", "all", "none"]


class SweepSettings(Section):
    """Everything that decides a search, but not how many trials run at once."""

    recipe: Recipe = Field(default=Recipe(), description="What all trials have in common.")
    vary: tuple[str, ...] = Field(default=(), description="What varies, as key=values.")
    search: SearchMethod = Field(
        default="grid", description="All combinations, random ones, or those that promise most."
    )
    trials: int | None = Field(default=None, ge=1, description="How many combinations random and tpe try.")
    folds: int | None = Field(default=None, ge=2, description="Folds of cross-validation; null: the dev rows.")
    keep: WeightsToKeep = Field(default="best", description="Whose weights are kept.")
    refit: bool = Field(default=False, description="Train the winner anew, on train and dev.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.search == "grid" and self.trials is not None:
            raise InvalidSettingError(
                "trials", "has no place beside a grid, which tries all combinations; leave it out"
            )
        if self.search != "grid" and self.trials is None:
            raise InvalidSettingError(
                "trials", f"is missing; say how many combinations {self.search} is to try", "search"
            )
        if self.refit and self.keep == "none":
            raise InvalidSettingError("refit", "makes a model, but keep is none; leave one of them out", "keep")
        return self

    def changes_from(self, former: SweepSettings) -> list[str]:
        """The settings that decide the trials and differ from a former search, each with both values."""
        changes = list(differences(former.recipe, self.recipe).values())
        for name in ("vary", "search", "folds"):
            before, after = getattr(former, name), getattr(self, name)
            if before != after:
                changes.append(f"{name} {before!r} → {after!r}")
        return changes


def load_sweep_settings(directory: Path) -> SweepSettings:
    """The search that was begun in a directory.

    Raises:
        OutputError: there is none.
    """
    path = directory / SWEEP_FILE
    if not path.exists():
        raise OutputError(f"{directory}: there is no sweep to resume; start one without --resume.")
    return build(SweepSettings, load_yaml(path))
