"""Making the winner of a search ready to be used."""

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
    """``winner.json``: which trial ``best`` holds, and its metrics on the test rows."""

    trial: int
    refitted: bool
    test: Values


@preserve_threads()
def publish_winner(setup: SearchContext, pool: TrialPool, board: Leaderboard) -> Leaderboard:
    """Make the winner's bundle ``best``: as it was trained, or trained anew on train and dev with its settings.

    Only now are there figures on the test rows: what is chosen by them would no longer be a test.

    Returns:
        The leaderboard with those figures.

    Raises:
        BertwrightError: the bundle cannot be made, read or written.
    """
    winner, refit = board.winner, setup.settings.refit
    if winner is None or setup.settings.keep == "none":
        return board
    board = replace(board, refitted=refit)
    best = setup.directory / BEST_DIRECTORY
    with suppress(OSError, ValueError):
        former = WinnerRecord.model_validate_json((best / WINNER_FILE).read_bytes())
        if (former.trial, former.refitted) == (winner.number, refit):
            return replace(board, test=former.test)  # it was made ready before a stop
    recipe = setup.recipe(winner.pairs, parallel=1)
    note = f"chosen by {board.metric} on {board.split} out of {len(board.rows):,} combinations of settings"
    if refit:
        note += ", then trained anew on train and dev: its figures on dev mean nothing"
        # nothing is left to choose the best epoch by, so the weights after the last one are kept
        train = recipe.train.replace(evaluate_every=recipe.train.length, patience=None)
        recipe = recipe.replace(train=train, data=recipe.data.replace(fold=None, train_on_dev=True))
    place = _trained(setup, pool, f"refit-{winner.name}" if refit else winner.name, recipe)
    compute = choose_compute(recipe.train.device, "fp32", recipe.train.threads)
    set_threads(compute)
    bundle = Bundle.load(place, compute=compute, allow_code=setup.allow_code)
    report = bundle.report or Report()
    report = report.model_copy(
        update={"name": setup.directory.resolve().name, "notes": [*report.notes, f"{note}."]},
    )
    tests = load_splits(recipe.data, recipe.task.target_spec).test if setup.aim.tested else {}
    for split, rows in tests.items():
        setup.tell(WinnerProgress(f"measuring the winner on {split}"))
        report = report.with_evaluation(split, bundle.evaluate(rows))
    replace(bundle, report=report).save(best)
    test = {split: report.metrics[split] for split in tests}
    written = WinnerRecord(trial=winner.number, refitted=refit, test=test)
    write_atomically(best / WINNER_FILE, to_json(written.model_dump()) + "\n")
    if setup.settings.keep != "all":
        (place / WEIGHTS).unlink()
        if (place / KEPT_CHECKPOINTS).exists():
            shutil.move(place / KEPT_CHECKPOINTS, best / KEPT_CHECKPOINTS)
    return replace(board, test=test)


def _trained(setup: SearchContext, pool: TrialPool, name: str, recipe: Recipe) -> Path:
    """The directory of a run with its weights: as it is, or made, or made again where they have been removed."""
    place = setup.place(name)
    if (place / WEIGHTS).exists() and (place / CONFIG).exists():
        return place
    if (place / CONFIG).exists():
        shutil.rmtree(place)
    setup.tell(WinnerProgress(f"training {name} with the winner's settings"))
    pool.launch(name, lambda: recipe)
    _, outcome = pool.next()
    if outcome["event"] != "done":
        raise TrainingError(
            f"{place}: {outcome.get('error', 'it was stopped from outside; --resume goes on with it.')}"
        )
    return place
