"""The trials of a search: which are to be run, and what came of each. All that is known is on the disk."""

from __future__ import annotations

import logging
import math
import shutil
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bertwright.errors import TrainingError
from bertwright.run.bundle import WEIGHTS
from bertwright.run.checkpoints import KEPT_CHECKPOINTS
from bertwright.sweep.context import SearchContext
from bertwright.sweep.events import SearchProgress, SearchStarted, TrialFinished
from bertwright.sweep.leaderboard import Leaderboard, TrialResult, best_result, rank_results
from bertwright.sweep.optuna_study import Combination, Study
from bertwright.sweep.trial import Event
from bertwright.sweep.trial_pool import TrialPool

logger = logging.getLogger(__name__)


class TrialScheduler:
    """Runs every trial that has not been finished, and keeps the results.

    Args:
        setup: of the search.
        study: chooses the cells.
        pool: runs the trials.
    """

    def __init__(self, setup: SearchContext, study: Study, pool: TrialPool) -> None:
        self.results: dict[int, TrialResult] = {}
        self._setup = setup
        self._study = study
        self._pool = pool
        settings, space = setup.settings, setup.space
        seeds = space.seeds or (settings.recipe.seed,)
        folds = [None] if settings.folds is None else [f"{k}/{settings.folds}" for k in range(1, settings.folds + 1)]
        self._each = [(seed, fold) for seed in seeds for fold in folds]
        self._most = space.at_most(settings.trials) * len(self._each)
        self._open: dict[int, Combination] = {}
        self._waiting: deque[TrialResult] = deque()

    def run(self) -> Leaderboard:
        """Run what is to be run, and give the leaderboard, which then has a winner.

        Raises:
            TrainingError: nothing came of any trial.
        """
        setup, pool, trials = self._setup, self._pool, dict[str, TrialResult]()
        for cell in self._study.asked():
            self._take(cell)
        aim = setup.aim
        setup.tell(SearchStarted(self._most, len(self.results), aim.metric, aim.split, aim.remarks))
        while True:
            while len(pool.running) < setup.parallel and (trial := self._next()):
                trials[trial.name] = trial
                pool.launch(trial.name, partial(setup.recipe, trial.pairs))
            if not pool.running:
                break
            name, outcome = pool.next(self._tell_progress)
            self._note(trials[name], outcome)
        board = self.board()
        if board.winner is None:
            first = min(self.results.values(), key=lambda result: result.number, default=None)
            why = f"the first: {first.error}" if first and first.error else f"{setup.aim.metric} is undefined for all."
            raise TrainingError(f"{setup.directory}: none of {len(self.results)} trials came to a figure; {why}")
        return board

    def board(self) -> Leaderboard:
        """How things stand."""
        return rank_results(list(self.results.values()), self._setup.aim.metric, self._setup.aim.split)

    def _tell_progress(self) -> None:
        self._setup.tell(SearchProgress(len(self.results) + sum(self._pool.running.values())))

    def _next(self) -> TrialResult | None:
        """The next trial to run; a new cell is asked for once all trials of the earlier ones have begun."""
        while not self._waiting:
            cell = self._study.ask()
            if cell is None:
                return None
            self._take(cell)
        return self._waiting.popleft()

    def _take(self, cell: Combination) -> None:
        """Put those trials of a cell in the queue that have not been finished."""
        self._open[cell.number] = cell
        first = cell.number * len(self._each)
        for i, (seed, fold) in enumerate(self._each):
            trial = TrialResult(number=first + i, cell=cell.number, settings=dict(cell.settings), seed=seed, fold=fold)
            result = _saved_result(self._setup.file(trial.name))
            if result is None or result.error:
                self._waiting.append(trial)
            else:
                self.results[trial.number] = result
        self._close(cell.number)

    def _note(self, trial: TrialResult, outcome: Event) -> None:
        """Write down what came of a trial."""
        figures = {**self._figures(outcome), "seconds": outcome["seconds"]}
        result = TrialResult.model_validate(
            {**trial.model_dump(), **figures}
        )  # null, in the trial's JSON, is nan again
        result.save(self._setup.file(trial.name))
        self.results[trial.number] = result
        self._close(trial.cell)
        board = self.board()
        board.save(self._setup.directory)
        self.prune()
        self._setup.tell(TrialFinished(result, board.winner is not None and board.winner.cell == result.cell))

    def _figures(self, outcome: Event) -> dict[str, Any]:
        """What the last event of a trial says, as fields of its result."""
        if outcome["event"] == "stopped":
            return {"error": "it was stopped from outside; --resume goes on with it."}
        if outcome["event"] == "failed":
            return {"error": outcome["error"]}
        metric = self._setup.aim.metric
        split, metrics = next(iter(outcome["metrics"].items()))
        if metric not in metrics:
            return {"error": f"its report has no {metric}; measure it in all trials, or rank by another metric."}
        said = (note.removeprefix(f"{split}: ") for note in outcome["notes"] if note.startswith(f"{split}: "))
        return {"value": metrics[metric], "metrics": metrics, "collapsed": next(said, None)}

    def _close(self, number: int) -> None:
        """Tell the study what a cell came to, once all its trials have ended."""
        results = [self.results.get(number * len(self._each) + i) for i in range(len(self._each))]
        if None not in results:
            values = [result.value for result in results if result is not None and not math.isnan(result.value)]
            self._study.tell(self._open.pop(number), sum(values) / len(values) if values else math.nan)

    def prune(self, done: bool = False) -> None:
        """Remove weights that cannot become the winner's: of cells that are complete but the best, and of the worse
        trials in the others."""
        if self._setup.settings.keep == "all":
            return
        kept: set[int] = set()
        if self._setup.settings.keep == "best" and not done:
            rows = self.board().rows
            complete = [row for row in rows if row.results[0].cell not in self._open]
            open_rows = [row for row in rows if row.results[0].cell in self._open]
            kept = {best_result(row.results, self._setup.aim.metric).number for row in (*complete[:1], *open_rows)}
        for result in self.results.values():
            if result.number not in kept and not result.error:
                place = self._setup.place(result.name)
                (place / WEIGHTS).unlink(missing_ok=True)
                shutil.rmtree(place / KEPT_CHECKPOINTS, ignore_errors=True)


def _saved_result(file: Path) -> TrialResult | None:
    """The result of a trial that has ended; None where there is none, or it is damaged."""
    if not file.exists():
        return None
    try:
        return TrialResult.model_validate_json(file.read_bytes())
    except ValidationError:  # the trial's own report has the same metrics
        logger.warning("%s: is damaged and ignored; the result is read from the trial's report again.", file)
        return None
