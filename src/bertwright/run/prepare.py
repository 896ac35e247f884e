"""Everything a run needs before it writes its first file: rows, tokens, model and plan, and the notes about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertwright.config.duration import Budget
from bertwright.corpus.sequences import FromCorpus
from bertwright.errors import DataError
from bertwright.nn.model import Model
from bertwright.recipe import Recipe
from bertwright.run.augmentation import add_augmented_copies
from bertwright.run.collapse_advice import advise_on_divergence, warn_of_large_targets
from bertwright.run.data_preparation import (
    Listener,
    build_token_stores,
    cache_frozen_features,
    make_note_collector,
    run_data_checks,
)
from bertwright.run.directory import resolve_paths
from bertwright.run.events import Note
from bertwright.run.plan import make_optimizer, make_order, make_plan, plan_warnings, sequences_of, unfreezing
from bertwright.run.resolve import labels_of, open_base_model, resolve_recipe
from bertwright.run.splits import Splits, load_splits
from bertwright.run.time_budget import plan_for_time_budget
from bertwright.tasks.hf_checkpoints import head_kind_of
from bertwright.tasks.spec import unnamed
from bertwright.tokenization.encodings import Encodings
from bertwright.training.compute import ComputeConfig, choose_compute, keep_freed_memory, set_threads
from bertwright.training.frozen_features import is_frozen
from bertwright.training.loop import Plan, Progress
from bertwright.training.model_building import build_model
from bertwright.weights.loading import LoadingReport
from bertwright.weights.pretrained import Pretrained


@dataclass(frozen=True)
class PreparedRun:
    """A run that has read and checked everything and written nothing.

    Attributes:
        recipe: settled, with labels, columns, metrics and the number of steps.
        base: the encoder and tokenizer that the run starts from.
        splits: the rows; those of train with their augmented copies.
        encoded: the same as tokens, by the name of their split.
        machine: device, precision and threads.
        progress: model and optimizer before the first step.
        plan: steps, order and learning rates.
        loading: where every weight came from.
        notes: everything to report before training starts.
    """

    recipe: Recipe
    base: Pretrained
    splits: Splits
    encoded: dict[str, Encodings | FromCorpus]
    compute: ComputeConfig
    progress: Progress
    plan: Plan
    loading: LoadingReport
    notes: list[Note]


def prepare_run(
    recipe: Recipe,
    *,
    data: dict[str, Any] | None,
    test: bool,
    head: nn.Module | None,
    allow_code: bool,
    listeners: Iterable[Listener],
    start: Path | None = None,
) -> PreparedRun:
    """Read the data, build the model and plan the steps.

    Args:
        recipe: of the run.
        data: rows in memory (or paths) that replace the recipe's.
        test: whether to read the test rows.
        head: a module that replaces the recipe's head.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners: called with the progress of slow parts.
        start: the directory that the recipe's relative paths start from; None for the working directory.

    Raises:
        BertwrightError: the data, the model or a setting is wrong.
    """
    compute = choose_compute(recipe.train.device, recipe.train.precision, recipe.train.threads)
    _configure_process(compute)
    located = resolve_paths(recipe, start)
    base = open_base_model(located)
    splits = load_splits(located.data, recipe.task.target_spec, data, seed=recipe.seed)
    if not test:
        splits = replace(splits, test={})
    recipe = resolve_recipe(recipe, splits, base)
    target, notes = recipe.task.target_spec, [Note(text) for text in (*base.notes, *splits.notes)]
    # two splits of one file report the same lines; data checks report the warnings of train and dev
    lines = dict.fromkeys(line for rows in splits.all().values() for line in rows.lines())
    warnings = {text for rows in splits.all().values() for text in rows.report.warnings}
    notes += [Note(line) for line in lines if line not in warnings]
    notes += [Note(text, warning=True) for rows in splits.test.values() for text in rows.report.warnings]
    notes += build_token_stores(splits, base.tokenizer, listeners)
    original = splits.train
    if recipe.data.augment.active:
        splits, text = add_augmented_copies(resolve_paths(recipe, start), splits, compute.device)
        notes.append(Note(text))
    encoded = _encode_splits(recipe, splits, base, notes)
    notes += run_data_checks(recipe, replace(splits, train=original), encoded["train"])
    model, loading = build_recipe_model(recipe, base, head, allow_code)
    model.freeze(recipe.model.freeze).to(compute.device)
    if isinstance(recipe.train.length, Budget):
        with advise_on_divergence(target, splits.train):
            recipe, text = plan_for_time_budget(recipe, model, splits, encoded, compute)
        notes.append(Note(text))
    plan = make_plan(recipe, make_order(recipe, splits.train, sequences_of(encoded["train"])), compute)
    warned = (*warn_of_large_targets(target, original), *plan_warnings(recipe, plan))
    notes += [Note(text, warning=True) for text in warned]
    notes += [Note(*note) for note in unfreezing(plan, base.config.n_layers)]
    if recipe.train.cache_features and is_frozen(model):
        encoded |= cache_frozen_features(model, encoded, compute, listeners, notes)
    progress = Progress(model, make_optimizer(model, recipe.train))
    return PreparedRun(recipe, base, splits, encoded, compute, progress, plan, loading, notes)


def _configure_process(compute: ComputeConfig) -> None:
    """Set threads and allocator; :func:`~bertwright.training.process_state.reserve_process` restores both."""
    set_threads(compute)
    if compute.device.type == "cpu":
        keep_freed_memory()


def _encode_splits(
    recipe: Recipe, splits: Splits, base: Pretrained, notes: list[Note]
) -> dict[str, Encodings | FromCorpus]:
    """Every split as tokens; of train only the sequences with a target."""
    encoded: dict[str, Encodings | FromCorpus] = {
        name: recipe.task.encode(rows, base.tokenizer, recipe.tokens, on_note=make_note_collector(notes, name))
        for name, rows in splits.all().items()
    }
    if isinstance(encoded["train"], Encodings):
        encoded["train"] = encoded["train"].learnable()
    if not len(encoded["train"]):
        raise DataError(f"{splits.train.report.source}: nothing can be learnt from it: no target in it is known.")
    return encoded


def build_recipe_model(
    recipe: Recipe, base: Pretrained, head: nn.Module | None, allow_code: bool = False
) -> tuple[Model, LoadingReport]:
    """The encoder with its head; the head's output is untrained where the base was trained for other labels."""
    task = recipe.task
    names = (None, labels_of(task), unnamed(task.n_outputs))
    other_labels = base.labels not in names or head_kind_of(base) not in (None, task.published_head)
    generator = torch.Generator().manual_seed(recipe.seed)
    return build_model(recipe.model, task, base, generator, fresh_output=other_labels, head=head, allow_code=allow_code)
