"""Inputs of one text or two, and predictions of labels and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bertwright.data.example import Example
from bertwright.tasks.schemas.spec import (
    PROBABILITY,
    TOP,
    InputSchema,
    PredictionSchema,
    ScoredLabel,
    ServiceSchema,
    rank_labels,
)
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class TextInput(InputSchema):
    """A text."""

    text: str = Field(title="Text")


class PairInput(InputSchema):
    """A pair of texts."""

    text: str = Field(title="First text")
    text_pair: str = Field(title="Second text")


class TextOrPairInput(InputSchema):
    """A text, or a pair of texts."""

    text: str = Field(title="Text")
    text_pair: str | None = Field(default=None, title="Second text", description="Null for a single text.")


class LabelPrediction(PredictionSchema):
    """The most likely label."""

    label: str
    probability: float = PROBABILITY
    top: list[ScoredLabel] = TOP


class LabelSetPrediction(PredictionSchema):
    """The labels whose probability reaches their threshold."""

    labels: list[str]
    top: list[ScoredLabel] = TOP


class NumberPrediction(PredictionSchema):
    """A number in the unit of the training data."""

    value: float


class TextSchema(ServiceSchema):
    """One text or two.

    Args:
        pair: whether an example has two texts; None if it may have one or two.
    """

    def __init__(self, pair: bool | None) -> None:
        self.input_type = TextOrPairInput if pair is None else PairInput if pair else TextInput
        self.short_field = None if pair else "text"
        self.examples = (
            (
                {"text": "A man is playing the guitar.", "text_pair": "Someone is making music."},
                {"text": "The shop opens at nine.", "text_pair": "The shop is closed all day."},
            )
            if pair
            else (
                {"text": "I love this movie!"},
                {"text": "The plot is dull, and the actors seem to be bored."},
                {"text": "It is neither good nor bad."},
            )
        )

    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The text or the pair of texts."""
        return Example(id_, values.text, getattr(values, "text_pair", None), where=where)


class LabelSchema(TextSchema):
    """One label for each text or pair of texts."""

    prediction_type = LabelPrediction

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The label, its probability, and the best labels."""
        return LabelPrediction(
            label=str(prediction.label),
            probability=round_prediction(prediction.probability),
            top=rank_labels(prediction.probabilities, top_k),
        )


class LabelSetSchema(TextSchema):
    """Any number of labels for each text or pair of texts."""

    prediction_type = LabelSetPrediction

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The labels, and the most likely ones with their probabilities."""
        labels = prediction.label if isinstance(prediction.label, tuple) else ()
        return LabelSetPrediction(labels=list(labels), top=rank_labels(prediction.probabilities, top_k))


class NumberSchema(TextSchema):
    """A number for each text or pair of texts."""

    prediction_type = NumberPrediction
    ranks: ClassVar[bool] = False

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The number."""
        return NumberPrediction(value=round_prediction(prediction.value or 0.0))
