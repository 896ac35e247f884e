"""Finding good settings as the BERT paper does: train on train with each combination, choose on dev, test once."""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bertwright.bundle import WEIGHTS, Bundle
from bertwright.config import dump
from bertwright.errors import OutputError, RecipeError, TrainingError
from bertwright.files import check_unlocked, check_writable, half_written, sole_writer, write_atomically
from bertwright.metrics import METRICS
from bertwright.recipe import Recipe
from bertwright.report import Report
from bertwright.settle import open_base, settle
from bertwright.sweep.children import Children, Runner
from bertwright.sweep.leaderboard import Leaderboard, Result, best_of, plain, rank
from bertwright.sweep.settings import FILE, Keep, Method, SweepSettings, saved_sweep
from bertwright.sweep.space import Space, as_pairs, overlay, pairs_of, read_space
from bertwright.sweep.study import Cell, Study, open_study
from bertwright.sweep.trial import TELL_SECONDS, Event, Job
from bertwright.text.splits import load_splits
from bertwright.train.machine import choose

TRIALS, BEST, WINNER = "trials", "best", "winner.json"

Listener = Callable[[Any], None]


@dataclass(frozen=True)
class Begun:
    """The search begins, or goes on.

    Attributes:
        trials: how many there are at most.
        done: how many of them were finished before.
        metric: the settings are ranked by, of which split.
    """

    trials: int
    done: int
    metric: str
    split: str


@dataclass(frozen=True)
class Advanced:
    """Trials are so far: ``done`` of all, in trials and fractions of those that run."""

    done: float


@dataclass(frozen=True)
class Tried:
    """A trial has ended.

    Attributes:
        result: what came of it.
        best: whether its combination leads now.
    """

    result: Result
    best: bool


@dataclass(frozen=True)
class Crowning:
    """All trials have ended; the winner is made ready, in words."""

    text: str


def search(
    recipe: Recipe,
    space: Mapping[str, Any] | Iterable[str],
    out: str | os.PathLike[str],
    *,
    method: Method = "grid",
    trials: int | None = None,
    folds: int | None = None,
    keep: Keep = "best",
    refit: bool = False,
    parallel: int = 1,
    resume: bool = False,
    listeners: Iterable[Listener] = (),
) -> Leaderboard:
    """Try settings, choose the best on dev, and keep its bundle as ``out/best``.

    Args:
        recipe: what all trials have in common.
        space: what varies: ``{"train.learning_rate": [2e-5, 3e-5], "seed": range(5)}``, or pairs as on the command
            line. Every combination of settings is trained with every seed.
        out: the directory of the search; made if need be.
        method: ``grid`` tries all combinations, ``random`` and ``tpe`` so many as ``trials`` says.
        trials: combinations to try.
        folds: cross-validation with so many folds of the training rows, in place of the dev rows.
        keep: whose weights are kept: of the ``best`` trial, of ``all``, or of ``none``.
        refit: ``out/best`` is trained anew on train and dev with the winner's settings.
        parallel: trials that run at once, each in a process with its share of the CPU's threads.
        resume: go on with the search in ``out``; what is finished is not run again, what failed is.
        listeners: called with :class:`Begun`, :class:`Advanced`, :class:`Tried` and :class:`Crowning`.

    Raises:
        BertwrightError: whatever is wrong, in one sentence; a broken trial is not, unless all are.
        KeyboardInterrupt: Ctrl-C; running trials have saved their state, and ``resume`` goes on.
    """
    settings = SweepSettings(
        recipe=recipe,
        vary=tuple(pairs_of(space)),
        search=method,
        trials=trials,
        folds=folds,
        keep=keep,
        refit=refit,
    )
    return sweep(settings, out, parallel=parallel, resume=resume, listeners=listeners)


def sweep(
    settings: SweepSettings,
    out: str | os.PathLike[str],
    *,
    parallel: int = 1,
    resume: bool = False,
    listeners: Iterable[Listener] = (),
    runner: Runner | None = None,
) -> Leaderboard:
    """:func:`search` by settings that are one value; ``runner`` says how trials are run, by default as processes.

    Raises:
        BertwrightError, KeyboardInterrupt: as :func:`search` says.
    """
    directory = Path(out)
    space = read_space(settings.vary)
    _check_settings(settings, space)
    check_unlocked(directory)
    _check_free(directory, settings, resume)
    aim = _aim(settings, space)
    with sole_writer(directory):
        _check_free(directory, settings, resume)
        write_atomically(directory / FILE, dump(settings))
        (directory / TRIALS).mkdir(exist_ok=True)
        higher = METRICS[aim.metric].higher_is_better
        seed = settings.recipe.seed
        with open_study(directory, space, settings.search, settings.trials, higher, seed) as study:
            run = _Sweep(directory, settings, space, aim, study, runner or Children(), parallel, tuple(listeners))
            return run.run()


@dataclass(frozen=True)
class _Aim:
    """What trials are ranked by, and whether there are rows to test the winner on."""

    metric: str
    split: str
    tested: bool


@dataclass(frozen=True)
class _Trial:
    """One training: a cell with a seed and a fold."""

    number: int
    cell: Cell
    seed: int
    fold: str | None

    @property
    def name(self) -> str:
        """As its directory is called."""
        return f"{self.number:04d}"

    @property
    def pairs(self) -> list[str]:
        """What is laid over the recipe."""
        fold = [f"data.fold={self.fold}"] if self.fold else []
        return [*as_pairs(self.cell.settings), f"seed={self.seed}", *fold]

    def result(self, **values: Any) -> Result:
        """What came of it."""
        settings = dict(self.cell.settings)
        return Result(
            number=self.number, cell=self.cell.number, settings=settings, seed=self.seed, fold=self.fold, **values
        )


class _Sweep:
    """The part of a search that a stop may cut in two: all it knows is on the disk."""

    def __init__(
        self,
        directory: Path,
        settings: SweepSettings,
        space: Space,
        aim: _Aim,
        study: Study,
        runner: Runner,
        parallel: int,
        listeners: tuple[Listener, ...],
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.aim = aim
        self.study = study
        self.runner = runner
        self.parallel = parallel
        self.listeners = listeners
        self.seeds = space.seeds or (settings.recipe.seed,)
        self.folds: tuple[str | None, ...] = (None,)
        if settings.folds is not None:
            self.folds = tuple(f"{k}/{settings.folds}" for k in range(1, settings.folds + 1))
        cells = settings.trials or (len(space.grid()) if settings.search == "grid" else 0)
        self.most = cells * self.trials_per_cell
        self.results: dict[int, Result] = {}
        self.open: dict[int, Cell] = {}
        self.waiting: deque[_Trial] = deque()
        self.running: dict[str, float] = {}
        self.ended: queue.SimpleQueue[tuple[str, Event | BaseException]] = queue.SimpleQueue()

    @property
    def trials_per_cell(self) -> int:
        """Seeds times folds."""
        return len(self.seeds) * len(self.folds)

    def run(self) -> Leaderboard:
        """Run what has not been run, and make the winner ready."""
        for cell in self.study.asked():
            self._take(cell)
        self._tell(Begun(self.most, len(self.results), self.aim.metric, self.aim.split))
        try:
            self._run_all()
            return self._finished(self.board())
        except BaseException:
            self.runner.stop()
            while self.running:  # their states are being saved
                with suppress(Exception):
                    self._await()
            raise

    def board(self) -> Leaderboard:
        """How things stand."""
        return rank(list(self.results.values()), self.aim.metric, self.aim.split)

    def _run_all(self) -> None:
        trials: dict[str, _Trial] = {}
        while True:
            while len(self.running) < self.parallel and (trial := self._next()):
                trials[trial.name] = trial
                self._launch(trial.name, partial(self._recipe, trial.pairs))
            if not self.running:
                return
            name, outcome = self._await()
            self._note(trials[name], outcome)

    def _finished(self, board: Leaderboard) -> Leaderboard:
        """The leaderboard, once the winner's bundle is where it belongs.

        Raises:
            TrainingError: there is no winner.
        """
        if board.winner is None:
            first = min(self.results.values(), key=lambda result: result.number, default=None)
            why = f"the first: {first.error}" if first and first.error else f"{self.aim.metric} is undefined for all."
            raise TrainingError(f"{self.directory}: none of {len(self.results)} trials came to a figure; {why}")
        board = self._crown(board, board.winner)
        board.save(self.directory)
        self._prune(done=True)
        board.draw(self.directory)
        return board

    def _next(self) -> _Trial | None:
        """The next trial to run; a new cell is asked for once all trials of the earlier ones have begun."""
        while not self.waiting:
            cell = self.study.ask()
            if cell is None:
                return None
            self._take(cell)
        return self.waiting.popleft()

    def _take(self, cell: Cell) -> None:
        """Put those trials of a cell in the queue that have not been finished."""
        self.open[cell.number] = cell
        first = cell.number * self.trials_per_cell
        for i, (seed, fold) in enumerate((seed, fold) for seed in self.seeds for fold in self.folds):
            trial = _Trial(first + i, cell, seed, fold)
            file = self._file(trial.name)
            result = Result.model_validate_json(file.read_bytes()) if file.exists() else None
            if result is None or result.error:
                self.waiting.append(trial)
            else:
                self.results[trial.number] = result
        self._close(cell)

    def _launch(self, name: str, recipe: Callable[[], Recipe]) -> None:
        """Begin a run, or go on with it, in a thread that reports its end, whatever that is."""
        self.running[name] = 0.0

        def tell(event: Event) -> None:
            self.running[name] = event["step"] / max(event["steps"], 1)

        def work() -> None:
            began = time.monotonic()
            outcome: Event | BaseException
            try:
                outcome = self.runner.run(Job(str(self._place(name)), recipe().to_yaml()), tell)
                outcome = {**outcome, "seconds": time.monotonic() - began}
            except RecipeError as error:  # a range's inside is wrong though its ends are right
                outcome = {"event": "failed", "error": str(error), "seconds": 0.0}
            except BaseException as error:  # it is raised again where the search runs
                outcome = error
            self.ended.put((name, outcome))

        threading.Thread(target=work, daemon=True).start()

    def _recipe(self, pairs: list[str], parallel: int | None = None) -> Recipe:
        recipe, parallel = overlay(self.settings.recipe, pairs), parallel or self.parallel
        if parallel > 1 and recipe.train.threads is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            recipe = recipe.replace(train=recipe.train.replace(threads=max(1, cores // parallel)))
        return recipe

    def _await(self) -> tuple[str, Event]:
        """The next run to end; meanwhile listeners are told how far things are."""
        while True:
            try:
                name, outcome = self.ended.get(timeout=TELL_SECONDS)
            except queue.Empty:
                self._tell(Advanced(len(self.results) + sum(self.running.values())))
                continue
            del self.running[name]
            if isinstance(outcome, BaseException):
                raise outcome
            return name, outcome

    def _note(self, trial: _Trial, outcome: Event) -> None:
        """Write down what came of a trial."""
        result = self._result(trial, outcome)
        result.save(self._file(trial.name))
        self.results[trial.number] = result
        self._close(trial.cell)
        board = self.board()
        board.save(self.directory)
        self._prune()
        self._tell(Tried(result, board.winner is not None and board.winner.cell == result.cell))

    def _result(self, trial: _Trial, outcome: Event) -> Result:
        seconds = outcome["seconds"]
        if outcome["event"] == "stopped":
            return trial.result(error="it was stopped from outside; --resume goes on with it.", seconds=seconds)
        if outcome["event"] == "failed":
            return trial.result(error=outcome["error"], seconds=seconds)
        split, metrics = next(iter(outcome["metrics"].items()))
        if self.aim.metric not in metrics:
            error = f"its report has no {self.aim.metric}; measure it in all trials, or rank by another metric."
            return trial.result(error=error, metrics=metrics, seconds=seconds)
        said = (note.removeprefix(f"{split}: ") for note in outcome["notes"] if note.startswith(f"{split}: "))
        return trial.result(
            value=metrics[self.aim.metric], metrics=metrics, collapsed=next(said, None), seconds=seconds
        )

    def _close(self, cell: Cell) -> None:
        """Tell the study what a cell came to, once all its trials have ended."""
        first = cell.number * self.trials_per_cell
        numbers = range(first, first + self.trials_per_cell)
        if all(number in self.results for number in numbers):
            values = [self.results[number].value for number in numbers]
            known = [value for value in values if not math.isnan(value)]
            self.study.tell(cell, sum(known) / len(known) if known else math.nan)
            self.open.pop(cell.number, None)

    def _prune(self, done: bool = False) -> None:
        """Remove weights that cannot become the winner's: of cells that are complete but the best, and of the worse
        trials in the others."""
        if self.settings.keep == "all":
            return
        kept: set[int] = set()
        if self.settings.keep == "best" and not done:
            rows = self.board().rows
            complete = [row for row in rows if row.results[0].cell not in self.open]
            open_rows = [row for row in rows if row.results[0].cell in self.open]
            kept = {best_of(row.results, self.aim.metric).number for row in (*complete[:1], *open_rows)}
        for result in self.results.values():
            if result.number not in kept and not result.error:
                (self._place(result.name) / WEIGHTS).unlink(missing_ok=True)

    def _crown(self, board: Leaderboard, winner: Result) -> Leaderboard:
        """Make the winner's bundle ``best``: as it was trained, or trained anew with its settings."""
        if self.settings.keep == "none":
            return board
        board = replace(board, refitted=self.settings.refit)
        best = self.directory / BEST
        written = {"trial": winner.number, "refitted": board.refitted}
        with suppress(OSError, ValueError):
            former: dict[str, Any] = json.loads((best / WINNER).read_text(encoding="utf-8"))
            if written.items() <= former.items():
                return replace(board, test=former["test"])
        bundle = self._opened(self._refitted(winner) if self.settings.refit else self._trained(winner))
        report, recipe = bundle.report or Report(), bundle.recipe or self.settings.recipe
        note = f"chosen by {self.aim.metric} on {self.aim.split} out of {len(board.rows):,} combinations of settings"
        if self.settings.refit:
            note += ", and trained anew on train and dev: its figures on dev mean nothing"
        report = report.model_copy(update={"name": self.directory.resolve().name, "notes": [*report.notes, f"{note}."]})
        tests = load_splits(recipe.data, recipe.task.outcome_kind).test if self.aim.tested else {}
        for split, rows in tests.items():
            self._tell(Crowning(f"measuring the winner on {split}"))
            report = report.with_measured(split, bundle.evaluate(rows))
        replace(bundle, report=report).save(best)
        test = {split: report.metrics[split] for split in tests}
        write_atomically(best / WINNER, json.dumps({**written, "test": plain(test)}) + "\n")
        return replace(board, test=test)

    def _trained(self, winner: Result) -> str:
        """The run of the winner with its weights, made again if these were removed."""
        if not (self._place(winner.name) / WEIGHTS).exists():
            shutil.rmtree(self._place(winner.name), ignore_errors=True)
            self._tell(Crowning(f"training {winner.name} again, as its weights have been removed"))
            self._make(winner.name, _pairs_of(winner))
        return winner.name

    def _refitted(self, winner: Result) -> str:
        """A run with the winner's settings on train and dev."""
        name = f"refit-{winner.name}"
        self._tell(Crowning("training anew on train and dev with the winner's settings"))
        self._make(name, _pairs_of(winner), refit=True)
        return name

    def _make(self, name: str, pairs: list[str], refit: bool = False) -> None:
        recipe = self._recipe(pairs, parallel=1)
        if refit:
            # nothing is left to choose the best epoch by, so the weights after the last one are kept
            train = recipe.train.replace(evaluate_every=recipe.train.length, patience=None)
            recipe = recipe.replace(train=train, data=recipe.data.replace(fold=None, train_on_dev=True))
        self._launch(name, lambda: recipe)
        _, outcome = self._await()
        if outcome["event"] != "done":
            why = outcome.get("error", "it was stopped from outside; --resume goes on with it.")
            raise TrainingError(f"{self._place(name)}: {why}")

    def _opened(self, name: str) -> Bundle:
        settings = self.settings.recipe.train
        return Bundle.load(self._place(name), str(choose(settings.device, "fp32", settings.threads).device))

    def _place(self, name: str) -> Path:
        return self.directory / TRIALS / name

    def _file(self, name: str) -> Path:
        return self.directory / TRIALS / f"{name}.json"

    def _tell(self, event: Any) -> None:
        for listener in self.listeners:
            listener(event)


def _pairs_of(result: Result) -> list[str]:
    fold = [f"data.fold={result.fold}"] if result.fold else []
    return [*as_pairs(tuple(result.settings.items())), f"seed={result.seed}", *fold]


def _check_settings(settings: SweepSettings, space: Space) -> None:
    """See that every combination is a recipe, before any is trained.

    Raises:
        RecipeError: one is not.
    """
    cells = space.grid() if settings.search == "grid" else space.corners()
    for cell in cells:
        overlay(settings.recipe, as_pairs(cell))
    for seed in space.seeds:
        overlay(settings.recipe, [*as_pairs(cells[0]), f"seed={seed}"])


def _check_free(directory: Path, settings: SweepSettings, resume: bool) -> None:
    """Refuse a directory that holds something else; when resuming, one that holds no search or another.

    Raises:
        OutputError, RecipeError: it is refused.
    """
    check_writable(directory)
    if resume:
        if changed := settings.differences(saved_sweep(directory)):
            raise RecipeError(
                f"{directory / FILE}: the sweep was started with another {' and '.join(changed)}; "
                "resume it with --resume --out alone."
            )
    elif (directory / FILE).exists():
        raise OutputError(f"{directory}: holds a sweep already; add --resume, or remove it or name another.")
    elif directory.exists() and not (directory.is_dir() and all(map(half_written, directory.iterdir()))):
        raise OutputError(f"{directory}: exists already and is not empty; name another place with --out, or remove it.")


def _aim(settings: SweepSettings, space: Space) -> _Aim:
    """Read and check everything once, so that what all trials would stumble over is told before the first.

    Raises:
        BertwrightError: data, model or metrics are not as they should be.
    """
    cells = space.grid() if settings.search == "grid" else space.corners()
    fold = [f"data.fold=1/{settings.folds}"] if settings.folds else []
    recipe = overlay(settings.recipe, [*as_pairs(cells[0]), *fold])
    base = open_base(recipe)
    splits = load_splits(recipe.data, recipe.task.outcome_kind)
    recipe = settle(recipe, splits, base)
    return _Aim(recipe.train.best_by or recipe.task.chosen_metrics[0], next(iter(splits.dev)), bool(splits.test))
