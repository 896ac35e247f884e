"""The second and third stage of a run: build the model and plan the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bertwright.config.duration import TimeBudget
from bertwright.nn.model import Model
from bertwright.recipe import Recipe
from bertwright.run.collapse_advice import advise_on_divergence
from bertwright.run.data_preparation import NOT_CHECKED, DataChecks, PreparedData, RunOptions
from bertwright.run.events import Listener, Note, make_progress_reporter
from bertwright.run.plan import (
    choose_auto_length,
    describe_unfreezing,
    make_optimizer,
    make_order,
    make_plan,
    make_row_order,
    plan_warnings,
)
from bertwright.run.splits import Splits
from bertwright.run.time_budget import plan_for_time_budget
from bertwright.tasks.hf_checkpoints import head_kind_of
from bertwright.tasks.spec import generic_label_names
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig
from bertwright.training.frozen_features import add_features, is_frozen
from bertwright.training.loop import Plan
from bertwright.training.model_building import build_model, initialize_output
from bertwright.training.optimizer import Optimizer
from bertwright.weights.loading import LoadingReport
from bertwright.weights.pretrained import Pretrained


@dataclass(frozen=True)
class BuiltModel:
    """The model of a run before its first step.

    Attributes:
        model: on its device, with the parameters frozen that the recipe freezes.
        loading: the source of every weight.
    """

    model: Model
    loading: LoadingReport


@dataclass(frozen=True)
class PlannedRun:
    """A run that is ready to start. Nothing in the run directory has been written.

    Attributes:
        recipe: with labels, columns, metrics and the number of steps.
        base: the encoder and tokenizer that the run starts from.
        splits: the examples; the training examples with their augmented copies.
        tokenized: the same examples as token ids, with cached features if the encoder is frozen, by split.
        built: the model before the first step.
        optimizer: of the model.
        plan: steps, order and learning rates.
        compute: device, precision and threads.
        notes: everything to report before training starts.
        restarted: why this is the second attempt; empty if it is the first.
        checks: results of the data checks.
    """

    recipe: Recipe
    base: Pretrained
    splits: Splits
    tokenized: Mapping[str, TrainingData]
    built: BuiltModel
    optimizer: Optimizer
    plan: Plan
    compute: ComputeConfig
    notes: tuple[Note, ...]
    restarted: str = ""
    checks: DataChecks = NOT_CHECKED


def build_run_model(data: PreparedData, options: RunOptions, compute: ComputeConfig) -> BuiltModel:
    """Build the model, freeze the parameters that the recipe freezes, and move it to its device.

    Raises:
        BertwrightError: the weights or the head do not fit.
    """
    recipe, train = data.recipe, data.splits.train.examples
    model, loading = build_recipe_model(recipe, data.base, options.head, options.allow_code)
    if recipe.train.sampling != "all":
        order = make_row_order(recipe, train)
        train = [train[i] for i in np.asarray(order.indices(0)[: order.size])]
    loading = initialize_output(model, loading, recipe.task, train, recipe.model.output_bias == "prior")
    model.freeze(data.recipe.model.freeze).to(compute.device)
    return BuiltModel(model, loading)


def build_recipe_model(
    recipe: Recipe, base: Pretrained, head: nn.Module | None, allow_code: bool = False
) -> tuple[Model, LoadingReport]:
    """Build encoder and head; the output layer is randomly initialized if the base was trained for other labels."""
    task = recipe.task
    names = (None, task.label_names or None, generic_label_names(task.n_outputs))
    other_labels = base.labels not in names or head_kind_of(base) not in (None, task.published_head)
    seed = recipe.seed if recipe.model.init_seed is None else recipe.model.init_seed
    generator = torch.Generator().manual_seed(seed)
    return build_model(
        recipe.model, task, base, generator, reinitialize_output=other_labels, head=head, allow_code=allow_code
    )


def plan_run(
    data: PreparedData, built: BuiltModel, compute: ComputeConfig, listeners: Iterable[Listener]
) -> PlannedRun:
    """Plan steps, order and learning rates; run a frozen encoder once and cache its features.

    Raises:
        BertwrightError: a setting does not fit the data, or training diverges while its speed is measured.
    """
    recipe, model, tokenized, notes = data.recipe, built.model, data.tokenized, list(data.notes)
    if isinstance(recipe.train.length, TimeBudget):
        with advise_on_divergence(recipe.task, data.splits.train.examples):
            recipe, text = plan_for_time_budget(recipe, model, data.splits, tokenized, compute)
        notes.append(Note(text))
    order = make_order(recipe, data.splits.train.examples, tokenized["train"])
    recipe, text = choose_auto_length(recipe, order, data.splits.held_out)
    notes += [Note(text)] if text else []
    plan = make_plan(recipe, order, compute)
    notes += [Note(text, warning=True) for text in plan_warnings(recipe, plan)]
    notes += [Note(*note) for note in describe_unfreezing(plan, data.base.config.n_layers)]
    if recipe.train.cache_features and is_frozen(model):
        tokenized = cache_frozen_features(model, tokenized, compute, listeners, notes)
    optimizer = make_optimizer(model, recipe.train)
    return PlannedRun(
        recipe,
        data.base,
        data.splits,
        tokenized,
        built,
        optimizer,
        plan,
        compute,
        tuple(notes),
        checks=data.checks,
    )


def cache_frozen_features(
    model: Model,
    tokenized: Mapping[str, TrainingData],
    compute: ComputeConfig,
    listeners: Iterable[Listener],
    notes: list[Note],
) -> dict[str, TrainingData]:
    """Add the features of the frozen encoder to every split; those of evaluation splits are computed in fp32.

    Sequences of a corpus stay as they are, because every step masks other tokens.
    """
    cached: dict[str, TrainingData] = {}

    def warn(text: str) -> None:
        if (note := Note(text, warning=True)) not in notes:  # all splits may report the same
            notes.append(note)

    for name, data in tokenized.items():
        encodings = data.as_encodings()
        if encodings is None:
            cached[name] = data
            continue
        cached[name] = add_features(
            model,
            encodings,
            compute=compute if name == "train" else compute.in_fp32(),
            on_progress=make_progress_reporter(listeners, f"running the frozen encoder over {name}", len(encodings)),
            on_note=warn,
        )
    return cached
