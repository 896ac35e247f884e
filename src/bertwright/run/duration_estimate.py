"""Estimates the duration of a run from a few training steps with a sample of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.recipe import Recipe
from bertwright.run.splits import SplitData, Splits
from bertwright.run.stages import build_recipe_model
from bertwright.run.time_budget import EVALUATED_SEQUENCES, measure_speed
from bertwright.training.compute import ComputeConfig
from bertwright.training.frozen_features import is_frozen
from bertwright.training.loop import Plan
from bertwright.weights.pretrained import Pretrained

ENOUGH_SECONDS = 20.0
"""Seconds after which the measurement stops, so that `check` stays fast with a large model."""

HEAD_SECONDS = 1e-3
"""Approximate seconds of a step or an evaluation if a head is trained on cached features of a frozen encoder."""

SAMPLED_STEPS = 8
"""Number of batches in the sample."""


@dataclass(frozen=True)
class DurationEstimate:
    """The estimated duration of a run on this machine.

    Attributes:
        step: seconds for a training step.
        evaluation: seconds for an evaluation of all dev rows.
        total: seconds for the whole run.
    """

    step: float
    evaluation: float
    total: float


def estimate_duration(
    recipe: Recipe, base: Pretrained, splits: Splits, compute: ComputeConfig, plan: Plan
) -> DurationEstimate:
    """Train a few steps and evaluate a sample, without writing files.

    If the features of a frozen encoder are cached, the encoder processes every row once, for any number of epochs.

    Args:
        recipe: resolved by :func:`~bertwright.run.resolve.resolve_recipe`.
        base: the encoder that the run starts from.
        splits: the rows of the run.
        compute: device, precision and threads.
        plan: of the run.

    Raises:
        BertwrightError: the model cannot be built, or a row cannot be encoded.
    """
    sample = replace(
        splits,
        train=_sample(splits.train, SAMPLED_STEPS * recipe.train.examples_per_step),
        dev={name: _sample(rows, EVALUATED_SEQUENCES) for name, rows in splits.dev.items()},
        test={},
    )
    encoded = sample.encode(recipe.task, base.tokenizer, recipe.tokens)
    encoded["train"] = encoded["train"].with_known_targets()
    if isinstance(recipe.model.head, str):  # the estimate does not run Python code of the recipe
        recipe = recipe.replace(model=recipe.model.replace(head=None))
    model, _ = build_recipe_model(recipe, base, None)
    model.freeze(recipe.model.freeze).to(compute.device)
    # a sample may contain a single label, which cannot be balanced
    plain = recipe.replace(train=recipe.train.replace(sampling="all"))
    step, evaluation = measure_speed(plain, model, sample, encoded, compute, ENOUGH_SECONDS)
    if sampled := sum(len(rows.examples) for rows in sample.dev.values()):
        evaluation *= sum(len(rows.examples) for rows in splits.dev.values()) / sampled
    evaluations = count_evaluations(plan)
    if recipe.train.cache_features and is_frozen(model):
        features = step * min(plan.steps, plan.per_epoch) + evaluation
        return DurationEstimate(step, evaluation, features + HEAD_SECONDS * (plan.steps + evaluations))
    return DurationEstimate(step, evaluation, step * plan.steps + evaluation * evaluations)


def count_evaluations(plan: Plan) -> int:
    """Number of evaluations of a run: every N steps, and after the last step."""
    return -(-plan.steps // plan.evaluate_every) if plan.evaluate_every else 1


def _sample(rows: SplitData, n: int) -> SplitData:
    """At most ``n`` rows, spread over the source; a corpus is not sampled, because it is already tokenized."""
    if isinstance(rows, CorpusSplit) or len(rows) <= n:
        return rows
    places: Sequence[int] = np.linspace(0, len(rows) - 1, n).astype(int).tolist()
    return rows.take(places)
