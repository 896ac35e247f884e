"""The history of a run: evaluations, best evaluation, and cost; saved with its state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any, Self

from pydantic import BaseModel, TypeAdapter

from bertwright.metrics import METRICS
from bertwright.run.collapse_advice import LossTrend
from bertwright.run.report import Evaluation, Number
from bertwright.training.loop import Evaluate, Step

_FORMER_KEYS = {"waited": "evaluations_without_improvement"}
"""Keys in states that earlier versions saved → current keys."""


class _Best(BaseModel):
    """:attr:`History.best` after at least one evaluation."""

    metric: str
    value: Number
    step: int
    epoch: float


@dataclass
class History:
    """Evaluations so far, the best one, and the cost of training.

    Attributes:
        evaluations: step, epoch and metrics of each.
        best: metric, value, step and epoch of the best one.
        evaluations_without_improvement: number of evaluations since the best metric improved, for early stopping.
        seconds: duration of all training steps.
        examples: number of training examples so far.
        tokens: number of training tokens so far.
        trend: of the training loss.
        loss_sum: sum of the training losses since the last evaluation.
        loss_steps: number of steps since the last evaluation.
        collapsed: the steps after which all predictions were equal.
    """

    evaluations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    evaluations_without_improvement: int = 0
    seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    trend: LossTrend = field(default_factory=LossTrend)
    loss_sum: float = 0.0
    loss_steps: int = 0
    collapsed: list[int] = field(default_factory=list)

    @property
    def has_collapsed(self) -> bool:
        """Whether all predictions of the best weights are equal."""
        return self.best.get("step") in self.collapsed

    @property
    def steps(self) -> set[int]:
        """The steps after which the model was evaluated."""
        return {evaluation["step"] for evaluation in self.evaluations}

    def add_step(self, step: Step) -> None:
        """Count one step."""
        self.seconds += step.seconds
        self.examples += step.examples
        self.tokens += step.tokens
        self.trend.add(step)
        self.loss_sum += step.loss
        self.loss_steps += 1

    @property
    def train_loss(self) -> float | None:
        """The mean training loss since the last evaluation; None if there was no step."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def add_evaluation(
        self,
        event: Evaluate,
        metrics: dict[str, float],
        by: str,
        validation_loss: float | None = None,
        counts: bool = True,
    ) -> bool:
        """Record an evaluation, and return whether its weights are the best so far by the metric ``by``.

        Of equal values the later one is best: on a small dev split, a hardly trained model may reach the maximum after
        one epoch. Only a better value resets the early stopping patience; another one does not count for it unless
        ``counts``.
        """
        better = not self.best or METRICS[by].improves(metrics[by], self.best["value"])
        if better:
            self.evaluations_without_improvement = 0
        elif counts:
            self.evaluations_without_improvement += 1
        # while the metric is undefined (nan), the latest weights are the best
        is_best = better or metrics[by] == self.best["value"] or isnan(self.best["value"])
        if is_best:
            self.best = {"metric": by, "value": metrics[by], "step": event.step, "epoch": event.epoch}
        losses = {"train_loss": self.train_loss, "validation_loss": validation_loss}
        self.evaluations.append({"step": event.step, "epoch": event.epoch, "metrics": metrics, **losses})
        self.loss_sum, self.loss_steps = 0.0, 0
        return is_best

    def to_dict(self) -> dict[str, Any]:
        """The history as values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The history that :meth:`to_dict` wrote.

        Raises:
            pydantic.ValidationError: a value has the wrong type.
        """
        current = {_FORMER_KEYS.get(key, key): value for key, value in values.items()}
        history = TypeAdapter(cls).validate_python(current)
        history.evaluations = [Evaluation.model_validate(each).model_dump() for each in history.evaluations]
        history.best = _Best.model_validate(history.best).model_dump() if history.best else {}
        return history
