"""The schedule of a search: which trials to run, and their results. All state is on disk."""

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
from bertwright.output.plurals import pluralize
from bertwright.run.bundle import WEIGHTS
from bertwright.run.checkpoints import KEPT_CHECKPOINTS
from bertwright.run.restart import FIRST_ATTEMPT_COLLAPSED
from bertwright.sweep.context import SearchContext
from bertwright.sweep.events import SearchProgress, SearchStarted, TrialFinished
from bertwright.sweep.leaderboard import Leaderboard, TrialResult, best_result, rank_results
from bertwright.sweep.optuna_study import Combination, Study
from bertwright.sweep.trial import Event
from bertwright.sweep.trial_pool import TrialPool

logger = logging.getLogger(__name__)


class TrialScheduler:
    """Runs every unfinished trial and stores the results.

    Args:
        context: the search.
        study: selects the combinations.
        pool: runs the trials.
    """

    def __init__(self, context: SearchContext, study: Study, pool: TrialPool) -> None:
        self.results: dict[int, TrialResult] = {}
        self._context = context
        self._study = study
        self._pool = pool
        settings, space = context.settings, context.space
        seeds = space.seeds or (settings.recipe.seed,)
        folds = [None] if settings.folds is None else [f"{k}/{settings.folds}" for k in range(1, settings.folds + 1)]
        self._each = [(seed, fold) for seed in seeds for fold in folds]
        self._most = space.at_most(settings.trials) * len(self._each)
        self._open: dict[int, Combination] = {}
        self._waiting: deque[TrialResult] = deque()

    def run(self) -> Leaderboard:
        """Run all remaining trials and return the leaderboard, which has a winner.

        Raises:
            TrainingError: all trials failed.
        """
        context, pool, trials = self._context, self._pool, dict[str, TrialResult]()
        for cell in self._study.asked():
            self._take(cell)
        criterion = context.criterion
        context.emit(SearchStarted(self._most, len(self.results), criterion.metric, criterion.split, criterion.remarks))
        while True:
            while len(pool.running) < context.parallel and (trial := self._next()):
                trials[trial.name] = trial
                pool.launch(trial.name, partial(context.trial_recipe, trial.pairs))
            if not pool.running:
                break
            name, outcome = pool.next(self._tell_progress)
            self._record(trials[name], outcome)
        board = self.board()
        if board.winner is None:
            first = min(self.results.values(), key=lambda result: result.number, default=None)
            why = (
                f"the first: {first.error}"
                if first and first.error
                else f"{context.criterion.metric} is undefined for all."
            )
            raise TrainingError(
                f"{context.directory}: no trial has a result ({pluralize(len(self.results), 'trial')}); {why}"
            )
        return board

    def board(self) -> Leaderboard:
        """Return the current leaderboard."""
        return rank_results(list(self.results.values()), self._context.criterion.metric, self._context.criterion.split)

    def _tell_progress(self) -> None:
        self._context.emit(SearchProgress(len(self.results) + sum(self._pool.running.values())))

    def _next(self) -> TrialResult | None:
        """Return the next trial; a new combination is selected after all trials of the previous ones have started."""
        while not self._waiting:
            cell = self._study.ask()
            if cell is None:
                return None
            self._take(cell)
        return self._waiting.popleft()

    def _take(self, cell: Combination) -> None:
        """Enqueue the unfinished trials of a combination."""
        self._open[cell.number] = cell
        first = cell.number * len(self._each)
        for i, (seed, fold) in enumerate(self._each):
            trial = TrialResult(number=first + i, cell=cell.number, settings=dict(cell.settings), seed=seed, fold=fold)
            result = _load_result(self._context.result_file(trial.name))
            if result is None or result.error:
                self._waiting.append(trial)
            else:
                self.results[trial.number] = result
        self._close(cell.number)

    def _record(self, trial: TrialResult, outcome: Event) -> None:
        """Save the result of a trial."""
        figures = {**self._figures(outcome), "seconds": outcome["seconds"]}
        result = TrialResult.model_validate({**trial.model_dump(), **figures})  # null becomes nan
        result.save(self._context.result_file(trial.name))
        self.results[trial.number] = result
        self._close(trial.cell)
        board = self.board()
        board.save(self._context.directory)
        self.prune()
        self._context.emit(TrialFinished(result, board.winner is not None and board.winner.cell == result.cell))

    def _figures(self, outcome: Event) -> dict[str, Any]:
        """Convert the last event of a trial to fields of its result."""
        if outcome["event"] == "stopped":
            return {"error": "the process was stopped; continue with --resume."}
        if outcome["event"] == "failed":
            return {"error": outcome["error"]}
        metric, split = self._context.criterion.metric, self._context.criterion.split
        metrics = outcome["metrics"].get(split, {})
        if metric not in metrics:
            return {
                "error": f"its report has no {metric}; add it to task.metrics in all trials, or rank by another metric."
            }
        said = (note.removeprefix(f"{split}: ") for note in outcome["notes"] if note.startswith(f"{split}: "))
        restarted = any(note.startswith(FIRST_ATTEMPT_COLLAPSED) for note in outcome["notes"])
        return {
            "value": metrics[metric],
            "metrics": metrics,
            "collapsed": next(said, None),
            "restarted": restarted,
        }

    def _close(self, number: int) -> None:
        """Report the mean of a combination to the study when all its trials have ended."""
        results = [self.results.get(number * len(self._each) + i) for i in range(len(self._each))]
        if None not in results:
            values = [result.value for result in results if result is not None and not math.isnan(result.value)]
            self._study.tell(self._open.pop(number), sum(values) / len(values) if values else math.nan)

    def prune(self, done: bool = False) -> None:
        """Remove weights that cannot become the best.

        These are the weights of complete combinations except the best one, and of the worse trials in the others,
        unless they become members of an ensemble.
        """
        settings = self._context.settings
        if settings.keep == "all":
            return
        numbers_to_keep: set[int] = set()
        if settings.keep == "best" and not done:
            rows = self.board().rows
            complete = [row for row in rows if row.results[0].cell not in self._open]
            open_rows = [row for row in rows if row.results[0].cell in self._open]
            candidates = (*complete[:1], *open_rows)
            if settings.ensemble is None:
                metric = self._context.criterion.metric
                numbers_to_keep = {best_result(row.results, metric).number for row in candidates}
            else:
                numbers_to_keep = {result.number for row in candidates for result in row.results}
        for result in self.results.values():
            if result.number not in numbers_to_keep and not result.error:
                place = self._context.trial_directory(result.name)
                (place / WEIGHTS).unlink(missing_ok=True)
                shutil.rmtree(place / KEPT_CHECKPOINTS, ignore_errors=True)


def _load_result(file: Path) -> TrialResult | None:
    """Return the saved result of a trial; None if it is missing or damaged."""
    if not file.exists():
        return None
    try:
        return TrialResult.model_validate_json(file.read_bytes())
    except ValidationError:  # the trial's own report has the same metrics
        logger.warning("%s: is damaged; the result is read from the report of the trial.", file)
        return None
