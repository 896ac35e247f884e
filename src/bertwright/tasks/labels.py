"""The common part of tasks that predict labels, of a text or of each of its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bertwright.data.dataset import labels_of
from bertwright.data.example import Example
from bertwright.errors import DataError, did_you_mean
from bertwright.nn.head_outputs import Scores
from bertwright.tasks.spec import Task

if TYPE_CHECKING:
    from torch import Tensor

MIN_LABELS = 2
UNSEEN = 0.5
"""Added to the count of every label, so that a label without training rows has a probability above 0."""
Weight = Annotated[float, Field(gt=0)]


class Labelled(Task):
    """A task that predicts labels, with a score for each."""

    finds_label_errors: ClassVar[bool] = True

    labels: tuple[str, ...] | None = Field(
        default=None, description="The labels, in the order of their numbers. Null: those of the training data, sorted."
    )
    class_weights: dict[str, Weight] | Literal["balanced"] | None = Field(
        default=None,
        description='Weight of each label in the loss; "balanced": inverse to its frequency, 1 on average.',
    )

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [label for label, count in Counter(labels or ()).items() if count > 1]
        if twice:
            raise ValueError(f'must all differ; "{twice[0]}" is there more than once')
        return labels

    def _with_labels(self, labels: tuple[str, ...], counts: Mapping[str, int], n: int) -> Self:
        """Set these labels, if there are enough, and a weight for each; ``counts`` is how often each occurs among n."""
        if len(labels) < self._min_labels:
            existing = f'only "{labels[0]}"' if labels else "none"
            where = "task.labels" if self.labels else "the training data"
            raise DataError(f"{where}: it must have at least {self._min_labels} labels, but has {existing}.")
        weights = self.class_weights
        if weights == "balanced":
            # scikit-learn's formula, so that the mean weight of an example is 1
            weights = {name: self._balance_weight(counts.get(name, 0), n, len(labels)) for name in labels}
        elif weights is not None:
            for name in weights:
                if name not in labels:
                    raise DataError(f'task.class_weights: there is no label "{name}"; {did_you_mean(name, labels)}')
            weights = {name: weights.get(name, 1.0) for name in labels}
        return self.replace(labels=labels, class_weights=weights)

    @property
    def _names(self) -> tuple[str, ...]:
        if self.labels is None:
            raise DataError("task.labels: they are not known yet; set them, or call infer_from_data.")
        return self.labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, if they are known."""
        return self.labels or ()

    @property
    def n_outputs(self) -> int:
        """One score per label."""
        return len(self._names)

    @property
    def _min_labels(self) -> int:
        return MIN_LABELS

    @staticmethod
    def _balance_weight(count: int, n: int, n_labels: int) -> float:
        return n / (n_labels * max(count, 1))

    def initial_output_bias(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """The logarithms of the label frequencies, weighted by ``class_weights``, minus their mean."""
        counts = Counter(label for example in examples for label in labels_of(example.target))
        weights = self.class_weights if isinstance(self.class_weights, dict) else {}
        masses = np.array([(counts[name] + UNSEEN) * weights.get(name, 1.0) for name in self._names])
        smoothing = getattr(self, "label_smoothing", 0.0)
        logarithms = np.log((1 - smoothing) * masses / masses.sum() + smoothing / len(masses))
        return np.asarray(logarithms - logarithms.mean(), np.float32)

    def _number(self, label: str, example: Example, index: Mapping[str, int]) -> int:
        number = index.get(label)
        if number is None:
            raise DataError(
                f'{example.where or example.id}: the label "{label}" is not one of the {len(index)} that the model '
                f"knows; {did_you_mean(label, index)}"
            )
        return number

    def _weight_tensor(self, like: Tensor) -> Tensor | None:
        if not isinstance(self.class_weights, dict):
            return None
        return like.new_tensor([self.class_weights[name] for name in self._names])


def log_loss(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The negative log-likelihood of outcomes with these probabilities, in nats; at most 46 for impossible ones."""
    return np.asarray(-np.log(np.clip(probabilities, 1e-20, 1.0)))


def softmax(scores: Scores) -> NDArray[np.float64]:
    """Probabilities of labels that exclude each other, (B, L) → (B, L)."""
    exp = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    normalised: NDArray[np.float64] = exp / exp.sum(1, keepdims=True)
    return normalised
