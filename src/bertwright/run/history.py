"""What a run remembers of itself beside its weights, also across a stop."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any, Self

from pydantic import BaseModel, TypeAdapter

from bertwright.metrics import METRICS
from bertwright.run.collapse_advice import LossTrend
from bertwright.run.report import Evaluation, Number
from bertwright.training.loop import Evaluate, Step


class _Best(BaseModel):
    """:attr:`History.best` after at least one evaluation."""

    metric: str
    value: Number
    step: int
    epoch: float


@dataclass
class History:
    """Evaluations so far, the best one, and what training has cost.

    Attributes:
        evaluations: step, epoch and metrics of each.
        best: metric, value, step and epoch of the best one.
        waited: evaluations since one was better than all before.
        seconds: spent in steps.
        examples: seen in them.
        tokens: seen in them.
        trend: of the training loss.
        loss_sum: of the training losses since the last evaluation.
        loss_steps: how many these are.
    """

    evaluations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    waited: int = 0
    seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    trend: LossTrend = field(default_factory=LossTrend)
    loss_sum: float = 0.0
    loss_steps: int = 0

    @property
    def steps(self) -> set[int]:
        """The steps after which there was an evaluation."""
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
        """The mean training loss since the last evaluation; None where there was no step."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def add_evaluation(
        self, event: Evaluate, metrics: dict[str, float], by: str, validation_loss: float | None = None
    ) -> bool:
        """Remember an evaluation; whether its weights are to be kept by the metric ``by``.

        Of equals the later weights are kept: small dev sets are often answered wholly right after an epoch, by a model
        that has hardly learned. Only what is better resets the patience.
        """
        better = not self.best or METRICS[by].improves(metrics[by], self.best["value"])
        self.waited = 0 if better else self.waited + 1
        # a metric that has not been defined yet (nan) speaks for no weights, so the latest ones are kept
        kept = better or metrics[by] == self.best["value"] or isnan(self.best["value"])
        if kept:
            self.best = {"metric": by, "value": metrics[by], "step": event.step, "epoch": event.epoch}
        losses = {"train_loss": self.train_loss, "validation_loss": validation_loss}
        self.evaluations.append({"step": event.step, "epoch": event.epoch, "metrics": metrics, **losses})
        self.loss_sum, self.loss_steps = 0.0, 0
        return kept

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The history that :meth:`to_dict` wrote.

        Raises:
            pydantic.ValidationError: a value has the wrong type.
        """
        history = TypeAdapter(cls).validate_python(values)
        history.evaluations = [Evaluation.model_validate(each).model_dump() for each in history.evaluations]
        history.best = _Best.model_validate(history.best).model_dump() if history.best else {}
        return history
