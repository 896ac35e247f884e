"""Conversion of a time limit to a number of steps, from the measured speed."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from bertwright.config.duration import Duration, TimeBudget
from bertwright.data.example import Example
from bertwright.nn.model import Model
from bertwright.output.plurals import pluralize
from bertwright.recipe import Recipe
from bertwright.run.plan import make_optimizer, make_order, make_plan
from bertwright.run.splits import Splits
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig
from bertwright.training.loop import Progress, Step, fit
from bertwright.training.model_building import make_loss_function
from bertwright.training.scoring import compute_outputs

MEASURED_STEPS, WARMUP_STEPS = 6, 2
"""Steps to measure the speed, and how many of them are ignored, because the first ones compile and allocate."""

EVALUATED_SEQUENCES = 256
"""Number of sequences on which the speed of evaluation is measured."""


def plan_for_time_budget(
    recipe: Recipe, model: Model, splits: Splits, encoded: Mapping[str, TrainingData], compute: ComputeConfig
) -> tuple[Recipe, str]:
    """Replace a training length given as a time by a number of steps; return the recipe and an explanation.

    The speed is measured with a copy of the model, so that the run itself is unaffected.

    Args:
        recipe: ``train.length`` is a :class:`~bertwright.config.duration.TimeBudget`.
        model: at the start of training, on its device.
        splits: the rows of the run.
        encoded: the tokenized rows by the name of their split.
        compute: device, precision and threads of the run.
    """
    budget = recipe.train.length
    if not isinstance(budget, TimeBudget):
        return recipe, ""
    seconds_per_step, seconds_per_evaluation = measure_speed(recipe, model, splits, encoded, compute)
    per_epoch = make_plan(recipe, make_order(recipe, splits.train.examples, encoded["train"]), compute).per_epoch
    every = recipe.train.evaluate_every.steps(per_epoch)
    # the run always evaluates after the last step
    steps = max(1, int((budget.seconds - seconds_per_evaluation) / (seconds_per_step + seconds_per_evaluation / every)))
    text = (
        f"train.length: {budget} allow {pluralize(steps, 'step')} ({steps / per_epoch:.2g} epochs): "
        f"{seconds_per_step:.3g} s per step, about {seconds_per_evaluation:.2g} s per evaluation every "
        f"{pluralize(every, 'step')}"
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
    """Measure, with a copy of the model, the seconds of a training step and of an evaluation of all dev rows.

    Args:
        recipe: of the run.
        model: at the start of training, on its device.
        splits: the rows of the run, or a sample of them.
        encoded: the tokenized rows by the name of their split.
        compute: device, precision and threads of the run.
        most_seconds: the measurement stops after this time.
    """
    train = encoded["train"]
    shares = train.phase_shares
    total = 1000 * MEASURED_STEPS
    begins = [round(begin * total) for begin in accumulate(shares, initial=0.0)]
    trial = recipe.replace(train=recipe.train.replace(length=Duration(total, "steps")))
    plan = replace(make_plan(trial, make_order(trial, splits.train.examples, train), compute), evaluate_every=0)
    copied = copy.deepcopy(model)
    progress = Progress(copied, make_optimizer(copied, recipe.train))
    loss_of = make_loss_function(recipe.task, copied.head)
    seconds_per_step = 0.0
    for share, begin in zip(shares, begins, strict=False):
        progress.step = begin
        seconds: list[float] = []
        for event in fit(progress, loss_of, train, plan):
            if isinstance(event, Step):
                seconds.append(event.seconds)
            if len(seconds) == MEASURED_STEPS or (seconds and sum(seconds) > most_seconds):
                break
        seconds_per_step += share * statistics.median(seconds[WARMUP_STEPS:] or seconds[-1:])
    evaluations = (
        _time_evaluation(copied, recipe, split.examples, encoded[name], compute) for name, split in splits.dev.items()
    )
    return seconds_per_step, sum(evaluations)


def _time_evaluation(
    model: Model, recipe: Recipe, rows: Sequence[Example], data: TrainingData, compute: ComputeConfig
) -> float:
    """Estimated seconds of an evaluation, from the time of its first part."""
    part, which = next(data.iterate_parts(EVALUATED_SEQUENCES))
    started = time.perf_counter()
    compute_outputs(model, recipe.task, part, rows[which], compute=compute.in_fp32())
    return (time.perf_counter() - started) * len(data) / len(part)
