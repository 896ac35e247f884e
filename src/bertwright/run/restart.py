"""Restarting a collapsed run once, from the base weights and with another random seed.

Whether fine-tuning collapses depends on the seed (Mosbach et al. 2020, arXiv 2006.04884), so a second attempt usually
succeeds. ``checkpoint/restart.json`` records it; a resumed run continues the attempt that was interrupted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from bertwright.errors import TrainingError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.output.plurals import pluralize
from bertwright.recipe import Recipe
from bertwright.run.checkpoints import KEPT_CHECKPOINTS
from bertwright.run.directory import CHECKPOINT, STATE
from bertwright.run.fitting import FittedRun, RunDirectory

_FILE = "restart.json"

FIRST_ATTEMPT_COLLAPSED = "the predictions of the first attempt collapsed"
"""How the note of a restarted run begins."""


class Restart(BaseModel):
    """The second attempt of a run.

    Attributes:
        seed: of its weights, order and dropout.
        reason: why the first attempt was given up, for the report.
    """

    seed: int
    reason: str


def read_restart(directory: Path) -> Restart | None:
    """Read whether the run in a directory has been restarted.

    Raises:
        TrainingError: the file is damaged.
    """
    file = directory / CHECKPOINT / _FILE
    if not file.exists():
        return None
    try:
        return Restart.model_validate_json(file.read_bytes())
    except (ValidationError, UnicodeDecodeError) as error:
        raise TrainingError(f"{file}: is damaged; start a new run.") from error


def restart_if_collapsed(fitted: FittedRun, directory: RunDirectory) -> Restart | None:
    """Discard the state of a run whose best weights have collapsed, and record its restart.

    Returns:
        The second attempt; None if the run has not collapsed, is the second attempt, or should not be restarted.

    Raises:
        OutputError: the directory cannot be written to.
    """
    recipe, history = fitted.run.recipe, fitted.history
    if not (recipe.train.restart_if_collapsed and history.has_collapsed) or read_restart(directory.path) is not None:
        return None
    reason = (
        f"{FIRST_ATTEMPT_COLLAPSED} (best evaluation at step {history.best['step']:,}), so the run was restarted from "
        "the base weights with another random seed (train.restart_if_collapsed)"
    )
    restart = Restart(seed=_draw_seed(recipe), reason=reason)
    directory.check_in_place()
    # killed before the file is written, the run starts again with the first attempt
    for path in (directory.path / CHECKPOINT / STATE, directory.best):
        path.unlink(missing_ok=True)
    shutil.rmtree(directory.path / KEPT_CHECKPOINTS, ignore_errors=True)
    write_atomically(directory.checkpoint / _FILE, to_json(restart.model_dump()) + "\n")
    return restart


def describe_restart(restart: Restart, fitted: FittedRun) -> str:
    """The warning at the restart."""
    steps = pluralize(fitted.run.plan.steps, "step")
    return f"{restart.reason}; it trains {steps} again"


def _draw_seed(recipe: Recipe) -> int:
    return int(np.random.SeedSequence([recipe.seed, 1]).generate_state(1)[0])
