"""Inputs of a text or its words, and predictions of tags."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bertwright.data.example import Example
from bertwright.data.words import words_of
from bertwright.errors import DataError
from bertwright.tasks.schemas.spec import END, READ_TEXT, START, InputSchema, PredictionSchema, ServiceSchema
from bertwright.tasks.spec import round_prediction

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class WordsInput(InputSchema):
    """A text, or its words."""

    text: str | None = Field(default=None, title="Text", description="A text; bertwright splits it into words.")
    words: list[str] | None = Field(
        default=None, title="Words", description="Instead of a text: its words, which are joined by single spaces."
    )


class TaggedWord(PredictionSchema):
    """A word and its tag."""

    text: str
    start: int = START
    end: int = END
    tag: str


class LabeledSpan(PredictionSchema):
    """A labeled piece of the text."""

    text: str
    start: int = START
    end: int = END
    label: str
    score: float = Field(description="The mean probability of its words, 0 to 1.")


class TagPrediction(PredictionSchema):
    """The tag of every word, and the spans that the tags mark."""

    text: str = READ_TEXT
    words: list[TaggedWord]
    spans: list[LabeledSpan] = Field(description="Empty for plain tags, such as parts of speech.")


class WordsSchema(ServiceSchema):
    """A tag for every word of a text."""

    input_type = WordsInput
    prediction_type = TagPrediction
    short_field = "text"
    hidden_fields: ClassVar[tuple[str, ...]] = ("words",)
    ranks: ClassVar[bool] = False
    examples = (
        {"text": "Marie Curie was born in Warsaw and worked at the University of Paris."},
        {"text": "Nokia opened an office in Berlin last May."},
    )

    def to_example(self, values: Any, id_: str, where: str) -> Example:
        """The text, or the words joined by spaces.

        Raises:
            DataError: both are set, or neither.
        """
        if (values.text is None) == (values.words is None):
            problem = "has neither text nor words" if values.text is None else "has both text and words"
            raise DataError(f"{where}: {problem}; send one of them.")
        if values.text is not None:
            return Example(id_, values.text, where=where)
        starts = accumulate((len(word) + 1 for word in values.words), initial=0)
        words = tuple((start, start + len(word)) for start, word in zip(starts, values.words, strict=False))
        return Example(id_, " ".join(values.words), where=where, words=words)

    def to_response(self, prediction: Prediction, example: Example, top_k: int | None) -> PredictionSchema:
        """Words with their tags and positions, and spans."""
        text = example.text
        return TagPrediction(
            text=text,
            words=[
                TaggedWord(text=text[start:end], start=start, end=end, tag=tag)
                for (start, end), tag in zip(words_of(example), prediction.tags or (), strict=True)
            ],
            spans=[
                LabeledSpan(**span._asdict() | {"score": round_prediction(span.score)}) for span in prediction.spans
            ],
        )
