"""A number for each text or pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bertwright.data.example import Example
from bertwright.data.targets.rows import NUMBER
from bertwright.data.targets.spec import TargetSpec
from bertwright.metrics import REGRESSION, Outcome, OutcomeKind
from bertwright.nn.head_outputs import Scores
from bertwright.tasks.rejected_settings import LABEL_COLUMNS, LABEL_SEPARATOR, SAMPLING, RejectedSetting
from bertwright.tasks.sequence_tasks import SequenceTask
from bertwright.tasks.spec import Loss, Outputs, Prediction, round_prediction, targets_of
from bertwright.tasks.wording import TaskWording

if TYPE_CHECKING:
    from torch import Tensor

    from bertwright.nn.batch import Batch


class Regression(SequenceTask):
    """A number for each text or pair of texts."""

    outcome_kind: ClassVar[OutcomeKind] = REGRESSION
    target_spec: ClassVar[TargetSpec] = NUMBER
    wording: ClassVar[TaskWording] = TaskWording("predicts a number for a text or a pair of texts")
    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (LABEL_COLUMNS, LABEL_SEPARATOR, SAMPLING)
    problem_type: ClassVar[str | None] = "regression"
    predicts_distribution: ClassVar[bool] = False

    kind: Literal["regression"] = "regression"

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task itself: nothing about it depends on the training data."""
        return self

    @property
    def print_answer(self) -> str:
        """The last line of :meth:`usage_script`."""
        return "print(float(scores))"

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Squared error."""
        from torch.nn import functional

        total = functional.mse_loss(scores[:, 0], targets_of(batch).to(scores.dtype), reduction="sum")
        return Loss(total, float(len(batch)))

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """The mean value."""
        import torch

        return torch.stack(list(scores)).mean(0)

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """The number for each example."""
        values = np.asarray(outputs)[:, 0].tolist()
        return [Prediction(example.id, None, value) for example, value in zip(examples, values, strict=True)]

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``value``."""
        return {"value": [round_prediction(prediction.value or 0.0) for prediction in predictions]}

    @property
    def n_outputs(self) -> int:
        """One number."""
        return 1

    def _numbers(self, examples: Sequence[Example]) -> NDArray[Any]:
        return np.array([example.target for example in examples], dtype=np.float32)

    def outcome(self, outputs: Scores, targets: NDArray[Any]) -> Outcome:
        """Outputs and targets, as the metrics take them."""
        return Outcome(REGRESSION, targets, outputs[:, 0])
