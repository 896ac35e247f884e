"""Labels and numbers of whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertwright.data.example import Example
from bertwright.tasks.formats.spec import (
    UNCERTAINTY,
    PredictionFormat,
    PredictionTable,
    to_one_line,
    uncertainty_cells,
)

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class LabelFormat(PredictionFormat):
    """A row for each text: its label and probability, its labels or its number, and the text."""

    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """Label, probability, text, and the second text if there is one."""
        rows = [
            (
                *_answer(prediction),
                *uncertainty_cells(prediction, uncertainty),
                *(to_one_line(text) for text in (example.text, example.text_pair) if text is not None),
            )
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        names = ["labels"] if isinstance(predictions[0].label, tuple) else ["label", "probability"]
        names = ["value"] if predictions[0].label is None else names
        headings = (*names, *(UNCERTAINTY if uncertainty else ()), "text", "second text")
        numbers = ("probability", "value", *UNCERTAINTY)
        return PredictionTable(rows, {name: "right" if name in numbers else "left" for name in headings})


def _answer(prediction: Prediction) -> tuple[str, ...]:
    if isinstance(prediction.label, tuple):
        labels = (f"{name} {prediction.probabilities[name]:.4f}" for name in prediction.label)
        return (", ".join(labels) or "–",)
    if prediction.label is None:
        return (f"{prediction.value:.4f}",)
    return (prediction.label, f"{prediction.probability:.4f}")
