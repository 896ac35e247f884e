"""Inputs of texts with gaps, and predictions of the missing words."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bertwright.data.example import Example
from bertwright.tasks.schemas.spec import (
    END,
    READ_TEXT,
    START,
    TOP,
    InputSchema,
    PredictionSchema,
    ScoredLabel,
    ServiceSchema,
)
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class GapInput(InputSchema):
    """A text with gaps."""

    text: str = Field(title="Text with [MASK]")


class FilledGap(PredictionSchema):
    """A gap and the words that fit."""

    start: int = START
    end: int = END
    top: list[ScoredLabel] = TOP


class GapPrediction(PredictionSchema):
    """The words for every gap."""

    text: str = READ_TEXT
    gaps: list[FilledGap]


class GapSchema(ServiceSchema):
    """The most likely words for the gaps of a text."""

    input_type = GapInput
    prediction_type = GapPrediction
    short_field = "text"
    default_top_k: ClassVar[int | None] = 5
    explains: ClassVar[bool] = False
    examples = ({"text": "The film is [MASK]."}, {"text": "Paris is the [MASK] of France."})

    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The text."""
        return Example(id_, values.text, where=where)

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """The gaps in their order, each with the best words."""
        gaps = []
        for (start, end), spans in groupby(prediction.spans, key=lambda span: (span.start, span.end)):
            words = [ScoredLabel(label=span.text, probability=round_prediction(span.score)) for span in spans]
            gaps.append(FilledGap(start=start, end=end, top=words[:top_k]))
        return GapPrediction(text=example.text, gaps=gaps)
