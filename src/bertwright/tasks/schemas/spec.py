"""What a server needs to know about the inputs and predictions of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from bertwright.data.example import Example
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class InputSchema(BaseModel):
    """The fields of one example, as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PredictionSchema(BaseModel):
    """The fields of one prediction, as JSON."""

    model_config = ConfigDict(frozen=True)


class ScoredLabel(PredictionSchema):
    """A label and its probability."""

    label: str
    probability: float


class ServiceSchema(ABC):
    """The inputs and predictions of a task, as a server exchanges them in JSON."""

    input_type: type[InputSchema]
    """The fields of an example."""

    prediction_type: type[PredictionSchema]
    """The fields of a prediction."""

    examples: tuple[dict[str, Any], ...]
    """Inputs that show how to use a model, each with fields of ``input_type``."""

    short_field: str | None = None
    """The field that a plain string sets; None if a string is not enough."""

    hidden_fields: ClassVar[tuple[str, ...]] = ()
    """Optional fields of ``input_type`` that a form for people does not need."""

    ranks: ClassVar[bool] = True
    """Whether predictions list the best alternatives, whose number a client can choose."""

    explains: ClassVar[bool] = True
    """Whether predictions can be explained by attributions to words."""

    default_top_k: ClassVar[int | None] = None
    """The number of alternatives by default; None for all."""

    @abstractmethod
    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The example of an input.

        Args:
            values: an instance of ``input_type``.
            id_: of the example.
            where: position of the input in the request, for messages.

        Raises:
            DataError: the fields cannot be combined.
        """

    @abstractmethod
    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The prediction as an instance of ``prediction_type``.

        Args:
            prediction: of the example.
            example: as the model read it, with normalized texts; offsets refer to these.
            top_k: the number of alternatives to list; None for all.
        """


def rank_labels(probabilities: Mapping[str, float], top_k: int | None) -> list[ScoredLabel]:
    """The most likely labels, best first."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])[:top_k]
    return [ScoredLabel(label=label, probability=round_prediction(value)) for label, value in ranked]


TOP = Field(description="The most likely alternatives, best first.")
PROBABILITY = Field(description="A probability, 0 to 1.")
START = Field(description="The first character in the text, counted from 0.")
END = Field(description="The character after the last.")
READ_TEXT = Field(description="The text in which characters are counted, as the model read it.")
