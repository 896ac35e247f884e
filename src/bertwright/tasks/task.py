"""What a task is: everything special about one kind of prediction, as a value without parameters.

torch is imported where it is used, so that a recipe can be read and checked without loading it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from bertwright.config import Section
from bertwright.text.encodings import Encodings
from bertwright.text.example import Example
from bertwright.text.tokenizer import Tokenizer
from bertwright.text.truncation import Truncation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Loss:
    """A summed loss and what to divide it by, so that any split of a batch gives the same gradient.

    Attributes:
        total: scalar with a gradient.
        count: how much the total is the sum of: examples, or their weights.
    """

    total: Tensor
    count: Tensor | float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a user wants back for one example.

    Attributes:
        id: of the example.
        label: the label; for multi-label all that hold; None for regression.
        value: the number; None for labels.
        probabilities: by label; empty for regression.
    """

    id: str
    label: str | tuple[str, ...] | None = None
    value: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """How good predictions are.

    Attributes:
        metrics: by name.
        intervals: 95 % bootstrap intervals by name.
        baseline: the same metrics when always answering what is commonest in the training data; empty if not known.
        per_class: by label: precision, recall, f1, support.
        confusion: (gold, predicted) counts, or None where labels do not exclude each other.
        collapsed: what to tell the user if all predictions are the same though the gold is not.
        n: examples measured.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baseline: dict[str, float]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]] | None
    collapsed: str | None
    n: int


class Task(Section):
    """One kind of prediction. Subclasses add the fields that configure it and the methods that do it."""

    kind: str

    def learned_from(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task with what only the training data can tell filled in, such as the labels.

        Args:
            examples: the training data.
            labels: the labels in the order in which its source declares them, if it does.

        Raises:
            DataError: there is nothing to learn, such as a single label.
        """
        raise NotImplementedError

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        max_length: int = 128,
        truncation: Truncation = "longest_first",
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """Examples as sequences of ids, with targets where the examples have them.

        Args:
            examples: what to encode.
            tokenizer: the encoder's.
            max_length: the most tokens of a sequence, special tokens included.
            truncation: what gives way in longer ones.
            on_note: called with what a user should know, such as a damaged cache.

        Raises:
            DataError: a target that the task does not know.
        """
        raise NotImplementedError

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """A fresh head for this task on such an encoder."""
        raise NotImplementedError

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """The summed loss of a batch's scores."""
        raise NotImplementedError

    def decode(self, scores: Scores, encodings: Encodings, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of the examples."""
        raise NotImplementedError

    def measure(
        self, scores: Scores, encodings: Encodings, examples: Sequence[Example], learned: Encodings | None = None
    ) -> Measured:
        """How good scores are beside the targets in ``encodings``.

        Args:
            scores: of every sequence.
            encodings: the sequences, with targets.
            examples: what they were made from.
            learned: the training data; given, intervals and the baseline are worked out too.
        """
        raise NotImplementedError

    @property
    def targets_hold(self) -> str:
        """What the rows' targets are, in the reader's words: classification, multilabel or regression."""
        raise NotImplementedError

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The metrics to compute; the first one chooses the best checkpoint."""
        raise NotImplementedError
