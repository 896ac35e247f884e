"""How many steps fit into the time that somebody has."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from bertwright.config.duration import Duration, TimeBudget
from bertwright.data.dataset import Dataset
from bertwright.nn.model import Model
from bertwright.recipe import Recipe
from bertwright.run.plan import make_optimizer, make_order, make_plan
from bertwright.run.splits import Splits
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig
from bertwright.training.loop import Progress, Step, fit
from bertwright.training.model_building import make_loss_function
from bertwright.training.scoring import compute_outputs

STEPS, WARM = 6, 2
"""Steps that are made to measure speed, and how many of them do not count: the first ones compile and allocate."""

SEQUENCES = 256
"""Sequences that evaluation's speed is measured on."""


def plan_for_time_budget(
    recipe: Recipe, model: Model, splits: Splits, encoded: Mapping[str, TrainingData], compute: ComputeConfig
) -> tuple[Recipe, str]:
    """A recipe whose length is a time with steps in its place, and how they were worked out.

    Some steps are made with a copy of the model, which then goes; nothing else of the run is touched.

    Args:
        recipe: ``train.length`` is a :class:`~bertwright.config.duration.TimeBudget`.
        model: as training starts with it, on its device.
        splits: the rows of the run.
        encoded: the same by the name of their split.
        machine: with what it trains.
    """
    budget = recipe.train.length
    if not isinstance(budget, TimeBudget):
        return recipe, ""
    a_step, an_evaluation = measure_speed(recipe, model, splits, encoded, compute)
    per_epoch = make_plan(recipe, make_order(recipe, splits.train, encoded["train"]), compute).per_epoch
    every = recipe.train.evaluate_every.steps(per_epoch)
    # the last evaluation comes whatever its distance from the one before
    steps = max(1, int((budget.seconds - an_evaluation) / (a_step + an_evaluation / every)))
    text = (
        f"train.length: {budget} are {steps:,} steps ({steps / per_epoch:.2g} epochs): a step takes "
        f"{a_step:.3g} s, an evaluation every {every:,} of them about {an_evaluation:.2g} s"
    )
    return recipe.replace(train=recipe.train.replace(length=Duration(steps, "steps"))), text


def measure_speed(
    recipe: Recipe,
    model: Model,
    splits: Splits,
    encoded: Mapping[str, TrainingData],
    compute: ComputeConfig,
    most_seconds: float = math.inf,
) -> tuple[float, float]:
    """Seconds for a training step, and for an evaluation of all dev rows, measured with a copy of the model.

    Args:
        recipe: of the run.
        model: as training starts with it, on its device.
        splits: the rows of the run, or a sample of them.
        encoded: the same by the name of their split.
        machine: with what it trains.
        most_seconds: no further step is made after this time.
    """
    train = encoded["train"]
    shares = train.phase_shares
    total = 1000 * STEPS
    begins = [round(begin * total) for begin in accumulate(shares, initial=0.0)]
    trial = recipe.replace(train=recipe.train.replace(length=Duration(total, "steps")))
    plan = replace(make_plan(trial, make_order(trial, splits.train, train), compute), evaluate_every=0)
    twin = copy.deepcopy(model)
    progress = Progress(twin, make_optimizer(twin, recipe.train))
    loss_of = make_loss_function(recipe.task, twin.head)
    a_step = 0.0
    for share, begin in zip(shares, begins, strict=False):
        progress.step = begin
        seconds: list[float] = []
        for event in fit(progress, loss_of, train, plan):
            if isinstance(event, Step):
                seconds.append(event.seconds)
            if len(seconds) == STEPS or (seconds and sum(seconds) > most_seconds):
                break
        a_step += share * statistics.median(seconds[WARM:] or seconds[-1:])
    return a_step, sum(_evaluation(twin, recipe, rows, encoded[name], compute) for name, rows in splits.dev.items())


def _evaluation(model: Model, recipe: Recipe, rows: Dataset, data: TrainingData, compute: ComputeConfig) -> float:
    """Seconds that an evaluation takes, by its first part."""
    part, which = next(data.iterate_parts(SEQUENCES))
    began = time.perf_counter()
    compute_outputs(model, recipe.task, part, rows[which], compute=compute.in_fp32())
    return (time.perf_counter() - began) * len(data) / len(part)
