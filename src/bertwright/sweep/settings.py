"""The settings of a search, as saved in ``sweep.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bertwright.config.sections import InvalidSettingError, Section, build
from bertwright.config.yaml_tree import load_yaml
from bertwright.errors import OutputError
from bertwright.recipe import Recipe
from bertwright.run.directory import differences
from bertwright.sweep.ensemble_comparison import EnsembleChoice
from bertwright.sweep.space import to_pairs

SWEEP_FILE = "sweep.yaml"

SearchMethod = Literal["grid", "random", "tpe"]
WeightsToKeep = Literal["best", "all", "none"]


def _to_pairs(space: Any) -> Any:
    return tuple(to_pairs(space)) if isinstance(space, Mapping) else space


class SweepSettings(Section):
    """All settings of a search except the number of parallel trials."""

    recipe: Recipe = Field(default=Recipe(), description="The recipe that all trials share.")
    vary: Annotated[tuple[str, ...], BeforeValidator(_to_pairs)] = Field(
        default=(),
        description="The settings that vary, as key=values; from Python also a mapping such as "
        '{"train.learning_rate": [2e-5, 3e-5], "seed": range(5)}.',
    )
    search: SearchMethod = Field(
        default="grid", description="All combinations, random ones, or those that promise most."
    )
    trials: int | None = Field(default=None, ge=1, description="Number of combinations for random and tpe.")
    folds: int | None = Field(
        default=None, ge=2, description="Number of cross-validation folds; null: use the validation rows."
    )
    keep: WeightsToKeep = Field(default="best", description="Trials whose weights stay on disk.")
    ensemble: EnsembleChoice | None = Field(
        default=None,
        description="Combine the models of all seeds of the best combination: average their predictions, average "
        "their weights (soup), or auto: the soup where it is as good on the validation rows. Null: no ensemble.",
    )
    score_test: bool = Field(
        default=False,
        description="Score trials on the test rows, if there are any, instead of the validation rows; for comparisons "
        "that select no model.",
    )
    refit: bool = Field(default=False, description="Retrain with the best settings on training and validation data.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.search == "grid" and self.trials is not None:
            raise InvalidSettingError(
                "trials", "cannot be combined with a grid, which tries all combinations; remove it"
            )
        if self.search != "grid" and self.trials is None:
            raise InvalidSettingError(
                "trials", f"is missing; set the number of combinations for {self.search}", "search"
            )
        if self.refit and self.keep == "none":
            raise InvalidSettingError(
                "refit", "needs the weights of a model, but keep is none; remove one of them", "keep"
            )
        for name, reason in (
            ("refit", "uses the validation rows, which choose the form of the ensemble, for training"),
            ("folds", "holds out other validation rows in each fold, so that no rows are left to evaluate an ensemble"),
        ):
            if self.ensemble is not None and getattr(self, name):
                raise InvalidSettingError(name, f"{reason}; remove it, or remove --ensemble", "ensemble")
        if self.ensemble is not None and self.keep == "none":
            raise InvalidSettingError("ensemble", "needs the weights of the models, but keep is none", "keep")
        if self.score_test and (self.keep == "best" or self.refit or self.ensemble is not None):
            text = "selects no model; set keep to none or all, and remove refit and ensemble"
            raise InvalidSettingError("score_test", text, "keep")
        return self

    def changes_from(self, former: SweepSettings) -> list[str]:
        """Describe the settings that affect trials and differ from a previous search, with both values."""
        changes = list(differences(former.recipe, self.recipe).values())
        for name in ("vary", "search", "folds", "score_test"):
            before, after = getattr(former, name), getattr(self, name)
            if before != after:
                changes.append(f"{name} {before!r} → {after!r}")
        return changes


def load_sweep_settings(directory: Path) -> SweepSettings:
    """Load the settings of the search in a directory.

    Raises:
        OutputError: there is none.
    """
    path = directory / SWEEP_FILE
    if not path.exists():
        raise OutputError(f"{directory}: contains no sweep to resume; start one without --resume.")
    return build(SweepSettings, load_yaml(path))
