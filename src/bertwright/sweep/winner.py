"""Making the winner of a search ready to be used."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.bundle import CONFIG, WEIGHTS, Bundle
from bertwright.errors import TrainingError
from bertwright.files import write_atomically
from bertwright.recipe import Recipe
from bertwright.report import Report
from bertwright.snapshots import SNAPSHOTS
from bertwright.sweep.events import Crowning
from bertwright.sweep.leaderboard import Leaderboard, plain
from bertwright.sweep.pool import Pool
from bertwright.sweep.setup import Setup
from bertwright.text.splits import load_splits
from bertwright.train.machine import choose

BEST, WINNER = "best", "winner.json"


def crown(setup: Setup, pool: Pool, board: Leaderboard) -> Leaderboard:
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
    best = setup.directory / BEST
    written = {"trial": winner.number, "refitted": refit}
    with suppress(OSError, ValueError):
        former: dict[str, Any] = json.loads((best / WINNER).read_text(encoding="utf-8"))
        if written.items() <= former.items():
            return replace(board, test=former["test"])  # it was made ready before a stop
    recipe = setup.recipe(winner.pairs, parallel=1)
    note = f"chosen by {board.metric} on {board.split} out of {len(board.rows):,} combinations of settings"
    if refit:
        note += ", then trained anew on train and dev: its figures on dev mean nothing"
        # nothing is left to choose the best epoch by, so the weights after the last one are kept
        train = recipe.train.replace(evaluate_every=recipe.train.length, patience=None)
        recipe = recipe.replace(train=train, data=recipe.data.replace(fold=None, train_on_dev=True))
    place = _trained(setup, pool, f"refit-{winner.name}" if refit else winner.name, recipe)
    device = choose(recipe.train.device, "fp32", recipe.train.threads).device
    bundle = Bundle.load(place, str(device))
    report = bundle.report or Report()
    report = report.model_copy(
        update={"name": setup.directory.resolve().name, "notes": [*report.notes, f"{note}."]},
    )
    tests = load_splits(recipe.data, recipe.task.outcome_kind).test if setup.aim.tested else {}
    for split, rows in tests.items():
        setup.tell(Crowning(f"measuring the winner on {split}"))
        report = report.with_measured(split, bundle.evaluate(rows))
    replace(bundle, report=report).save(best)
    test = {split: report.metrics[split] for split in tests}
    write_atomically(best / WINNER, json.dumps({**written, "test": plain(test)}) + "\n")
    if setup.settings.keep != "all":
        (place / WEIGHTS).unlink()
        if (place / SNAPSHOTS).exists():
            shutil.move(place / SNAPSHOTS, best / SNAPSHOTS)
    return replace(board, test=test)


def _trained(setup: Setup, pool: Pool, name: str, recipe: Recipe) -> Path:
    """The directory of a run with its weights: as it is, or made, or made again where they have been removed."""
    place = setup.place(name)
    if (place / WEIGHTS).exists() and (place / CONFIG).exists():
        return place
    if (place / CONFIG).exists():
        shutil.rmtree(place)
    setup.tell(Crowning(f"training {name} with the winner's settings"))
    pool.launch(name, lambda: recipe)
    _, outcome = pool.next()
    if outcome["event"] != "done":
        raise TrainingError(
            f"{place}: {outcome.get('error', 'it was stopped from outside; --resume goes on with it.')}"
        )
    return place
