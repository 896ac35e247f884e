"""A number for each text or pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.config.sections import Section
from bertwright.data.example import Example
from bertwright.data.targets.rows import NUMBER
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError
from bertwright.metrics import REGRESSION, Outcome, OutcomeKind
from bertwright.metrics.charts import Chart
from bertwright.nn.head_outputs import Scores
from bertwright.tasks.evaluation_charts import chart_length, chart_residuals
from bertwright.tasks.explained_outputs import THE_VALUE
from bertwright.tasks.rejected_settings import LABEL_COLUMNS, LABEL_SEPARATOR, SAMPLING, RejectedSetting
from bertwright.tasks.schemas.spec import ServiceSchema
from bertwright.tasks.schemas.texts import NumberSchema
from bertwright.tasks.sequence_tasks import SequenceTask
from bertwright.tasks.spec import Loss, Outputs, Prediction, round_prediction, targets_of
from bertwright.tasks.wording import TaskWording

if TYPE_CHECKING:
    from torch import Tensor

    from bertwright.nn.batch import Batch


class TargetScale(Section):
    """Mean and standard deviation of the training targets."""

    mean: float = Field(description="Mean of the training targets.")
    deviation: float = Field(gt=0, description="Standard deviation of the training targets; 1 if all are equal.")

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Compute mean and standard deviation without overflow; float32 must be able to hold both."""
        array = np.array(values or [0.0], np.float64)
        largest = float(np.abs(array).max(initial=0.0)) or 1.0
        mean, deviation = (largest * float(value) for value in ((array / largest).mean(), (array / largest).std()))
        limits = np.finfo(np.float32)
        return cls(
            mean=mean, deviation=min(max(deviation, float(limits.tiny)), float(limits.max)) if deviation else 1.0
        )


class Regression(SequenceTask):
    """A number for each text or pair of texts."""

    outcome_kind: ClassVar[OutcomeKind] = REGRESSION
    target_spec: ClassVar[TargetSpec] = NUMBER
    wording: ClassVar[TaskWording] = TaskWording("predicts a number for a text or a pair of texts")
    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (LABEL_COLUMNS, LABEL_SEPARATOR, SAMPLING)
    problem_type: ClassVar[str | None] = "regression"
    # sentence-transformers' CrossEncoder would otherwise apply a sigmoid to the only output
    hf_settings: ClassVar[Mapping[str, Any]] = {
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}
    }
    predicts_distribution: ClassVar[bool] = False

    full_precision_output: ClassVar[bool] = True

    kind: Literal["regression"] = "regression"
    standardize: bool = Field(
        default=True,
        description="Standardize the targets in training: subtract their mean and divide by their standard deviation. "
        "The saved output layer includes both, so predictions have the unit of the targets.",
    )
    target_scale: TargetScale | None = Field(
        default=None, description="Mean and standard deviation of the training targets; null: computed from the data."
    )

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task with mean and standard deviation of the training targets, if it standardizes them."""
        if not self.standardize or self.target_scale is not None:
            return self
        values = [float(example.target) for example in examples if isinstance(example.target, int | float)]
        return self.replace(target_scale=TargetScale.of(values))

    @property
    def output_scale(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the training targets; None without standardization."""
        return None if self.target_scale is None else (self.target_scale.mean, self.target_scale.deviation)

    def without_output_scale(self) -> Self:
        """The task without standardization."""
        return self.replace(standardize=False, target_scale=None)

    def describe_large_targets(self, examples: Sequence[Example]) -> str | None:
        """Only targets that are not standardized can be too large."""
        return None if self.standardize else super().describe_large_targets(examples)

    @property
    def print_answer(self) -> str:
        """The last line of :meth:`usage_script`."""
        return "print(float(scores))"

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """A text or a pair of texts, and its number."""
        return NumberSchema(pair)

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Squared error, of standardized values if the targets are standardized."""
        errors = scores[:, 0] - targets_of(batch).to(scores.dtype)
        if self.target_scale is not None:
            errors = errors / self.target_scale.deviation
        return Loss(errors.square().sum(), float(len(batch)))

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """The mean value."""
        import torch

        return torch.stack(list(scores)).mean(0)

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """The number for each example."""
        values = np.asarray(outputs)[:, 0].tolist()
        return [Prediction(example.id, None, value) for example, value in zip(examples, values, strict=True)]

    def make_charts(self, outputs: Outputs, examples: Sequence[Example]) -> list[Chart]:
        """Residuals, and the score by text length."""
        return [*chart_residuals(self.to_outcome(outputs, examples)), *chart_length(self, outputs, examples)]

    def row_losses(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.float64]:
        """The squared error, in the unit of the targets."""
        outcome = self.to_outcome(outputs, examples)
        return np.asarray(np.square(outcome.predicted - outcome.gold))

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``value``."""
        return {"value": [round_prediction(prediction.value or 0.0) for prediction in predictions]}

    def _score_to_explain(
        self, target: str | None, prediction: Prediction
    ) -> tuple[str, str, Callable[[Tensor], Tensor]]:
        if target is not None:
            raise DataError("target: the model predicts one number, which is what is explained; remove it.")
        return THE_VALUE, "value", lambda scores: scores[:, 0]

    @property
    def n_outputs(self) -> int:
        """One number."""
        return 1

    def _numbers(self, examples: Sequence[Example]) -> NDArray[Any]:
        return np.array([example.target for example in examples], dtype=np.float32)

    def outcome(self, outputs: Scores, targets: NDArray[Any]) -> Outcome:
        """Outputs and targets, as the metrics take them."""
        return Outcome(REGRESSION, targets, outputs[:, 0])
