"""Multiple choice: which of several texts goes with a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bertwright.data.choice_rows import MIN_CHOICES
from bertwright.data.example import Example
from bertwright.data.settings import DataSettings
from bertwright.data.targets.choices import CHOICES
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError, RecipeError
from bertwright.metrics import (
    MULTIPLE_CHOICE,
    Outcome,
    OutcomeKind,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    describe_collapse,
    per_class_metrics,
    predict_majority,
)
from bertwright.metrics.charts import Chart
from bertwright.metrics.uncertainty import compute_entropy, compute_margin
from bertwright.nn.head_outputs import HeadOutput, Scores
from bertwright.tasks.evaluation_charts import chart_calibration, chart_length
from bertwright.tasks.explained_outputs import (
    LOG_ODDS,
    ExplainedOutput,
    ExplanationRequest,
    all_sequences,
    compute_log_odds,
)
from bertwright.tasks.formats.choices import ChoiceFormat
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.labels import log_loss, softmax
from bertwright.tasks.schemas.choices import ChoicesSchema
from bertwright.tasks.schemas.spec import ServiceSchema
from bertwright.tasks.spec import (
    DEFAULT_TOKENS,
    EvaluationResult,
    Loss,
    Outputs,
    Prediction,
    Task,
    as_scores,
    has_targets,
    round_prediction,
    targets_of,
)
from bertwright.tasks.usage_scripts import choice_script
from bertwright.tasks.wording import TaskWording
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle


class MultipleChoice(Task):
    """The one of several texts that goes with a context, as in SWAG, RACE and COPA.

    Each choice is a separate sequence, [CLS] context [SEP] question choice [SEP], to which the head gives one score;
    the softmax over the scores of an example's choices gives their probabilities (Devlin et al. 2018, section 4.4).
    """

    outcome_kind: ClassVar[OutcomeKind] = MULTIPLE_CHOICE
    target_spec: ClassVar[TargetSpec] = CHOICES
    wording: ClassVar[TaskWording] = TaskWording(
        "selects one of several choices for a context",
        ("multiple-choice", "Multiple Choice"),
        baseline="the most frequent position of the correct choice",
        outputs="the correct one of several choices",
    )
    head_kind: ClassVar[str] = "multiple_choice"
    scores_choices: ClassVar[bool] = True
    input_names: ClassVar[tuple[str, str]] = ("context", "choice")

    kind: Literal["multiple_choice"] = "multiple_choice"

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task itself: nothing about it depends on the training data."""
        return self

    def takes_pairs(self, data: DataSettings | None) -> None:
        """A context may have a question or none."""
        return

    def predict_arguments(self, pair: bool) -> str:
        """Arguments of ``bertwright predict``."""
        return "--input questions.jsonl --output chosen.jsonl"

    @property
    def prediction_format(self) -> PredictionFormat:
        """A row for each context."""
        return ChoiceFormat()

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """A context with choices, and the probability of each choice."""
        return ChoicesSchema()

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers."""
        return choice_script(directory, max_length)

    def adapt_tokens(self, tokens: TokenSettings) -> TokenSettings:
        """The settings with truncation of the context only, instead of the longer text.

        Raises:
            RecipeError: a context is to become windows, which cannot be scored together with other choices.
        """
        if tokens.truncation == "windows":
            raise RecipeError(
                "tokens.truncation: windows cannot be used with multiple_choice; use only_first or head_tail."
            )
        return tokens.replace(truncation="only_first") if tokens.truncation == "longest_first" else tokens

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """A sequence for every choice of every example; those of one example are adjacent and form a group.

        Targets, one for each sequence, are 1 for the right choice and 0 for the others.
        """
        counts = np.array([len(choices_of(example)) for example in examples], np.int64)
        sequences = [texts for example in examples for texts in self.target_spec.sequence_texts(example)]
        contexts, texts = [context for context, _ in sequences], [text or "" for _, text in sequences]
        owners = np.repeat(np.arange(len(examples)), counts)
        tokens = self.adapt_tokens(tokens)
        if tokens.truncation == "only_first":
            _check_room(examples, texts, owners, tokenizer, tokens)
        encodings = encode_with_cache(tokenizer, contexts, texts, tokens, on_note=on_note)
        targets = None
        if has_targets(examples):
            targets = np.zeros(len(texts), np.int64)
            targets[np.cumsum(counts) - counts + positions_of(examples)] = 1
        return replace(encodings, examples=owners, targets=targets, grouped=True)

    @property
    def output_names(self) -> None:
        """The one output has no name."""
        return

    @property
    def n_outputs(self) -> int:
        """One score for each choice."""
        return 1

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The family's published head for multiple choice: that for sequences, with a single output."""
        from bertwright.nn.heads import ClassificationHead

        return ClassificationHead(config.width, self.n_outputs, style)

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Cross-entropy over the choices of each example; the count is the number of examples.

        Raises:
            DataError: the batch has no targets or no groups.
        """
        from torch.nn import functional
        from torch.nn.utils.rnn import pad_sequence

        sizes = group_sizes_of(batch).tolist()
        # -inf has no share in the softmax, so examples with fewer choices than others are not padded in effect
        table = pad_sequence(scores[:, 0].split(sizes), batch_first=True, padding_value=-float("inf"))
        right = pad_sequence(targets_of(batch).split(sizes), batch_first=True).argmax(1)
        return Loss(functional.cross_entropy(table, right, reduction="sum"), float(len(sizes)))

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """The log of the mean probability of each choice of each example.

        Raises:
            DataError: the batch has no groups.
        """
        from bertwright.tasks.score_averaging import log_mean_segment_softmax

        return log_mean_segment_softmax(scores, group_sizes_of(batch).tolist())

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> list[Scores]:
        """The scores of each example's choices."""
        return np.split(as_scores(decoded)[:, 0], encodings.unit_starts[1:])

    def output_to_explain(
        self, request: ExplanationRequest, prediction: Prediction, encodings: Encodings, example: Example
    ) -> ExplainedOutput:
        """The log odds of one choice among all choices."""
        request.refuse_word()
        position = _find_choice(request.target, prediction, choices_of(example))
        return ExplainedOutput(
            choices_of(example)[position],
            LOG_ODDS,
            all_sequences(len(encodings)),
            lambda scores: compute_log_odds(scores[..., 0], position),
            notes=("an attribution of the context is the sum over its sequences with every choice",),
        )

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """The most likely choice of each example, with the probability of every choice by its position."""
        predictions = []
        for scores, example in zip(outputs, examples, strict=True):
            probabilities = softmax(scores[None])[0]
            best = int(probabilities.argmax())
            by_position = {str(i): float(p) for i, p in enumerate(probabilities)}
            predictions.append(
                Prediction(
                    example.id,
                    choices_of(example)[best],
                    probabilities=by_position,
                    choice=best,
                    entropy=float(compute_entropy(probabilities)),
                    margin=float(compute_margin(probabilities)),
                )
            )
        return predictions

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``choice``, its position counted from 0; ``label``, its text; its ``probability``; and ``probabilities``."""
        return {
            "choice": [p.choice for p in predictions],
            "label": [p.label for p in predictions],
            "probability": [round_prediction(p.probability) for p in predictions],
            "probabilities": [[round_prediction(each) for each in p.probabilities.values()] for p in predictions],
        }

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """Accuracy; given the training data, with 95 % bootstrap intervals and the majority baseline."""
        outcome = self.to_outcome(outputs, examples)
        names = check_metrics(self.chosen_metrics, self.outcome_kind)
        baseline = {}
        if train is not None:
            # positions beyond those of the evaluated examples count as the last one, which is as wrong for them
            common = np.minimum(positions_of(train), len(outcome.labels) - 1)
            baseline = compute_metrics(names, predict_majority(common, outcome))
        return EvaluationResult(
            metrics=compute_metrics(names, outcome),
            intervals=bootstrap_intervals(names, outcome) if train is not None else {},
            baseline=baseline,
            per_class=per_class_metrics(outcome),
            confusion=None,
            collapsed=describe_collapse(outcome),
            n=len(outcome),
        )

    def make_charts(self, outputs: Outputs, examples: Sequence[Example]) -> list[Chart]:
        """Calibration, and the score by text length."""
        outcome = self.to_outcome(outputs, examples)
        confidence = np.array([softmax(scores[None]).max() for scores in outputs])
        return [
            chart_calibration(
                confidence, outcome.right, "probability of the predicted choice", "share of correct predictions"
            ),
            *chart_length(self, outputs, examples),
        ]

    def row_losses(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.float64]:
        """The negative log-likelihood of the right choice."""
        pairs = zip(outputs, positions_of(examples).tolist(), strict=True)
        return log_loss(np.array([softmax(scores[None])[0, position] for scores, position in pairs]))

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> Outcome:
        """The chosen and the right positions; choices that an example does not have get probability 0."""
        if not has_targets(examples):
            raise DataError("evaluation: the examples have no labels, so there is nothing to compare with.")
        most = max(len(scores) for scores in outputs)
        table = np.full((len(outputs), most), -np.inf)
        for row, scores in zip(table, outputs, strict=True):
            row[: len(scores)] = scores
        names = tuple(f"position {i}" for i in range(most))
        return Outcome(MULTIPLE_CHOICE, positions_of(examples), table.argmax(1), names, softmax(table))


def group_sizes_of(batch: Batch) -> NDArray[np.int64]:
    """The number of choices of each example of a batch.

    Raises:
        DataError: the batch has no groups.
    """
    if batch.group_sizes is None:
        raise DataError("scores: the batch does not group the choices of an example; collate it from encodings.")
    return batch.group_sizes


def choices_of(example: Example) -> tuple[str, ...]:
    """The choices of an example.

    Raises:
        DataError: there are none, or a single one.
    """
    where = example.where or example.id
    if example.choices is None:
        raise DataError(f"{where}: has no choices; give rows with a context and choices, such as JSON Lines.")
    if len(example.choices) < MIN_CHOICES:
        raise DataError(f"{where}: has {len(example.choices)} choices; expected at least {MIN_CHOICES}.")
    return example.choices


def _find_choice(target: str | None, prediction: Prediction, choices: Sequence[str]) -> int:
    """The position of the choice to explain: the requested one, by its text or position, or the predicted one.

    Raises:
        DataError: there is no such choice.
    """
    if target is None:
        return prediction.choice or 0
    if target in choices:
        return choices.index(target)
    if target.isdecimal() and int(target) < len(choices):
        return int(target)
    expected = f"the text of one, or a position from 0 to {len(choices) - 1}"
    raise DataError(f'target: there is no choice "{target}"; give {expected}.')


def positions_of(examples: Sequence[Example]) -> NDArray[np.int64]:
    """The position of each example's right choice, counted from 0.

    Raises:
        DataError: an example has no choice at its position.
    """
    positions = np.zeros(len(examples), np.int64)
    for i, example in enumerate(examples):
        position, n = str(example.target), len(choices_of(example))
        if not position.isdecimal() or int(position) >= n:
            raise DataError(
                f"{example.where or example.id}: the right choice is {position}; expected a position from 0 to {n - 1}."
            )
        positions[i] = int(position)
    return positions


def _check_room(
    examples: Sequence[Example],
    texts: Sequence[str],
    owners: NDArray[np.int64],
    tokenizer: Tokenizer,
    tokens: TokenSettings,
) -> None:
    """Refuse a choice that leaves no room for its context, which is the only text that truncation may cut.

    Raises:
        DataError: names the example and the choice.
    """
    room = tokens.max_length - tokenizer.template(2).n_special
    # texts of fewer bytes than tokens that fit need no second look
    suspects = [i for i, text in enumerate(texts) if len(text.encode("utf-8", "surrogatepass")) >= room]
    for i, n in zip(suspects, tokenizer.tokenize([texts[i] for i in suspects]).lengths.tolist(), strict=True):
        if n >= room:
            example, position = examples[owners[i]], i - int(np.searchsorted(owners, owners[i]))
            raise DataError(
                f"{example.where or example.id}: choice {position} with the question has {n} tokens, which leaves no "
                f"room for the context in {tokens.max_length}; raise tokens.max_length, or set "
                "tokens.truncation=head_tail to cut choices too."
            )
