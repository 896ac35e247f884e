"""The common part of tasks that predict a label, several labels or a number for a text or pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.data.example import Example
from bertwright.errors import DataError
from bertwright.metrics import (
    CLASSIFICATION,
    MAX_MATRIX_LABELS,
    REGRESSION,
    Outcome,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    confused_pairs,
    confusion_matrix,
    describe_collapse,
    per_class_metrics,
    predict_majority,
)
from bertwright.nn.head_outputs import HeadOutput, Scores
from bertwright.tasks.explained_outputs import ExplainedOutput, ExplanationRequest, all_sequences
from bertwright.tasks.formats.labels import LabelFormat
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.spec import DEFAULT_TOKENS, EvaluationResult, Outputs, Prediction, Task, as_scores, has_targets
from bertwright.tasks.usage_scripts import text_script
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle


class SequenceTask(Task):
    """A task with one sequence per example, the published head, and one row of scores per sequence."""

    former_names: ClassVar[Mapping[str, str]] = {"windows": "window_pooling"}

    head_kind: ClassVar[str] = "classification"

    window_pooling: Literal["mean", "max", "first"] = Field(
        default="mean",
        description="With tokens.truncation=windows, how the scores of the windows of a text are combined: their mean, "
        "the maximum of each label, or those of the first window. In training every window has the target of its text.",
    )

    @property
    def print_answer(self) -> str:
        """The last line of :meth:`usage_script`, which prints what ``scores`` mean."""
        raise NotImplementedError

    @property
    def prediction_format(self) -> PredictionFormat:
        """A row for each text."""
        return LabelFormat()

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers."""
        return text_script(directory, self.print_answer, max_length, pair)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP] where examples have a second text: one sequence each, or windows."""
        paired = [example for example in examples if example.text_pair is not None]
        if paired and len(paired) != len(examples):
            alone = next(example for example in examples if example.text_pair is None)
            raise DataError(
                f"{alone.where or alone.id}: it has no second text, but {len(paired)} of {len(examples)} others do; "
                "give all of them one, or none."
            )
        texts = [example.text for example in examples]
        pairs = [example.text_pair or "" for example in examples] if paired else None
        encodings = encode_with_cache(tokenizer, texts, pairs, tokens, on_note=on_note)
        targets = self._targets(examples)
        return encodings.with_targets(None if targets is None else targets[encodings.examples])

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The family's standard classification head."""
        from bertwright.nn.heads import ClassificationHead

        return ClassificationHead(config.width, self.n_outputs, style)

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> Scores:
        """The scores of each example, (B, C): those of its windows combined as ``window_pooling`` sets."""
        scores = as_scores(decoded)
        if len(encodings) == len(examples):
            return scores
        first_tokens_only = np.searchsorted(encodings.examples, np.arange(len(examples)))
        if self.window_pooling == "first":
            return scores[first_tokens_only]
        if self.window_pooling == "max":
            return np.maximum.reduceat(scores, first_tokens_only)
        counts = np.diff(np.append(first_tokens_only, len(scores)))
        return np.divide(np.add.reduceat(scores, first_tokens_only), counts[:, None], dtype=np.float32)

    def output_to_explain(
        self, request: ExplanationRequest, prediction: Prediction, encodings: Encodings, example: Example
    ) -> ExplainedOutput:
        """The score of a label, or the value."""
        request.refuse_word()
        n = len(encodings)
        target, quantity, score_of = self._score_to_explain(request.target, prediction)

        def compute(scores: Tensor) -> Tensor:
            return score_of(self._pool_windows(scores))

        notes: tuple[str, ...] = ()
        if n > 1:
            text = (
                f"the text is split into {n} windows, whose scores are combined (window_pooling: {self.window_pooling})"
            )
            notes = (f"{text}; a token's attribution is the sum of those in its windows",)
        return ExplainedOutput(target, quantity, all_sequences(n), compute, notes=notes)

    def _score_to_explain(
        self, target: str | None, prediction: Prediction
    ) -> tuple[str, str, Callable[[Tensor], Tensor]]:
        """Target and quantity of an explanation, and the function (K, C) → (K,) that computes it."""
        raise NotImplementedError

    def _pool_windows(self, scores: Tensor) -> Tensor:
        """Combine the scores of windows as :meth:`outputs` does: (K, W, C) → (K, C)."""
        if self.window_pooling == "first":
            return scores[:, 0]
        return scores.amax(1) if self.window_pooling == "max" else scores.mean(1)

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """Metrics; given the training data, with 95 % bootstrap intervals and the majority-class baseline."""
        outcome = self.to_outcome(outputs, examples)
        names = check_metrics(self.chosen_metrics, self.outcome_kind, len(outcome.labels) or None)
        labelled = self.outcome_kind != REGRESSION
        train_targets = None if train is None else self._targets(train)
        exclusive, few = self.outcome_kind == CLASSIFICATION, len(outcome.labels) <= MAX_MATRIX_LABELS
        return EvaluationResult(
            metrics=compute_metrics(names, outcome),
            intervals=bootstrap_intervals(names, outcome) if train is not None else {},
            baseline={} if train_targets is None else compute_metrics(names, predict_majority(train_targets, outcome)),
            per_class=per_class_metrics(outcome) if labelled else {},
            confusion=confusion_matrix(outcome).tolist() if exclusive and few else None,
            confused=confused_pairs(outcome) if exclusive and not few else [],
            collapsed=describe_collapse(outcome),
            n=len(outcome),
        )

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> Outcome:
        """Outputs and the targets of the examples."""
        targets = self._targets(examples)
        if targets is None:
            raise DataError("evaluation: the examples have no labels, so there is nothing to compare with.")
        return self.outcome(np.asarray(outputs), targets)

    def _targets(self, examples: Sequence[Example]) -> NDArray[Any] | None:
        """The targets of the examples as numbers; None if none has one."""
        return self._numbers(examples) if has_targets(examples) else None

    def _numbers(self, examples: Sequence[Example]) -> NDArray[Any]:
        raise NotImplementedError

    def outcome(self, outputs: Scores, targets: NDArray[Any]) -> Outcome:
        """Outputs and targets, as the metrics take them."""
        raise NotImplementedError
