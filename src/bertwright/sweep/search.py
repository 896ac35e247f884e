"""Finding good settings as the BERT paper does: train on train with each combination, choose on dev, test once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertwright.config.sections import dump
from bertwright.errors import OutputError, RecipeError
from bertwright.files.atomic import (
    check_unlocked,
    check_writable,
    expand_home,
    is_partial,
    lock_directory,
    write_atomically,
)
from bertwright.metrics import METRICS
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.output.progress import stderr_console
from bertwright.output.terminal import print_parts
from bertwright.recipe import Recipe
from bertwright.run.directory import resolve_paths
from bertwright.run.event_log import FILE as EVENTS
from bertwright.run.event_log import starting_directory
from bertwright.run.resolve import open_base_model, resolve_recipe
from bertwright.run.splits import load_splits
from bertwright.sweep.context import TRIALS, Listener, SearchContext, SelectionCriterion
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.leaderboard import Leaderboard
from bertwright.sweep.optuna_study import open_study
from bertwright.sweep.settings import SWEEP_FILE, SearchMethod, SweepSettings, WeightsToKeep, load_sweep_settings
from bertwright.sweep.space import SearchSpace, override_recipe, parse_space, settings_to_pairs, to_pairs
from bertwright.sweep.subprocesses import SubprocessRunner, TrialRunner
from bertwright.sweep.trial_pool import TrialPool
from bertwright.sweep.trial_scheduler import TrialScheduler
from bertwright.sweep.winner import publish_winner


def search(
    recipe: Recipe,
    space: Mapping[str, Any] | Iterable[str],
    out: str | os.PathLike[str],
    *,
    method: SearchMethod = "grid",
    trials: int | None = None,
    folds: int | None = None,
    keep: WeightsToKeep = "best",
    refit: bool = False,
    parallel: int = 1,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
) -> Leaderboard:
    """Try settings, choose the best on dev, and keep its bundle as ``out/best``.

    Progress and the leaderboard are printed on standard error, or below the cell of a notebook.

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
        quiet: print nothing; ``listeners`` still get every event.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners: called with :class:`SearchStarted`, :class:`SearchProgress`, :class:`TrialFinished` and
            :class:`WinnerProgress`.

    Raises:
        BertwrightError: whatever is wrong, in one sentence; a broken trial is not, unless all are.
        KeyboardInterrupt: Ctrl-C; running trials have saved their state, and ``resume`` goes on.
    """
    settings = SweepSettings(
        recipe=recipe,
        vary=tuple(to_pairs(space)),
        search=method,
        trials=trials,
        folds=folds,
        keep=keep,
        refit=refit,
    )
    if quiet:
        return sweep(settings, out, parallel=parallel, resume=resume, allow_code=allow_code, listeners=listeners)
    console = stderr_console()
    with SweepDisplay(console) as display:
        board = sweep(
            settings, out, parallel=parallel, resume=resume, allow_code=allow_code, listeners=[*listeners, display]
        )
    print_parts(console, ["", *board.renderables()])
    return board


def sweep(
    settings: SweepSettings,
    out: str | os.PathLike[str],
    *,
    parallel: int = 1,
    resume: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
    runner: TrialRunner | None = None,
) -> Leaderboard:
    """:func:`search` by settings that are one value; ``runner`` says how trials are run, by default as processes.

    Raises:
        BertwrightError, KeyboardInterrupt: as :func:`search` says.
    """
    directory = Path(expand_home(out))
    space = parse_space(settings.vary)
    _check_settings(settings, space, allow_code)
    check_unlocked(directory)
    _check_free(directory, settings, resume)
    located = settings.replace(recipe=resolve_paths(settings.recipe, _start(directory))) if resume else settings
    aim = _aim(located, space)
    with lock_directory(directory):
        _check_free(directory, settings, resume)
        write_atomically(directory / SWEEP_FILE, dump(settings))
        higher = METRICS[aim.metric].higher_is_better
        seed = settings.recipe.seed
        everyone = tuple(listeners)

        def tell(event: Any) -> None:
            for listener in everyone:
                listener(event)

        setup = SearchContext(directory, located, space, aim, parallel, tell, allow_code)
        with (
            open_study(directory, space, settings.search, settings.trials, higher, seed) as study,
            TrialPool(setup, runner or SubprocessRunner()) as pool,
        ):
            trials = TrialScheduler(setup, study, pool)
            board = publish_winner(setup, pool, trials.run())
            board.save(directory)
            trials.prune(done=True)
            board.draw(directory)
            return board


def _start(directory: Path) -> Path | None:
    """The working directory in which a search was started, as its first trial recorded it."""
    trials = sorted(path.parent for path in (directory / TRIALS).glob(f"*/{EVENTS}"))
    return next(filter(None, map(starting_directory, trials)), None)


def _check_settings(settings: SweepSettings, space: SearchSpace, allow_code: bool) -> None:
    """See that every combination is a recipe, before any is trained.

    Raises:
        RecipeError: one is not, is of runs that are no trials, or has a head that is code and not allowed.
    """
    if settings.recipe.continued_pretraining is not None:
        raise RecipeError(
            "continued_pretraining: is a separate run before this one; pre-train once, then sweep with its directory "
            "as model.base."
        )
    if settings.refit and settings.recipe.task.rejects("data.train_on_dev"):
        raise RecipeError("sweep: --refit has no place in pre-training, where dev is a part of train; leave it out.")
    cells = space.grid() if settings.search == "grid" else space.corners()
    for cell in cells:
        check_code_allowed(override_recipe(settings.recipe, settings_to_pairs(cell)).model.head, allow_code)
    for seed in space.seeds:
        override_recipe(settings.recipe, [*settings_to_pairs(cells[0]), f"seed={seed}"])


def _check_free(directory: Path, settings: SweepSettings, resume: bool) -> None:
    """Refuse a directory that holds something else; when resuming, one that holds no search or another.

    Raises:
        OutputError, RecipeError: it is refused.
    """
    check_writable(directory)
    if resume:
        if changes := settings.changes_from(load_sweep_settings(directory)):
            raise RecipeError(
                f"{directory / SWEEP_FILE}: the sweep was started with other settings ({'; '.join(changes)}); "
                "resume it with --resume --out alone."
            )
    elif (directory / SWEEP_FILE).exists():
        raise OutputError(f"{directory}: holds a sweep already; add --resume, or remove it or name another.")
    elif directory.exists() and not (directory.is_dir() and all(map(is_partial, directory.iterdir()))):
        raise OutputError(
            f"{directory}: already exists and is not empty; choose another directory with --out, or remove it."
        )


def _aim(settings: SweepSettings, space: SearchSpace) -> SelectionCriterion:
    """Read and check everything once, so that what all trials would stumble over is told before the first.

    Raises:
        BertwrightError: data, model or metrics are not as they should be.
    """
    cells = space.grid() if settings.search == "grid" else space.corners()
    fold = [f"data.fold=1/{settings.folds}"] if settings.folds else []
    recipe = override_recipe(settings.recipe, [*settings_to_pairs(cells[0]), *fold])
    base = open_base_model(recipe)
    splits = load_splits(recipe.data, recipe.task.target_spec)
    recipe = resolve_recipe(recipe, splits, base)
    metric = recipe.train.metric_for_best_model or recipe.task.chosen_metrics[0]
    return SelectionCriterion(metric, next(iter(splits.dev)), bool(splits.test), tuple(splits.remarks()))
