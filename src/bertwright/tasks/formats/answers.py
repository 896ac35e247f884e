"""Answers to questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bertwright.data.example import Example
from bertwright.files.strict_json import to_json
from bertwright.tasks.formats.spec import (
    SQUAD_JSON,
    UNCERTAINTY,
    PredictionFormat,
    PredictionTable,
    to_one_line,
    uncertainty_cells,
)

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction

SHOWN: Final = 5
"""Answers shown for a single question."""

NO_ANSWER: Final = "(no answer)"


class AnswerFormat(PredictionFormat):
    """The best answers to a single question, or the answer to each of several."""

    own_format = SQUAD_JSON

    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """Answer, score, first character, the one after the last; for several questions also the question."""
        names = ["answer", "score", "start", "end", *(UNCERTAINTY if uncertainty else ())]
        cells = [uncertainty_cells(prediction, uncertainty) for prediction in predictions]
        if len(predictions) == 1:
            rows = [(*answer, *cells[0]) for answer in _answers(predictions[0])[:SHOWN]]
        else:
            questions = (to_one_line(example.text) for example in examples)
            parts = zip(predictions, cells, questions, strict=True)
            rows = [(*_answers(prediction)[0], *values, question) for prediction, values, question in parts]
            names.append("question")
        shown = [(answer or NO_ANSWER, *others) for answer, *others in rows]
        return PredictionTable(
            rows, {name: "left" if name in ("answer", "question") else "right" for name in names}, shown
        )

    def write_own_format(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        source: Path | None = None,
        encoding: str = "utf-8",
    ) -> Iterator[bytes]:
        """SQuAD's file of predictions: one object with the answer to each question by its id."""
        answers = {prediction.id: prediction.answer for prediction in predictions}
        yield (to_json(answers, indent=4, ascii_only=True) + "\n").encode()


def null_probability(prediction: Prediction) -> float:
    """The probability that there is no answer, 0 to 1, if there may be none."""
    return max(1 - sum(span.score for span in prediction.spans), 0.0) if prediction.spans else 0.0


def _answers(prediction: Prediction) -> list[tuple[str, ...]]:
    """The answer, then the next best ones; an empty text without a place if there is no answer."""
    none = [] if prediction.answer else [("", f"{null_probability(prediction):.4f}", "", "")]
    return [
        *none,
        *((to_one_line(span.text), f"{span.score:.4f}", str(span.start), str(span.end)) for span in prediction.spans),
    ]
