"""Chosen texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bertwright.data.example import Example
from bertwright.tasks.formats.spec import (
    UNCERTAINTY,
    Columns,
    PredictionFormat,
    PredictionTable,
    to_one_line,
    uncertainty_cells,
)

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class ChoiceFormat(PredictionFormat):
    """A row for each context: the position of the chosen text, its probability, the text and the context."""

    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """Position, probability, chosen text, context, and the question if there is one."""
        rows = [
            (
                str(prediction.choice),
                f"{prediction.probability:.4f}",
                *uncertainty_cells(prediction, uncertainty),
                *(to_one_line(str(text)) for text in (prediction.label, example.text, example.text_pair) if text),
            )
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        numbers = ("choice", "probability", *(UNCERTAINTY if uncertainty else ()))
        columns = (*numbers, "text", "context", "question")
        return PredictionTable(rows, {name: "right" if name in numbers else "left" for name in columns})

    def text_columns(self, examples: Sequence[Example]) -> Columns:
        """Also the choices."""
        choices: Sequence[Any] = [list(example.choices or ()) for example in examples]
        return super().text_columns(examples) | {"choices": choices}
