"""Inputs of a context and choices, and predictions of the right choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from bertwright.data.choice_rows import MIN_CHOICES
from bertwright.data.example import Example
from bertwright.tasks.schemas.spec import PROBABILITY, TOP, InputSchema, PredictionSchema, ServiceSchema
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class ChoicesInput(InputSchema):
    """A context, and the texts to choose from."""

    context: str = Field(title="Context")
    question: str | None = Field(default=None, title="Question", description="Null if the context has no question.")
    choices: list[str] = Field(title="Choices", min_length=MIN_CHOICES)


class ScoredChoice(PredictionSchema):
    """A choice and its probability."""

    choice: int = Field(description="Its position, counted from 0.")
    label: str = Field(description="Its text.")
    probability: float = PROBABILITY


class ChoicePrediction(ScoredChoice):
    """The most likely choice."""

    top: list[ScoredChoice] = TOP


class ChoicesSchema(ServiceSchema):
    """The one of several texts that goes with a context."""

    input_type = ChoicesInput
    prediction_type = ChoicePrediction
    examples = (
        {
            "context": "She opens the umbrella.",
            "question": "What is the reason?",
            "choices": ["It is raining.", "She is hungry.", "The door is locked."],
        },
    )

    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The context, the question and the choices."""
        return Example(id_, values.context, values.question, where=where, choices=tuple(values.choices))

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The position and text of the best choice, and the probabilities of the best choices."""
        choices = example.choices or ()
        scored = [
            ScoredChoice(choice=int(position), label=choices[int(position)], probability=round_prediction(probability))
            for position, probability in sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        ]
        return ChoicePrediction(**scored[0].model_dump(), top=scored[:top_k])
