"""The ensemble of a search: the models of all seeds of the best combination as one, in ``ensemble``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bertwright.errors import BundleError
from bertwright.files.atomic import atomic_directory, write_atomically
from bertwright.files.strict_json import to_json
from bertwright.metrics import AnyOutcome, compare_metrics
from bertwright.run.bundle import Bundle, write_bundle
from bertwright.run.ensemble import make_ensemble
from bertwright.run.report import Report, environment
from bertwright.run.splits import SplitData, load_splits
from bertwright.sweep.context import SearchContext
from bertwright.sweep.ensemble_comparison import (
    COMPARISON_FILE,
    EnsembleComparison,
    PairedDifference,
    ScoredModel,
    choose_form,
    load_comparison,
)
from bertwright.sweep.events import WinnerProgress
from bertwright.sweep.leaderboard import Leaderboard, TrialResult, best_result
from bertwright.sweep.trial_pool import TrialPool
from bertwright.sweep.winner import train_if_needed
from bertwright.tasks.spec import EvaluationResult, Outputs
from bertwright.training.compute import choose_compute, set_threads
from bertwright.training.process_state import preserve_threads

ENSEMBLE_DIRECTORY = "ensemble"

MIN_MEMBERS = 2


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its results on every split.

    Attributes:
        bundle: the model.
        results: metrics by split.
        outcomes: predictions and targets by split, for paired tests.
    """

    bundle: Bundle
    results: dict[str, EvaluationResult]
    outcomes: dict[str, AnyOutcome]


@preserve_threads()
def publish_ensemble(context: SearchContext, pool: TrialPool, board: Leaderboard) -> Leaderboard:
    """Build the ensemble of the best combination, evaluate it next to its members, and save it as ``ensemble``.

    Trials that failed or collapsed are no members. The form is chosen on the validation rows only.

    Returns:
        The leaderboard with the comparison; without one if fewer than two trials can be members.

    Raises:
        BertwrightError: a model cannot be trained, read or written.
    """
    requested = context.settings.ensemble
    if requested is None or not board.rows:
        return board
    results = board.rows[0].results
    members = [result for result in results if not (result.error or result.collapsed)]
    if len(members) < MIN_MEMBERS:
        text = f"no ensemble: {len(members)} of {len(results)} seeds trained without failure or collapse"
        context.emit(WinnerProgress(text))
        return board
    directory = context.directory / ENSEMBLE_DIRECTORY
    numbers = tuple(result.number for result in members)
    former = load_comparison(directory)
    if former is not None and (former.requested, former.trials) == (requested, numbers):
        return replace(board, ensemble=former)  # finished before an interruption
    models, splits = _open_members(context, pool, members)
    evaluations = {}
    for name, bundle in models.items():
        context.emit(WinnerProgress(f"evaluating {name} on {', '.join(splits.all)}"))
        evaluations[name] = _evaluate(bundle, splits)
    candidates = _evaluate_candidates(context, list(models.values()), splits)
    scored = {
        name: ScoredModel.from_results(name, each.results, each.outcomes)
        for name, each in (evaluations | candidates).items()
    }
    split, metric = board.split, board.metric
    form, reason = choose_form(requested, metric, split, scored.get("soup"), scored["average"])
    if requested == "auto" and form == "average" and context.settings.recipe.model.init_seed is None:
        reason += "; with model.init_seed=0 all seeds start from equal weights, which makes better soups"
    best = _name(best_result(tuple(members), metric))
    comparison = EnsembleComparison(
        requested=requested,
        form=form,
        reason=reason,
        metric=metric,
        split=split,
        trials=numbers,
        excluded=tuple(_explain_exclusion(result) for result in results if result.number not in numbers),
        singles=tuple(scored[name] for name in models),
        candidates=tuple(scored[name] for name in candidates),
        best=best,
        differences=_compare(evaluations[best], candidates[form]),
    )
    _save(context, candidates[form], comparison, models)
    return replace(board, ensemble=comparison)


@dataclass(frozen=True)
class EvaluationSplits:
    """The rows that models are evaluated on.

    Attributes:
        train: the training rows, for baselines.
        all: validation and test rows by split, the deciding split first.
    """

    train: SplitData
    all: Mapping[str, SplitData]


def _open_members(
    context: SearchContext, pool: TrialPool, members: list[TrialResult]
) -> tuple[dict[str, Bundle], EvaluationSplits]:
    """Open the models of trials, by name, and read the rows to evaluate on; train a model whose weights are missing."""
    recipes = [context.trial_recipe(result.pairs, parallel=1) for result in members]
    directories = [
        train_if_needed(context, pool, result.name, recipe) for result, recipe in zip(members, recipes, strict=True)
    ]
    compute = choose_compute(recipes[0].train.device, "fp32", recipes[0].train.threads)
    set_threads(compute)
    bundles = {
        _name(result): Bundle.load(place, compute=compute, allow_code=context.allow_code)
        for result, place in zip(members, directories, strict=True)
    }
    splits = load_splits(recipes[0].data, recipes[0].task.target_spec)
    return bundles, EvaluationSplits(splits.train, splits.dev | (splits.test if context.criterion.tested else {}))


def _name(result: TrialResult) -> str:
    return f"seed {result.seed}"


def _explain_exclusion(result: TrialResult) -> str:
    return f"{_name(result)}: {result.error or result.collapsed}"


def _evaluate_candidates(
    context: SearchContext, members: list[Bundle], splits: EvaluationSplits
) -> dict[str, EvaluatedModel]:
    """Evaluate the soup and the averaged predictions; without soup if the weights have no mean.

    Raises:
        BundleError: a soup was requested, and the weights have no mean.
    """
    candidates: dict[str, EvaluatedModel] = {}
    try:
        soup = make_ensemble(members, "soup")
    except BundleError:
        if context.settings.ensemble == "soup":
            raise
    else:
        context.emit(WinnerProgress("evaluating the mean of the weights"))
        candidates["soup"] = _evaluate(soup, splits, tune=True)
    context.emit(WinnerProgress("evaluating the averaged predictions"))
    candidates["average"] = _evaluate(make_ensemble(members, "average"), splits, tune=True)
    return candidates


def _evaluate(bundle: Bundle, splits: EvaluationSplits, tune: bool = False) -> EvaluatedModel:
    """Evaluate a model on all splits; ``tune``: first tune its task on the first split, if the recipe sets that."""
    outputs: dict[str, Outputs] = {name: bundle.compute_outputs(rows)[0] for name, rows in splits.all.items()}
    if tune:
        first = next(iter(splits.all))
        task, _ = bundle.task.tune_on_validation(outputs[first], splits.all[first].examples)
        recipe = None if bundle.recipe is None else bundle.recipe.replace(task=task)
        bundle = replace(bundle, task=task, recipe=recipe)
    results, outcomes = {}, {}
    for name, rows in splits.all.items():
        results[name] = bundle.task.evaluate(outputs[name], rows.examples, splits.train.examples)
        outcomes[name] = bundle.task.to_outcome(outputs[name], rows.examples)
    return EvaluatedModel(bundle, results, outcomes)


def _compare(single: EvaluatedModel, ensemble: EvaluatedModel) -> dict[str, dict[str, PairedDifference]]:
    differences = {}
    for split, outcome in single.outcomes.items():
        names = ensemble.results[split].metrics
        tests = compare_metrics(names, outcome, ensemble.outcomes[split])  # type: ignore[type-var]  # of one task
        differences[split] = {name: PairedDifference.from_comparison(test) for name, test in tests.items()}
    return differences


def _save(
    context: SearchContext, model: EvaluatedModel, comparison: EnsembleComparison, members: dict[str, Bundle]
) -> None:
    bundle, what = model.bundle, {"soup": "the mean of the weights", "average": "the averaged predictions"}
    first = next(iter(members.values())).report
    report = Report(
        name=f"{context.directory.resolve().name}-{ENSEMBLE_DIRECTORY}",
        task=bundle.task.kind,
        labels=bundle.labels,
        data={} if first is None else first.data,
        environment=environment(str(bundle.compute.device), bundle.compute.precision),
        notes=[f"{what[comparison.form]} of {len(members)} models ({', '.join(members)}); {comparison.reason}."],
    )
    for split, result in model.results.items():
        report = report.with_evaluation(split, result)
    with atomic_directory(context.directory / ENSEMBLE_DIRECTORY) as partial:
        write_bundle(partial, replace(bundle, report=report))
        write_atomically(partial / COMPARISON_FILE, to_json(comparison.model_dump(), indent=2) + "\n")
