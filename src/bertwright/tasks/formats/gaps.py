"""Words for the gaps of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertwright.data.example import Example
from bertwright.tasks.formats.spec import PredictionFormat, PredictionTable

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class GapFormat(PredictionFormat):
    """The most likely words for every gap, and for pairs whether the second text follows the first."""

    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """The number of the text, the first character of the gap, the word and its probability; best words first."""
        rows = [
            (str(first + i), str(span.start), span.text, f"{span.score:.4f}")
            for i, prediction in enumerate(predictions)
            for span in prediction.spans
        ]
        rows += [
            (str(first + i), "", str(prediction.label), f"{prediction.probability:.4f}")
            for i, prediction in enumerate(predictions)
            if prediction.label is not None
        ]
        rows.sort(key=lambda row: int(row[0]))
        shown, previous = [], ("", "")
        for number, start, *rest in rows:
            shown.append((*(("", "") if (number, start) == previous else (number, start)), *rest))
            previous = (number, start)
        return PredictionTable(rows, {"text": "right", "at": "right", "word": "left", "probability": "right"}, shown)
