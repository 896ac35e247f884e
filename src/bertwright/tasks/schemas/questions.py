"""Inputs of a question and its context, and predictions of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bertwright.data.example import Example
from bertwright.tasks.formats.answers import null_probability
from bertwright.tasks.schemas.spec import (
    END,
    PROBABILITY,
    READ_TEXT,
    START,
    TOP,
    InputSchema,
    PredictionSchema,
    ServiceSchema,
)
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class QuestionInput(InputSchema):
    """A question, and the text that may answer it."""

    question: str = Field(title="Question")
    context: str = Field(title="Context", description="The text that contains the answer.")


class ScoredAnswer(PredictionSchema):
    """A piece of the context that may answer the question."""

    text: str
    start: int = START
    end: int = END
    score: float = PROBABILITY


class AnswerPrediction(PredictionSchema):
    """The best answer."""

    text: str = READ_TEXT
    answer: str = Field(description='The answer; "" if the context has none.')
    score: float = Field(description="The probability of the answer, or of no answer.")
    start: int | None = Field(description="The first character of the answer in the context; null for no answer.")
    end: int | None = Field(description="The character after its last; null for no answer.")
    top: list[ScoredAnswer] = TOP


class QuestionSchema(ServiceSchema):
    """An answer to a question, as a piece of a context."""

    input_type = QuestionInput
    prediction_type = AnswerPrediction
    default_top_k: ClassVar[int | None] = 3
    examples = (
        {
            "question": "Where was Marie Curie born?",
            "context": "Marie Curie was born in Warsaw in 1867 and moved to Paris at the age of 24.",
        },
        {
            "question": "How long is the bridge?",
            "context": "The bridge was opened in 1932. It is 1,149 metres long and carries eight lanes of traffic.",
        },
    )

    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The question with its context."""
        return Example(id_, values.question, values.context, where=where)

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The answer, its position, and the best answers."""
        best = prediction.spans[0] if prediction.answer and prediction.spans else None
        return AnswerPrediction(
            text=example.text_pair or "",
            answer=prediction.answer or "",
            score=round_prediction(null_probability(prediction) if best is None else best.score),
            start=None if best is None else best.start,
            end=None if best is None else best.end,
            top=[
                ScoredAnswer(text=span.text, start=span.start, end=span.end, score=round_prediction(span.score))
                for span in prediction.spans[:top_k]
            ],
        )
