"""The best model of a search, in ``best``."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from bertwright.errors import TrainingError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.recipe import Recipe
from bertwright.run.bundle import CONFIG, WEIGHTS, Bundle
from bertwright.run.checkpoints import KEPT_CHECKPOINTS
from bertwright.run.html_report import HTML_REPORT
from bertwright.run.refit import make_refit_recipe
from bertwright.run.report import Report, Values
from bertwright.run.splits import load_splits
from bertwright.sweep.context import SearchContext
from bertwright.sweep.events import WinnerProgress
from bertwright.sweep.leaderboard import Leaderboard
from bertwright.sweep.trial_pool import TrialPool
from bertwright.training.compute import choose_compute, set_threads
from bertwright.training.process_state import preserve_threads

BEST_DIRECTORY, WINNER_FILE = "best", "winner.json"


class WinnerRecord(BaseModel):
    """``winner.json``: the trial in ``best``, and its metrics on the test rows."""

    trial: int
    refitted: bool
    test: Values


@preserve_threads()
def publish_winner(context: SearchContext, pool: TrialPool, board: Leaderboard) -> Leaderboard:
    """Save the best trial as ``best``, or retrain it on training and validation data.

    The test rows are evaluated only now, because selecting by them would bias the test metrics.

    Returns:
        The leaderboard with the test metrics.

    Raises:
        BertwrightError: the model cannot be trained, read or written.
    """
    winner, refit = board.winner, context.settings.refit
    if winner is None or context.settings.keep == "none" or context.settings.score_test:
        return board
    board = replace(board, refitted=refit)
    best = context.directory / BEST_DIRECTORY
    with suppress(OSError, ValueError):
        former = WinnerRecord.model_validate_json((best / WINNER_FILE).read_bytes())
        if (former.trial, former.refitted) == (winner.number, refit):
            return replace(board, test=former.test)  # finished before an interruption
    recipe = context.trial_recipe(winner.pairs, parallel=1)
    note = f"chosen by {board.metric} on {board.split} out of {len(board.rows):,} combinations of settings"
    if refit:
        note += ", then retrained on training and validation data: its validation metrics are not meaningful"
        recipe = make_refit_recipe(recipe)
    place = train_if_needed(context, pool, f"refit-{winner.name}" if refit else winner.name, recipe)
    compute = choose_compute(recipe.train.device, "fp32", recipe.train.threads)
    set_threads(compute)
    bundle = Bundle.load(place, compute=compute, allow_code=context.allow_code)
    report = bundle.report or Report()
    report = report.model_copy(
        update={"name": context.directory.resolve().name, "notes": [*report.notes, f"{note}."]},
    )
    tests = load_splits(recipe.data, recipe.task.target_spec).test if context.criterion.tested else {}
    for split, rows in tests.items():
        context.emit(WinnerProgress(f"evaluating the best model on {split}"))
        report = report.with_evaluation(split, bundle.evaluate(rows))
    replace(bundle, report=report).save(best)
    if (page := place / HTML_REPORT).exists():
        shutil.copyfile(page, best / HTML_REPORT)
    test = {split: report.metrics[split] for split in tests}
    written = WinnerRecord(trial=winner.number, refitted=refit, test=test)
    write_atomically(best / WINNER_FILE, to_json(written.model_dump()) + "\n")
    if context.settings.keep != "all":
        (place / WEIGHTS).unlink()
        if (place / KEPT_CHECKPOINTS).exists():
            shutil.move(place / KEPT_CHECKPOINTS, best / KEPT_CHECKPOINTS)
    return replace(board, test=test)


def train_if_needed(context: SearchContext, pool: TrialPool, name: str, recipe: Recipe) -> Path:
    """Return the directory of a run with its weights; train it if it is missing or its weights were removed."""
    place = context.trial_directory(name)
    if (place / WEIGHTS).exists() and (place / CONFIG).exists():
        return place
    if (place / CONFIG).exists():
        shutil.rmtree(place)
    context.emit(WinnerProgress(f"training {name} with the best settings"))
    pool.launch(name, lambda: recipe)
    _, outcome = pool.next()
    if outcome["event"] != "done":
        raise TrainingError(f"{place}: {outcome.get('error', 'the process was stopped; continue with --resume.')}")
    return place
