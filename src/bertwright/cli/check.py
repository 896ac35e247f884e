"""The implementation of ``bertwright check``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from bertwright.cli.console import RowProgress, out, stderr_console
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.cli.row_preview import row_lines
from bertwright.config.duration import Duration, TimeBudget, portion_steps
from bertwright.config.yaml_tree import format_number
from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.data_checks import Diagnosis, check_data
from bertwright.data.dataset import Dataset
from bertwright.errors import BertwrightError, DataError
from bertwright.output.plurals import pluralize
from bertwright.output.progress import can_redraw
from bertwright.output.terminal import print_line
from bertwright.recipe import Recipe
from bertwright.run.collapse_advice import advise_on_divergence, warn_of_large_targets
from bertwright.run.duration_estimate import count_evaluations, estimate_duration
from bertwright.run.plan import choose_auto_length, make_order, make_plan, make_row_order, plan_warnings
from bertwright.run.report import duration
from bertwright.run.resolve import open_base_model, resolve_recipe
from bertwright.run.splits import Splits, load_splits
from bertwright.training.compute import choose_compute, set_threads
from bertwright.weights.pretrained import Pretrained

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
MAX_LABELS_SHOWN = 12
CHUNK = 20_000
"""Rows to tokenize at a time when counting tokens."""


def check(words: Sequence[str], options: RecipeOptions, rows_shown: int = 0) -> None:
    """Check a recipe and its data, load its encoder, and print the training plan, without training.

    Args:
        words: the recipe and settings.
        options: options that are shortcuts for settings.
        rows_shown: the number of training rows to show.

    Raises:
        BertwrightError: the recipe is invalid, or its data cannot be read.
        typer.Exit: with code 2, if the check found an error that stops a run.
    """
    recipe = load_command_recipe(words, options)
    console = out()
    errors: list[str] = []
    base: Pretrained | None = None
    try:
        base = open_base_model(recipe)
    except BertwrightError as error:  # the data can be checked without the encoder
        errors += error.sentences
    splits = load_splits(recipe.data, recipe.task.target_spec, seed=recipe.seed)
    diagnosis = _check_data(recipe, splits, base)
    for name, rows in splits.all().items():
        if not isinstance(rows, CorpusSplit):
            _line(console, "data", f"{name}: {pluralize(len(rows), 'row')} of {rows.report.source}")
        elif base is not None:
            with RowProgress(stderr_console(), rows.n_bytes, f"tokenizing {name}") as bar:
                store = rows.store(base.tokenizer, bar.update)
            _line(
                console,
                "data",
                f"{name}: {pluralize(store.n_documents, 'document')}, {pluralize(store.n_tokens, 'token')}",
            )
    for text in dict.fromkeys((*(base.notes if base is not None else ()), *splits.notes)):
        _line(console, "note", text)
    for text in dict.fromkeys(text for rows in splits.all().values() for text in rows.report.inferences()):
        _line(console, "columns", text)
    for text in dict.fromkeys(text for rows in splits.test.values() for text in rows.report.warnings):
        _line(console, "warning", text)
    _show(console, diagnosis)
    warnings = warn_of_large_targets(recipe.task, splits.train.examples)
    if base is not None:
        try:
            settled = resolve_recipe(recipe, splits, base)
            _show_rows(console, settled, base, splits, rows_shown)
            with advise_on_divergence(recipe.task, splits.train.examples):
                warnings += _plan(console, settled, base, splits)
        except BertwrightError as error:
            errors += error.sentences
    for text in warnings:
        _line(console, "warning", text)
    for text in errors:
        _line(console, "error", text)
    if n := len(errors) + len(diagnosis.errors):
        _line(console, "", f"{pluralize(n, 'error')} to fix before training")
        raise typer.Exit(BertwrightError.exit_code)
    n_warnings = len(warnings) + sum(finding.level == "warning" for finding in diagnosis.findings)
    text = f"no errors, {pluralize(n_warnings, 'warning')}" if n_warnings else "no problems found"
    _line(console, "", text)


def _check_data(recipe: Recipe, splits: Splits, base: Pretrained | None) -> Diagnosis:
    train, dev = splits.available, next(iter(splits.dev.values()), None)
    if isinstance(train, CorpusSplit) or isinstance(dev, CorpusSplit):
        return Diagnosis(())
    lengths = None if base is None else _count_tokens(train, recipe, base)
    return check_data(
        train,
        dev,
        kind=recipe.task.target_spec,
        lengths=lengths,
        max_length=recipe.tokens.max_length,
    )


def _count_tokens(rows: Dataset, recipe: Recipe, base: Pretrained) -> NDArray[np.int64]:
    """The tokens of each row's longest sequence before truncation.

    Some rows are encoded at a time, because only their lengths are kept.
    """
    lengths = []
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        texts = [recipe.task.target_spec.sequence_texts(example) for example in part]
        firsts, seconds = zip(*(pair for row in texts for pair in row), strict=True)
        pairs = None if seconds[0] is None else [second or "" for second in seconds]
        encodings = base.tokenizer.encode(firsts, pairs, max_length=recipe.tokens.max_length)
        starts = np.cumsum([0, *map(len, texts[:-1])])
        lengths.append(np.maximum.reduceat(encodings.lengths + encodings.dropped, starts))
    return np.concatenate(lengths)


def _show(console: Console, diagnosis: Diagnosis) -> None:
    counts, n = diagnosis.label_counts, diagnosis.n_counted
    if counts:
        shown = [f"{label} {count:,} ({count / n:.1%})" for label, count in list(counts.items())[:MAX_LABELS_SHOWN]]
        more = f", and {len(counts) - MAX_LABELS_SHOWN} more" if len(counts) > MAX_LABELS_SHOWN else ""
        _line(console, "labels", ", ".join(shown) + more)
    for line in dict.fromkeys(diagnosis.lines()):
        name, _, text = line.partition(": ")
        _line(console, name, text)


def _show_rows(console: Console, recipe: Recipe, base: Pretrained, splits: Splits, n: int) -> None:
    if not n:
        return
    if isinstance(splits.train, CorpusSplit):
        raise DataError("check: --show needs rows, but the training data is a corpus; use `bertwright tokenizer show`.")
    for name, text in row_lines(splits.train, recipe, base.tokenizer, n):
        _line(console, name, text)


def _plan(console: Console, recipe: Recipe, base: Pretrained, splits: Splits) -> list[str]:
    """Print the training plan with an estimate of its duration; return warnings about it."""
    compute = choose_compute(recipe.train.device, recipe.train.precision, recipe.train.threads)
    set_threads(compute)
    what = "rows"
    if isinstance(splits.train, CorpusSplit):
        data = recipe.task.encode_corpus(splits.train, base.tokenizer, recipe.tokens)
        order, what = make_order(recipe, (), data), "sequences"
    else:  # the windows of long texts are counted when all rows are tokenized
        order = make_row_order(recipe, splits.train)
    recipe, reason = choose_auto_length(recipe, order, splits.held_out)
    settings, plan = recipe.train, make_plan(recipe, order, compute)
    labels = recipe.task.label_names
    _line(console, "task", recipe.task.kind + (f", {pluralize(len(labels), 'label')}" if labels else ""))
    _line(console, "base", f"{base.source}: {base.family.model_type}, {pluralize(base.config.n_layers, 'layer')}")
    _line(console, "device", compute.describe_training())
    if recipe.continued_pretraining is not None:
        _line(console, "note", "continued pre-training comes first; the plan does not include it")
    if isinstance(settings.length, TimeBudget):
        steps = f"{settings.length}, in steps of {settings.examples_per_step} {what}"
        text = f"{steps}; the speed at the start decides the number"
        _line(console, "plan", text)
        return []
    length = f"{pluralize(plan.steps, 'step')} of {settings.examples_per_step} {what}"
    epochs = plan.steps / plan.per_epoch
    if isinstance(settings.length, Duration) and settings.length.unit == "epochs":
        length = f"{settings.length} = {length}"
    else:
        length = f"{length}, {epochs:,.0f} epochs" if epochs >= 10 else f"{length}, {epochs:.2g} epochs"
    _line(console, "plan", length)
    if reason:
        _line(console, "", reason)
    rate = format_number(settings.peak_learning_rate)
    if isinstance(settings.schedule, str):
        warmup = portion_steps(settings.warmup, plan.steps, plan.per_epoch)
        _line(console, "", f"learning rate up to {rate} over {pluralize(warmup, 'step')}, then {settings.schedule}")
    else:
        _line(console, "", f"learning rate up to {rate}, in {pluralize(len(settings.schedule), 'segment')}")
    _line(
        console,
        "",
        f"{pluralize(count_evaluations(plan), 'evaluation')}, best model by {settings.metric_for_best_model}",
    )
    with stderr_console().status("measuring the speed of a step …") if can_redraw(stderr_console()) else nullcontext():
        estimate = estimate_duration(recipe, base, splits, compute, plan)
    parts = f"{_short_time(estimate.step)} per step, {_short_time(estimate.evaluation)} per evaluation"
    _line(console, "", f"about {_short_time(estimate.total)} of training ({parts})")
    if isinstance(recipe.model.head, str):
        text = f"estimated with the published head: {recipe.model.head} is Python code, which needs train --allow-code"
        _line(console, "", text)
    return plan_warnings(recipe, plan)


def _short_time(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{max(1, round(1000 * seconds))} ms"


def _line(console: Console, name: str, text: str) -> None:
    print_line(console, f"{name:<8} {text}", STYLES.get(name))
