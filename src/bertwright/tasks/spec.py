"""What a task is: everything special about one kind of prediction, as a value without parameters.

torch is imported where it is used, so that a recipe can be read and checked without loading it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.config.sections import Section
from bertwright.data.example import Example
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError
from bertwright.metrics import DEFAULT_METRICS, AnyOutcome, OutcomeKind
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle

Scores = NDArray[np.float32]

DIGITS = 6
"""Significant digits of what is predicted: float32 has hardly more."""

Outputs = NDArray[Any] | list[Any]
"""What a task makes of scores, with an entry for each example."""

DEFAULT_TOKENS = TokenSettings()


@dataclass(frozen=True, slots=True)
class Loss:
    """A summed loss and what to divide it by, so that any split of a batch gives the same gradient.

    Attributes:
        total: scalar with a gradient.
        count: how much the total is the sum of: examples, or their weights.
    """

    total: Tensor
    count: Tensor | float


class PredictedSpan(NamedTuple):
    """A piece of a text that answers a question, or that a name tags.

    Attributes:
        text: the piece itself, as the text has it.
        start: its first character, counted from 0.
        end: the character after its last.
        label: what it is, for tagging.
        score: how sure the model is, 0 to 1.
    """

    text: str
    start: int
    end: int
    label: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a user wants back for one example.

    Attributes:
        id: of the example.
        label: the label; for multi-label all that hold; for multiple choice the text of the choice; None for others.
        value: the number; None for other tasks than regression.
        probabilities: by label, or by the position of a choice; empty for tasks without labels of the whole text.
        tags: for tagging, the tag of every word.
        spans: for tagging, what the tags mark; for question answering the likeliest answers, the best first.
        answer: for question answering, the answer; "" where the text has none.
        null_odds: for question answering, how much better no answer scores than the best one.
        choice: for multiple choice, the position of the choice, counted from 0.
    """

    id: str
    label: str | tuple[str, ...] | None = None
    value: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] | None = None
    spans: tuple[PredictedSpan, ...] = ()
    answer: str | None = None
    null_odds: float | None = None
    choice: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """How good predictions are.

    Attributes:
        metrics: by name.
        intervals: 95 % bootstrap intervals by name.
        baseline: the same metrics when always answering what is commonest in the training data; empty if not known.
        per_class: by label: precision, recall, f1, support.
        confusion: (gold, predicted) counts, or None where labels do not exclude each other or are too many.
        collapsed: what to tell the user if all predictions are the same though the gold is not.
        n: examples measured.
        confused: where there are too many labels for ``confusion``, the most confused pairs:
            (gold, predicted, how often).
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baseline: dict[str, float]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]] | None
    collapsed: str | None
    n: int
    confused: list[tuple[str, str, int]] = field(default_factory=list)


class Task(Section):
    """One kind of prediction. Subclasses add the fields that configure it and the methods that do it."""

    outcome_kind: ClassVar[OutcomeKind]
    """What the rows' targets are, in the words of the reader and of the metrics."""

    target_spec: ClassVar[TargetSpec]
    """How the rows of this task are read, checked and split."""

    head_kind: ClassVar[str]
    """Whose published head it has: a key of :attr:`bertwright.weights.families.Family.heads`."""

    scores_tokens: ClassVar[bool] = False
    """Whether its head scores every token, rather than every sequence."""

    kind: str

    metrics: tuple[str, ...] | None = Field(
        default=None,
        description="What to measure, by name; the first chooses the best checkpoint. Null: the kind's own.",
    )

    def learned_from(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task with what only the training data can tell filled in, such as the labels.

        Args:
            examples: the training data.
            labels: the labels in the order in which its source declares them, if it does.

        Raises:
            DataError: there is nothing to learn, such as a single label.
        """
        raise NotImplementedError

    def adapt_tokens(self, tokens: TokenSettings) -> TokenSettings:
        """The settings of tokenization that the task uses in place of these.

        Raises:
            RecipeError: the task cannot use them.
        """
        return tokens.replace(truncation="windows") if self.target_spec.reads_windows else tokens

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """Examples as sequences of ids, with targets where the examples have them.

        Args:
            examples: what to encode.
            tokenizer: the encoder's.
            tokens: how long sequences may be, and what becomes of longer ones.
            on_note: called with what a user should know, such as a damaged cache.

        Raises:
            DataError: a target that the task does not know.
        """
        raise NotImplementedError

    @property
    def published_head(self) -> str:
        """Whose published head it has, where its settings decide: :attr:`head_kind` for most."""
        return self.head_kind

    @property
    def n_outputs(self) -> int:
        """The scores that a head gives for each sequence or token."""
        raise NotImplementedError

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The family's standard head for this task, fresh."""
        raise NotImplementedError

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """The summed loss of a batch's scores."""
        raise NotImplementedError

    def outputs(self, scores: Scores, encodings: Encodings, examples: Sequence[Example]) -> Outputs:
        """What the model says of each example, its windows put together: small, where scores may be large.

        Args:
            scores: of every sequence (B, C) or token (N, C) of ``encodings``.
            encodings: of the examples, in their order.
            examples: what they were made from.
        """
        raise NotImplementedError

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of the examples."""
        raise NotImplementedError

    def measure(
        self, outputs: Outputs, examples: Sequence[Example], learned: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """How good outputs are beside the examples' targets.

        Args:
            outputs: of every example.
            examples: with targets.
            learned: the training data; given, intervals and the baseline are worked out too.

        Raises:
            DataError: the examples have no targets.
        """
        raise NotImplementedError

    def judged(self, outputs: Outputs, examples: Sequence[Example]) -> AnyOutcome:
        """Outputs beside the examples' targets, as metrics and their tests take them.

        Raises:
            DataError: the examples have no targets.
        """
        raise NotImplementedError

    def official_files(self, outputs: Outputs, examples: Sequence[Example]) -> dict[str, str]:
        """The files that a benchmark wants predictions in, by name, with what they hold; none for most tasks."""
        return {}

    def tuned(self, outputs: Outputs, examples: Sequence[Example]) -> tuple[Self, list[str]]:
        """The task with what is chosen by dev rows once training is over, and what to tell the user of it.

        Args:
            outputs: of every example.
            examples: of the first dev split.
        """
        return self, []

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """Predictions as columns of a table, a row each; without predictions the names alone."""
        raise NotImplementedError

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The recipe's metrics, or the kind's own; the first one chooses the best checkpoint."""
        return self.metrics or DEFAULT_METRICS[self.outcome_kind]


def rounded(value: float) -> float:
    """A predicted number without the digits that mean nothing."""
    return float(f"{value:.{DIGITS}g}")


def has_targets(examples: Sequence[Example]) -> bool:
    """Whether the examples have targets: all of them, or none.

    Raises:
        DataError: some have one and others do not.
    """
    without = [example for example in examples if example.target is None]
    if without and len(without) < len(examples):
        raise DataError(
            f"{without[0].where or without[0].id}: it has no label, but {len(examples) - len(without)} other "
            "examples have; label every row, or remove those without."
        )
    return len(without) < len(examples)


def targets_of(batch: Batch) -> Tensor:
    """What is to be learnt from a batch.

    Raises:
        DataError: it has no targets.
    """
    if batch.targets is None:
        raise DataError("training: the examples have no labels, so there is nothing to learn from.")
    return batch.targets
