"""What fits into the gaps of texts, printed."""

from __future__ import annotations

from collections.abc import Sequence

from bertwright.cli.console import show_rows
from bertwright.data.example import Example
from bertwright.tasks.spec import Prediction


def show_gaps(predictions: Sequence[Prediction], examples: Sequence[Example], first: int = 1) -> None:
    """Print the likeliest words for every gap, best first, and of pairs whether the second text follows.

    On a terminal as a table, else with tabs between: the number of the text, the first character of the gap, the word,
    its probability.

    Args:
        predictions: of the texts.
        examples: the texts.
        first: the number of the first one.
    """
    rows = [
        (str(first + i), str(found.start), found.text, f"{found.score:.4f}")
        for i, prediction in enumerate(predictions)
        for found in prediction.spans
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
