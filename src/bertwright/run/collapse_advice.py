"""Advice for collapsed, diverged and overfitting runs, from losses, labels and learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bertwright.config.yaml_tree import format_number
from bertwright.data.example import Example
from bertwright.errors import DivergenceError
from bertwright.run.report import show_loss
from bertwright.tasks.spec import Task
from bertwright.training.loop import Step
from bertwright.training.settings import TrainSettings

SMOOTHING = 0.9
"""Losses are compared as running means over about 10 steps."""

FIRST_STEPS = 3
"""The loss at the start is the mean of the first steps."""

FLAT = 0.95
"""A loss that is still above this share of the loss at the start has hardly changed."""

FELL = 0.8
"""A loss below this share of the loss at the start has fallen; a later rise by half of that is a jump."""

DIVERGED = 1.5
"""A loss above this multiple of the loss at the start has diverged, even if it falls again later."""

USUAL_RATE, USUAL_HEAD_RATE = 2e-5, 1e-3
"""Learning rates that work for most models: of an encoder (Devlin et al. 2018), of a head on a frozen encoder."""

TINY, HIGH = 0.2, 5.0
"""A learning rate below or above this multiple of the usual one is tiny or high."""

RISE = 1.02
"""The validation loss rises when it exceeds its minimum by 2 %; less is noise."""


@dataclass
class LossTrend:
    """The training loss so far, as a running mean, so that single batches have little influence.

    Attributes:
        steps: number of training steps so far.
        start: mean loss of the first :data:`FIRST_STEPS` steps.
        weighted: sum of the losses; the weight of each step is :data:`SMOOTHING` times that of the next.
        weight: sum of those weights.
        lowest: the lowest running mean.
        highest: the highest running mean.
        rate: the highest learning rate.
    """

    steps: int = 0
    start: float = 0.0
    weighted: float = 0.0
    weight: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    rate: float = 0.0

    def add(self, step: Step) -> None:
        """Count one step."""
        self.steps += 1
        if self.steps <= FIRST_STEPS:
            self.start += (step.loss - self.start) / self.steps
        self.weighted = SMOOTHING * self.weighted + step.loss
        self.weight = SMOOTHING * self.weight + 1
        before = self.steps > FIRST_STEPS
        self.lowest = min(self.lowest, self.latest) if before else self.latest
        self.highest = max(self.highest, self.latest) if before else self.latest
        self.rate = max(self.rate, step.learning_rate)

    @property
    def latest(self) -> float:
        """The current running mean."""
        return self.weighted / self.weight if self.weight else 0.0

    @property
    def has_jumped(self) -> bool:
        """Whether the loss diverged, or fell and then rose again by at least half of that."""
        fell = self.lowest < FELL * self.start
        return self.highest > DIVERGED * self.start or (fell and self.latest > (self.lowest + self.start) / 2)


def advise_on_collapse(
    task: Task, settings: TrainSettings, trend: LossTrend, train: Sequence[Example], trains_encoder: bool
) -> str:
    """What to change if all predictions are the same.

    Args:
        task: of the run.
        settings: the recipe's training section.
        trend: of the training loss so far.
        train: the training rows.
        trains_encoder: whether the weights of the encoder are trained; a head alone needs higher learning rates.
    """
    if (text := task.describe_large_targets(train)) is not None:
        return text
    rate = settings.peak_learning_rate
    factor = max(1.0, (settings.head_learning_rate or 0.0) / rate)
    usual = USUAL_RATE if trains_encoder else USUAL_HEAD_RATE
    losses = f"{trend.start:.4g} at the start, {trend.latest:.4g} now"
    flat = trend.latest > FLAT * trend.start
    if flat and trend.rate * factor < TINY * usual and not trend.has_jumped:
        if rate * factor >= TINY * usual:
            return (
                f"the loss has hardly changed ({losses}), and the learning rate has been at most "
                f"{format_number(float(f'{trend.rate:.3g}'))} so far; shorten train.warmup or train longer"
            )
        return (
            f"the loss has hardly changed ({losses}) at a tiny learning rate; raise train.learning_rate "
            f"(now {format_number(rate)}; {format_number(usual)} is usual) or train longer"
        )
    if trend.has_jumped:
        return (
            f"the loss jumped ({trend.start:.4g} at the start, between {trend.lowest:.4g} and {trend.highest:.4g} "
            f"since, {trend.latest:.4g} now); lower train.learning_rate (now {format_number(rate)}) "
            "or lengthen train.warmup"
        )
    if (text := task.target_spec.describe_imbalance(train)) is not None:
        return text
    if not flat:
        return f"the loss is falling ({losses}); train longer"
    if trend.rate * factor > HIGH * usual:
        return (
            f"the loss has hardly changed ({losses}) at a high learning rate; lower train.learning_rate "
            f"(now {format_number(rate)}; {format_number(usual)} is usual)"
        )
    return f"the loss has hardly changed ({losses}); train longer, or try another seed or train.learning_rate"


def warn_of_large_targets(task: Task, train: Sequence[Example]) -> list[str]:
    """A warning before training starts if regression targets are far from 0; else an empty list."""
    text = task.describe_large_targets(train)
    return [] if text is None else [f"train: {text}"]


@contextmanager
def advise_on_divergence(task: Task, train: Sequence[Example]) -> Iterator[None]:
    """Name large regression targets as the cause of a divergence error inside the context, if the targets are large.

    Raises:
        DivergenceError: the same problem, with advice that fits the data.
    """
    try:
        yield
    except DivergenceError as error:
        text = task.describe_large_targets(train)
        if text is None:
            raise
        raise DivergenceError(error.problem, text) from error


def describe_overfitting(evaluations: Sequence[Mapping[str, Any]], refits: bool = False) -> str | None:
    """A note on overfitting if the validation loss started to rise at the last evaluation; else None.

    The training loss must have fallen meanwhile. A run gets the note once.

    Args:
        evaluations: each with its ``step``, ``train_loss`` and ``validation_loss``, which may be missing or None.
        refits: whether the run saves the weights of a second training instead of those of the best evaluation.
    """
    losses = [(entry["step"], entry.get("train_loss"), entry.get("validation_loss")) for entry in evaluations]
    points = [
        (step, train_loss, loss)
        for step, train_loss, loss in losses
        if train_loss is not None and loss is not None and math.isfinite(train_loss + loss)
    ]
    rising = [i for i in range(1, len(points)) if _rises(points[: i + 1])]
    if rising != [len(points) - 1] or not points or points[-1][0] != evaluations[-1]["step"]:
        return None
    step, train_loss, lowest = min(points[:-1], key=lambda point: point[2])
    _, train_now, now = points[-1]
    validation = f"{show_loss(lowest)} at step {step:,}, {show_loss(now)} now"
    training = f"{show_loss(train_loss)}, {show_loss(train_now)} now"
    return (
        f"the validation loss rises ({validation}) while the training loss falls ({training}): the model overfits; "
        "use more data, fewer epochs or train.patience"
        + ("" if refits else "; the run keeps the weights of the best evaluation")
    )


def _rises(points: Sequence[tuple[int, float, float]]) -> bool:
    """Whether the last point's validation loss is above the lowest before it, and its training loss below."""
    _, train_loss, lowest = min(points[:-1], key=lambda point: point[2])
    return points[-1][2] > RISE * lowest and points[-1][1] < train_loss
