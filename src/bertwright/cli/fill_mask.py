"""The display of fill-mask predictions."""

from __future__ import annotations

from collections.abc import Sequence

from bertwright.cli.console import show_rows
from bertwright.data.example import Example
from bertwright.tasks.spec import Prediction


def show_gaps(predictions: Sequence[Prediction], examples: Sequence[Example], first: int = 1) -> None:
    """Print the most likely words for every masked token, best first, and for pairs whether the second text follows.

    The output is a table on a terminal and tab-separated elsewhere: number of the text, first character of the mask,
    word, probability.

    Args:
        predictions: the predictions.
        examples: the texts.
        first: the number of the first text.
    """
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
    shown, last = [], ("", "")
    for number, at, *rest in rows:
        shown.append((*(("", "") if (number, at) == last else (number, at)), *rest))
        last = (number, at)
    show_rows(rows, {"text": "right", "at": "right", "word": "left", "probability": "right"}, shown)
