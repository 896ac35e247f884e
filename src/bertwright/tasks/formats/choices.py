"""Chosen texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bertwright.data.example import Example
from bertwright.tasks.formats.spec import Columns, PredictionFormat, PredictionTable, to_one_line

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class ChoiceFormat(PredictionFormat):
    """A row for each context: the position of the chosen text, its probability, the text and the context."""

    def make_table(
        self, predictions: Sequence[Prediction], examples: Sequence[Example], first: int = 1
    ) -> PredictionTable:
        """Position, probability, chosen text, context, and the question if there is one."""
        rows = [
            (
                str(prediction.choice),
                f"{prediction.probability:.4f}",
                *(to_one_line(str(text)) for text in (prediction.label, example.text, example.text_pair) if text),
            )
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        columns = ("choice", "probability", "text", "context", "question")
        return PredictionTable(
            rows, {name: "right" if name in ("choice", "probability") else "left" for name in columns}
        )

    def text_columns(self, examples: Sequence[Example]) -> Columns:
        """Also the choices."""
        choices: Sequence[Any] = [list(example.choices or ()) for example in examples]
        return super().text_columns(examples) | {"choices": choices}
