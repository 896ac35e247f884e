"""What a task is: everything that is specific to one kind of prediction, as a value without parameters.

torch is imported where it is used, so that a recipe can be read and checked without loading it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.config.sections import Section
from bertwright.data.example import Example
from bertwright.data.glue import TASKS
from bertwright.data.settings import DataSettings
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError, RecipeError
from bertwright.metrics import DEFAULT_METRICS, AnyOutcome, OutcomeKind
from bertwright.metrics.charts import Chart
from bertwright.nn.head_outputs import HeadOutput, Scores
from bertwright.output.notebook import render_html
from bertwright.output.terminal import make_table
from bertwright.tasks.explained_outputs import ExplainedOutput, ExplanationRequest
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.rejected_settings import LABEL_COLUMNS, LABEL_SEPARATOR, RejectedSetting
from bertwright.tasks.review import show_prediction, show_target
from bertwright.tasks.wording import TaskWording
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.training_data import TrainingData

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.corpus.corpus_split import CorpusSplit
    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle
    from bertwright.tasks.schemas.spec import ServiceSchema

DIGITS = 6
"""Significant digits of predicted numbers: float32 has hardly more."""

Outputs = NDArray[Any] | list[Any]
"""What a task computes from scores, with an entry for each example."""

DEFAULT_TOKENS = TokenSettings()


@dataclass(frozen=True, slots=True)
class Loss:
    """A summed loss and its divisor, so that any split of a batch gives the same gradient.

    Attributes:
        total: scalar with a gradient.
        count: what the total is a sum over: examples, or their weights.
    """

    total: Tensor
    count: Tensor | float


class PredictedSpan(NamedTuple):
    """A piece of a text: an answer, an entity, or a word for a gap.

    Attributes:
        text: the piece itself.
        start: its first character, counted from 0.
        end: the character after its last.
        label: the type of the span, for tagging.
        score: its probability, 0 to 1.
    """

    text: str
    start: int
    end: int
    label: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one example.

    Attributes:
        id: of the example.
        label: the label; for multi-label all that hold; for multiple choice the text of the choice; None for others.
        value: the number; None for other tasks than regression.
        probabilities: by label, or by the position of a choice; empty for tasks without labels of the whole text.
        tags: for tagging, the tag of every word.
        spans: for tagging, the spans that the tags mark; for question answering the best answers, best first.
        answer: for question answering, the answer; "" if the text has none.
        null_odds: for question answering, the score of no answer minus that of the best answer.
        choice: for multiple choice, the position of the choice, counted from 0.
        entropy: of the predicted distribution, in nats; high if the model is uncertain. Multi-label: the mean of the
            labels' binary entropies; tagging: the mean over words; question answering: of the best answers. None for
            regression and pre-training.
        margin: the difference between the two highest probabilities, 0 to 1; low if the model is uncertain.
            Multi-label: the smallest distance between a label's probability and its threshold; tagging: the smallest
            one of the words. None where ``entropy`` is.
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
    entropy: float | None = None
    margin: float | None = None

    @property
    def probability(self) -> float:
        """The probability of :attr:`label`, for tasks that predict one label or choice."""
        return self.probabilities[str(self.label if self.choice is None else self.choice)]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The result of an evaluation.

    Attributes:
        metrics: by name.
        intervals: 95 % bootstrap intervals by name.
        baseline: the same metrics for the majority-class baseline; empty if it is unknown.
        per_class: by label: precision, recall, f1, support.
        confusion: (gold, predicted) counts, or None if labels do not exclude each other or are too many.
        collapsed: a message if all predictions are equal though the targets vary.
        n: examples evaluated.
        confused: if there are too many labels for ``confusion``, the most confused pairs:
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

    def _repr_html_(self) -> str:
        """The metrics in a notebook."""
        table = make_table("metric", "value", "95 % interval", "baseline")
        for name, value in self.metrics.items():
            low, high = self.intervals.get(name, (math.nan, math.nan))
            numbers = [f"{each:.4f}" for each in (value, low, high, self.baseline.get(name, math.nan))]
            table.add_row(name, numbers[0], f"{numbers[1]} … {numbers[2]}", numbers[3])
        return render_html([f"{self.n:,} examples", table])


class Task(Section):
    """One kind of prediction. Subclasses add the fields that configure it and the methods that do it."""

    outcome_kind: ClassVar[OutcomeKind]
    """The kind of outcome that its metrics take."""

    target_spec: ClassVar[TargetSpec]
    """How the rows of this task are read, checked and split."""

    wording: ClassVar[TaskWording]
    """What reports, model cards and messages call its parts."""

    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (LABEL_COLUMNS, LABEL_SEPARATOR)
    """Settings of other sections that cannot be combined with it."""

    head_kind: ClassVar[str]
    """The kind of its published head: a key of :attr:`bertwright.weights.families.Family.heads`."""

    scores_tokens: ClassVar[bool] = False
    """Whether its head scores each token instead of each sequence."""

    scores_choices: ClassVar[bool] = False
    """Whether the sequences of an example are choices; an exported model takes them along a separate axis."""

    graph_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """Outputs of an exported model: all scores, or one output for each column of scores."""

    is_exportable: ClassVar[bool] = True
    """Whether a graph with the token ids as its only inputs can compute the scores."""

    problem_type: ClassVar[str | None] = None
    """transformers' word for it in ``config.json``; only heads for sequences have one."""

    hf_settings: ClassVar[Mapping[str, Any]] = {}
    """Keys of ``config.json`` that other programs need to compute the same predictions."""

    allows_crf: ClassVar[bool] = False
    """Whether a conditional random field may be its last layer."""

    extracts_answers: ClassVar[bool] = False
    """Whether it predicts pieces of a context that answer a question."""

    official_file_names: ClassVar[tuple[str, ...]] = ()
    """The files of :meth:`official_files`."""

    tuned_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that :meth:`tune_on_validation` may choose, with the value that lets it choose."""

    averages_predictions: ClassVar[bool] = True
    """Whether the predictions of several models can be averaged."""

    outputs_hold_loss: ClassVar[bool] = False
    """Whether :meth:`mean_loss` computes the loss from outputs."""

    predicts_distribution: ClassVar[bool] = True
    """Whether predictions have an entropy and a margin."""

    forgetting_rate: ClassVar[float | None] = None
    """The learning rate from which catastrophic forgetting is known; None if it is not known for this task."""

    finds_label_errors: ClassVar[bool] = False
    """Whether :meth:`suspect_labels` finds labels that are likely wrong."""

    full_precision_output: ClassVar[bool] = False
    """Whether the output layer computes in float32 in every precision, because its scores are numbers of any size."""

    input_names: ClassVar[tuple[str, str]] = ("text", "second text")
    """What explanations call the first and the second text."""

    strips_first_text: ClassVar[bool] = False
    """Whether white space at the start of the first text is removed."""

    most_epochs: ClassVar[int] = 100
    """More epochs than this are hardly ever meant."""

    usual_length: ClassVar[str] = "2 to 20 epochs are usual"
    """What a warning about too many epochs recommends."""

    kind: str

    metrics: tuple[str, ...] | None = Field(
        default=None,
        description="Metrics to compute, by name; the first one selects the best checkpoint. Null: the default metrics "
        "of the task.",
    )

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task with the settings that depend on the training data, such as the labels.

        Args:
            examples: the training data.
            labels: the labels in the order that the source declares; None if it declares none.

        Raises:
            DataError: the data does not fit the task; for example, it has a single label.
        """
        raise NotImplementedError

    def adapt_tokens(self, tokens: TokenSettings) -> TokenSettings:
        """The settings of tokenization that the task uses instead of these.

        Raises:
            RecipeError: the task cannot use them.
        """
        return tokens.replace(truncation="windows") if self.target_spec.reads_windows else tokens

    @property
    def prediction_format(self) -> PredictionFormat:
        """How its predictions are shown and written."""
        raise NotImplementedError

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """What clients of a server send for one example, and what they receive as its prediction.

        Args:
            pair: whether the model takes two texts; None if it may take one or two, or if that is unknown.
        """
        raise NotImplementedError

    @classmethod
    def rejects(cls, key: str) -> bool:
        """Whether a setting cannot be combined with the task."""
        return any(rejected.key == key for rejected in cls.rejected_settings)

    def check_tokens(self, tokens: TokenSettings) -> None:
        """Check that the settings of the task fit those of tokenization.

        Raises:
            InvalidSettingError: they do not.
        """

    def takes_pairs(self, data: DataSettings | None) -> bool | None:
        """Whether examples have two texts; None if they may have one or two, or if that is unknown.

        Args:
            data: the data section of the recipe of a trained model; None if it has no recipe.
        """
        if data is None:
            return None
        published = TASKS.get(data.format or "")
        return data.text_pair is not None or (published is not None and published.text_pair is not None)

    def predict_arguments(self, pair: bool) -> str:
        """Arguments of ``bertwright predict`` that show how to use a model.

        Args:
            pair: whether it takes two texts.
        """
        return '"a text" --pair "another text"' if pair else '"a text"'

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers.

        Args:
            directory: of the model.
            max_length: tokens of a sequence; None for those of the encoder.
            pair: whether it takes two texts.
        """
        raise NotImplementedError

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """Tokenize examples; the encodings have targets if the examples have.

        Args:
            examples: to encode.
            tokenizer: the encoder's.
            tokens: the maximum length of sequences, and how longer ones are truncated.
            on_note: called with messages for the user, such as one about a damaged cache.

        Raises:
            DataError: a target is not one of the task.
        """
        raise NotImplementedError

    def encode_corpus(
        self,
        corpus: CorpusSplit,
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> TrainingData:
        """Make training data of a corpus; only pre-training can. Arguments are those of :meth:`encode`."""
        raise NotImplementedError

    @property
    def tunes_on_validation(self) -> bool:
        """Whether :meth:`tune_on_validation` is to choose a setting."""
        return any(getattr(self, key) == value for key, value in self.tuned_settings.items())

    @property
    def published_head(self) -> str:
        """The kind of its published head if that depends on its settings; :attr:`head_kind` for most tasks."""
        return self.head_kind

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of the scores; empty for tasks without labels."""
        return ()

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """The names of the outputs in ``config.json``; None for tasks whose outputs have none."""
        return self.label_names or generic_label_names(self.n_outputs)

    @property
    def n_outputs(self) -> int:
        """The number of scores for each sequence or token."""
        raise NotImplementedError

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The published head of a family for this task, randomly initialized."""
        raise NotImplementedError

    @property
    def output_scale(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the values that the output layer predicts; None if it predicts scores."""
        return None

    def without_output_scale(self) -> Self:
        """The task for a head without a dense output layer, whose scores cannot be scaled."""
        return self

    def describe_large_targets(self, examples: Sequence[Example]) -> str | None:
        """What to do about targets that are far from the scores of an untrained head; None if there are none."""
        return self.target_spec.describe_scale(examples)

    def initial_output_bias(self, examples: Sequence[Example]) -> NDArray[np.float32] | None:
        """The scores (C,) of the constant prediction with the lowest training loss; None if the task has none.

        Args:
            examples: the training rows of one epoch.
        """
        return None

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """The summed loss of a batch."""
        raise NotImplementedError

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> Outputs:
        """Combine the scores of each example, over all its windows, into a small result.

        Args:
            decoded: what the head decoded to for ``encodings``; for most heads scores (B, C) or (N, C).
            encodings: of the examples, in their order.
            examples: that were encoded.
        """
        raise NotImplementedError

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of the examples."""
        raise NotImplementedError

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """Compare outputs with the targets of their examples.

        Args:
            outputs: of every example.
            examples: with targets.
            train: the training data; if given, intervals and the baseline are computed too.

        Raises:
            DataError: the examples have no targets.
        """
        raise NotImplementedError

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> AnyOutcome:
        """Outputs with the targets of their examples, as metrics and significance tests take them.

        Raises:
            DataError: the examples have no targets.
        """
        raise NotImplementedError

    def mean_loss(self, outputs: Outputs) -> float:
        """The mean loss of outputs, for tasks whose outputs hold it."""
        raise NotImplementedError

    def make_charts(self, outputs: Outputs, examples: Sequence[Example]) -> list[Chart]:
        """Charts and tables of an evaluation for reports; none for a task without examples.

        Args:
            outputs: of every example.
            examples: with targets.
        """
        return []

    def row_losses(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.float64] | None:
        """The loss of each example, (B,), to find those that the model predicts worst; None if it is not defined."""
        return None

    def suspect_labels(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.intp]:
        """Positions of the examples whose label is likely wrong, most likely first.

        Args:
            outputs: of a model that was not trained on the examples; otherwise few errors are found.
            examples: with targets.
        """
        raise NotImplementedError

    def describe_error(self, example: Example, prediction: Prediction) -> tuple[str, str, float | None]:
        """Target and prediction as texts that show how they differ, and the probability of the prediction, if any."""
        has_probability = isinstance(prediction.label, str) and bool(prediction.probabilities)
        return show_target(example), show_prediction(prediction), prediction.probability if has_probability else None

    def official_files(self, outputs: Outputs, examples: Sequence[Example]) -> dict[str, str]:
        """The files of predictions that a benchmark expects: contents by name; none for most tasks."""
        return {}

    def tune_on_validation(self, outputs: Outputs, examples: Sequence[Example]) -> tuple[Self, list[str]]:
        """The task with settings chosen on the dev rows after training, and messages about them.

        Args:
            outputs: of every example.
            examples: of the first dev split.
        """
        return self, []

    def scale_scores(self, scores: Tensor) -> Tensor:
        """Scores (B, C) or (N, C) from which the probabilities follow without settings of the task."""
        return scores

    def without_scaling(self) -> Self:
        """The task for scores that :meth:`scale_scores` has scaled."""
        return self

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """Scores whose probabilities or values are the mean of those of several models.

        Args:
            scores: of each model, (B, C) or (N, C), scaled by :meth:`scale_scores`.
            batch: that they were computed for.
        """
        raise NotImplementedError

    def output_to_explain(
        self, request: ExplanationRequest, prediction: Prediction, encodings: Encodings, example: Example
    ) -> ExplainedOutput:
        """The number that attributions explain: by default that of the prediction.

        Args:
            request: the target that a user asks for.
            prediction: for the example.
            encodings: of the example.
            example: the row.

        Raises:
            DataError: the example has no such target.
        """
        raise NotImplementedError

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """Predictions as columns of a table; without predictions the columns are empty."""
        raise NotImplementedError

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The metrics of the recipe, or the default metrics; the first one selects the best checkpoint."""
        return self.metrics or DEFAULT_METRICS[self.outcome_kind]


def generic_label_names(n_outputs: int) -> tuple[str, ...]:
    """The names that transformers gives to outputs without names."""
    return tuple(f"LABEL_{i}" for i in range(n_outputs))


def as_scores(decoded: HeadOutput) -> Scores:
    """The scores that a head decoded to.

    Raises:
        RecipeError: it decoded to something else, such as tags.
    """
    if not isinstance(decoded, np.ndarray):
        raise RecipeError(f"model.head: gives {type(decoded).__name__}, but scores are needed; choose another head.")
    return decoded


def round_prediction(value: float) -> float:
    """A predicted number, rounded to :data:`DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def has_targets(examples: Sequence[Example]) -> bool:
    """Whether the examples have targets.

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
    """The targets of a batch.

    Raises:
        DataError: it has no targets.
    """
    if batch.targets is None:
        raise DataError("training: the examples have no labels, so there is nothing to learn from.")
    return batch.targets
