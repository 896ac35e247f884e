"""Hyperparameter search: train every combination, select on the validation data, evaluate once on the test data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
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
from bertwright.html.page import write_page
from bertwright.metrics import METRICS
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.output.progress import stderr_console
from bertwright.output.terminal import print_parts
from bertwright.run.directory import resolve_paths
from bertwright.run.event_log import FILE as EVENTS
from bertwright.run.event_log import starting_directory
from bertwright.run.resolve import open_base_model, resolve_recipe
from bertwright.run.splits import load_splits
from bertwright.run.tracking.group import track_group
from bertwright.run.tracking.listener import check_trackers
from bertwright.sweep.context import TRIALS, Listener, SearchContext, SelectionCriterion
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.leaderboard import Leaderboard
from bertwright.sweep.optuna_study import Study, open_study
from bertwright.sweep.seed_ensemble import MIN_MEMBERS, publish_ensemble
from bertwright.sweep.settings import SWEEP_FILE, SweepSettings, load_sweep_settings
from bertwright.sweep.space import SearchSpace, override_recipe, parse_space, settings_to_pairs
from bertwright.sweep.subprocesses import SubprocessRunner, TrialRunner
from bertwright.sweep.sweep_page import PAGE_FILE, build_sweep_page
from bertwright.sweep.trial_pool import TrialPool
from bertwright.sweep.trial_scheduler import TrialScheduler
from bertwright.sweep.winner import publish_winner


def search(
    settings: SweepSettings,
    out: str | os.PathLike[str],
    *,
    parallel: int = 1,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
) -> Leaderboard:
    """Search over settings, select the best on the validation data, and save its model as ``out/best``.

    Progress and the leaderboard are printed on standard error, or below the cell of a notebook.

    Args:
        settings: the recipe that all trials share, what varies, and how to search. Every combination is trained with
            every seed.
        out: the directory of the search; created if needed.
        parallel: the number of trials that run at once, each in a process with its share of the CPU threads.
        resume: continue the search in ``out``; finished trials are kept and failed ones repeated.
        quiet: print nothing; ``listeners`` still receive every event.
        allow_code: whether a custom head ``module:name`` may be imported and called.
        listeners: called with :class:`SearchStarted`, :class:`SearchProgress`, :class:`TrialFinished` and
            :class:`WinnerProgress`.

    Raises:
        BertwrightError: the settings, the data or the model are invalid, or all trials failed.
        KeyboardInterrupt: Ctrl-C; running trials saved a checkpoint, and ``resume`` continues them.
    """
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
    study: Study | None = None,
) -> Leaderboard:
    """Run a search and print nothing.

    ``runner`` runs the trials, by default in processes; ``study`` selects the combinations, by default with Optuna.

    Raises:
        BertwrightError, KeyboardInterrupt: as for :func:`search`.
    """
    directory = Path(expand_home(out))
    space = parse_space(settings.vary)
    _check_settings(settings, space, allow_code)
    check_trackers(settings.recipe.train.track)
    check_unlocked(directory)
    _check_free(directory, settings, resume)
    located = settings.replace(recipe=resolve_paths(settings.recipe, _start(directory))) if resume else settings
    criterion = _select_criterion(located, space)
    with lock_directory(directory):
        _check_free(directory, settings, resume)
        write_atomically(directory / SWEEP_FILE, dump(settings))
        higher = METRICS[criterion.metric].higher_is_better
        seed = settings.recipe.seed
        receivers = tuple(listeners)

        def emit(event: Any) -> None:
            for listener in receivers:
                listener(event)

        context = SearchContext(directory, located, space, criterion, parallel, emit, allow_code)
        with (
            open_study(directory, space, settings.search, settings.trials, higher, seed)
            if study is None
            else nullcontext(study) as chosen,
            TrialPool(context, runner or SubprocessRunner()) as pool,
            track_group(settings.recipe.train.track, directory, located.recipe, "best"),
        ):
            trials = TrialScheduler(context, chosen, pool)
            # first, because the weights of the winner are moved to its own directory
            board = publish_ensemble(context, pool, trials.run())
            board = publish_winner(context, pool, board)
            board.save(directory)
            trials.prune(done=True)
            if not settings.score_test:
                board.draw(directory)
                write_page(directory / PAGE_FILE, build_sweep_page(board, directory.resolve().name))
            return board


def _start(directory: Path) -> Path | None:
    """Return the working directory in which a search was started, as recorded by its first trial."""
    trials = sorted(path.parent for path in (directory / TRIALS).glob(f"*/{EVENTS}"))
    return next(filter(None, map(starting_directory, trials)), None)


def _check_settings(settings: SweepSettings, space: SearchSpace, allow_code: bool) -> None:
    """Check that every combination is a valid recipe before any trial starts.

    Raises:
        RecipeError: a combination is invalid, the recipe is not a single run, or a custom head is not allowed.
    """
    if settings.recipe.continued_pretraining is not None:
        raise RecipeError(
            "continued_pretraining: is a separate run before this one; pre-train once, then sweep with its directory "
            "as model.base."
        )
    if settings.refit and settings.recipe.task.rejects("data.train_on_dev"):
        raise RecipeError(
            "sweep: --refit cannot be used in pre-training, whose validation data is part of the corpus; remove it."
        )
    if settings.recipe.train.refit is True:
        raise RecipeError(
            "train.refit: runs are compared by their validation metrics, so they must not train on validation rows; "
            "set sweep --refit, which retrains with the best settings."
        )
    if settings.ensemble is not None:
        if len(set(space.seeds)) < MIN_MEMBERS:
            raise RecipeError("sweep: --ensemble needs several seeds; add for example seed=0..4.")
        if not settings.recipe.task.averages_predictions:
            raise RecipeError(
                f"sweep: --ensemble cannot be used with task.kind={settings.recipe.task.kind}, whose predictions have "
                "no mean; remove it."
            )
    cells = space.grid() if settings.search == "grid" else space.corners()
    for cell in cells:
        check_code_allowed(override_recipe(settings.recipe, settings_to_pairs(cell)).model.head, allow_code)
    for seed in space.seeds:
        override_recipe(settings.recipe, [*settings_to_pairs(cells[0]), f"seed={seed}"])


def _check_free(directory: Path, settings: SweepSettings, resume: bool) -> None:
    """Refuse a directory with other contents; when resuming, one without a search or with another one.

    Raises:
        OutputError, RecipeError: the directory is refused.
    """
    check_writable(directory)
    if resume:
        if changes := settings.changes_from(load_sweep_settings(directory)):
            raise RecipeError(
                f"{directory / SWEEP_FILE}: the sweep was started with other settings ({'; '.join(changes)}); "
                "resume it with --resume --out alone."
            )
    elif (directory / SWEEP_FILE).exists():
        raise OutputError(
            f"{directory}: already contains a sweep; add --resume, remove it, or choose another directory."
        )
    elif directory.exists() and not (directory.is_dir() and all(map(is_partial, directory.iterdir()))):
        raise OutputError(
            f"{directory}: already exists and is not empty; choose another directory with --out, or remove it."
        )


def _select_criterion(settings: SweepSettings, space: SearchSpace) -> SelectionCriterion:
    """Read and check everything once, so that errors common to all trials are reported before the first.

    Raises:
        BertwrightError: data, model or metrics are invalid.
    """
    cells = space.grid() if settings.search == "grid" else space.corners()
    fold = [f"data.fold=1/{settings.folds}"] if settings.folds else []
    recipe = override_recipe(settings.recipe, [*settings_to_pairs(cells[0]), *fold])
    base = open_base_model(recipe)
    splits = load_splits(recipe.data, recipe.task.target_spec)
    recipe = resolve_recipe(recipe, splits, base)
    metric = recipe.train.metric_for_best_model or recipe.task.chosen_metrics[0]
    split = next(iter(splits.test if settings.score_test and splits.test else splits.dev))
    return SelectionCriterion(metric, split, bool(splits.test), tuple(splits.remarks()))
