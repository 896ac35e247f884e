"""The training loop: a generator of events, whose consumers print, log, evaluate, save or stop.

The state is consistent between two events: a consumer can save it, or stop by not requesting the next event. The
randomness of a step is seeded from (seed, step), so a state is parameters, running means and a step number.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bertwright.errors import DivergenceError
from bertwright.nn.batch import Batch
from bertwright.nn.model import Model
from bertwright.tasks.spec import Loss
from bertwright.tokenization.batching import make_batcher, steps_per_epoch
from bertwright.tokenization.sampling import EpochOrder, Sliceable
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.averaging import WeightAverage
from bertwright.training.compute import ComputeConfig
from bertwright.training.optimizer import Optimizer
from bertwright.training.schedule import Schedule

LossFunction = Callable[[Tensor, Batch], Loss]


@dataclass(frozen=True)
class Step:
    """One optimizer step is done.

    Attributes:
        step: number of steps so far, including this one.
        epoch: number of epochs so far.
        loss: mean loss over the examples of the step.
        learning_rate: of the step.
        gradient_norm: L2 norm of the gradient before clipping.
        examples: number of examples in the step.
        tokens: number of tokens in the step.
        seconds: duration of the step.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    examples: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluate:
    """Request for an evaluation: every N steps, and after the last step."""

    step: int
    epoch: float


Event = Step | Evaluate


@dataclass
class Progress:
    """The mutable state of training, from which it can be continued exactly.

    Attributes:
        model: with its current parameters.
        optimizer: with its running means.
        step: number of steps so far.
        average: of the weights; None if they are not averaged.
    """

    model: Model
    optimizer: Optimizer
    step: int = 0
    average: WeightAverage | None = None


@dataclass(frozen=True)
class Plan:
    """The settings of a run as numbers of steps, computed from the recipe and the size of the data.

    Attributes:
        steps: optimizer steps of the run.
        order: the units (sequences or groups of them) that each epoch trains on.
        batch_size: units per step.
        max_tokens: maximum tokens per micro-batch.
        evaluate_every: steps between evaluations; 0 for one evaluation after the last step.
        schedule: step → factor of the learning rate.
        unfreeze_every: gradual unfreezing: steps after which one more layer trains, from the top; the head alone
            trains first. 0 disables it.
        seed: random seed of order and dropout.
        compute: device and precision.
    """

    steps: int
    order: EpochOrder
    batch_size: int
    max_tokens: int
    evaluate_every: int
    schedule: Schedule
    unfreeze_every: int = 0
    seed: int = 0
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    @property
    def per_epoch(self) -> int:
        """Steps per epoch."""
        return steps_per_epoch(self.order.size, self.batch_size)

    def evaluates_after(self, step: int) -> bool:
        """Whether the run evaluates after this step."""
        return step == self.steps or (self.evaluate_every > 0 and step % self.evaluate_every == 0)


def seed_step(seed: int, step: int, device: torch.device) -> None:
    """Seed torch for one step; consecutive steps have independent streams (SeedSequence of NumPy).

    The streams equal those of ``torch.manual_seed``. On the CPU the generator is seeded directly, because that function
    also records a traceback for every unused device: 0.5 ms, as long as a step of a head on a frozen encoder.
    """
    block, index = divmod(step, _BLOCK)
    number = _numbers(seed, block)[index]
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.manual_seed(number)


_BLOCK = 256


@lru_cache(maxsize=2)
def _numbers(seed: int, block: int) -> list[int]:
    """The seeds of a block of steps; computing them together takes a quarter of the time."""
    steps = range(block * _BLOCK, (block + 1) * _BLOCK)
    return [int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]) for step in steps]


def fit(progress: Progress, loss_of: LossFunction, data: TrainingData, plan: Plan) -> Iterator[Event]:
    """Train to the end of the plan, one event at a time.

    Args:
        progress: the state, which training changes.
        loss_of: scores and batch → summed loss; called in the precision of the step.
        data: encoded examples with targets, or what draws them for each step.
        plan: how long, how large, how fast.

    Yields:
        a :class:`Step` after every step, and an :class:`Evaluate` for every evaluation. Every step sets the model to
        training mode, also if the consumer has changed the mode.

    Raises:
        DivergenceError: the loss or the gradient is not finite; says at which step and what to do.
    """
    per_epoch = plan.per_epoch
    make_batches = make_batcher(data, plan.max_tokens, plan.seed)
    order: Sliceable = np.empty(0, dtype=np.int64)
    order_epoch = -1
    precision = plan.compute.autocast()
    trained = -1  # layers, where they begin to train one by one
    while progress.step < plan.steps:
        began = time.perf_counter()
        if plan.unfreeze_every and (n := progress.step // plan.unfreeze_every) != trained:
            trained = n
            progress.model.train_top_layers(n)
            progress.optimizer.zero()
        epoch, index = divmod(progress.step, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = plan.order.indices(epoch), epoch
        rows = order[index * plan.batch_size : (index + 1) * plan.batch_size]
        factor = plan.schedule(progress.step)
        pieces = [piece.to(plan.compute.device) for piece in make_batches(rows, progress.step)]
        loss, norm = _step(progress, loss_of, pieces, factor, plan, precision)
        progress.step += 1
        if progress.average is not None:
            progress.average.update(progress.step)
        done = progress.step / per_epoch
        yield Step(
            step=progress.step,
            epoch=done,
            loss=loss,
            learning_rate=progress.optimizer.learning_rate * factor,
            gradient_norm=norm,
            examples=len(rows),
            tokens=sum(piece.layout.n_tokens for piece in pieces),
            seconds=time.perf_counter() - began,
        )
        if plan.evaluates_after(progress.step):
            yield Evaluate(progress.step, done)


def _step(
    progress: Progress,
    loss_of: LossFunction,
    pieces: list[Batch],
    factor: float,
    plan: Plan,
    precision: contextlib.AbstractContextManager[object],
) -> tuple[float, float]:
    """Forward and backward over the micro-batches, then one update; (mean loss, gradient norm)."""
    seed_step(plan.seed, progress.step, plan.compute.device)
    model = progress.model
    if not model.training:
        model.train()
    total, count = 0.0, 0.0
    for piece in pieces:
        with precision:
            loss = loss_of(model(piece), piece)
        loss.total.backward()
        total += float(loss.total.detach())
        count += float(loss.count)
    where = f"step {progress.step + 1}"
    if not math.isfinite(total) or count <= 0:
        raise DivergenceError(
            f"{where}: the loss is {total / count if count else total}",
            f"lower train.learning_rate (now {progress.optimizer.learning_rate:g}), lengthen train.warmup, or set "
            "train.precision=fp32",
        )
    try:
        norm = progress.optimizer.step(factor, count, [piece.ids for piece in pieces])
    except DivergenceError as error:
        raise DivergenceError(f"{where}: {error.problem}", error.remedy) from None
    return total / count, norm
