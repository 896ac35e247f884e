"""Explained rows as blocks of an HTML report: texts with the attributions of their words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bertwright.attributions.explanation import Explanation
from bertwright.attributions.page import LEGEND
from bertwright.data.example import Example
from bertwright.errors import BertwrightError
from bertwright.html.page import Block, CellValue, HighlightedText, Paragraph, Table
from bertwright.run.settings_in_words import last_part
from bertwright.tasks.review import show_target
from bertwright.tasks.spec import Outputs, Task

MOST_ROWS = 12
"""Rows that are explained: half of them those with the highest loss, the others evenly spaced."""

EXAMPLES_PER_ROW = 300
"""Training examples for each explained row: explaining one row takes as long as training with about 25 examples."""

MOST_CHARACTERS = 2000
"""Longer texts are not explained, because each would take as long as many short ones."""


@dataclass(frozen=True)
class ExplainedRows:
    """Rows with their explanations.

    Attributes:
        rows: each row and the explanation of its prediction.
        note: why there are none, or not all; empty otherwise.
    """

    rows: Sequence[tuple[Example, Explanation]] = ()
    note: str = ""


def count_rows_to_explain(n_training_examples: int) -> int:
    """The number of rows whose explanation takes less than a tenth of the time of training.

    Args:
        n_training_examples: in all training steps together.
    """
    return min(MOST_ROWS, n_training_examples // EXAMPLES_PER_ROW)


def choose_rows_to_explain(task: Task, outputs: Outputs, examples: Sequence[Example], most: int) -> list[Example]:
    """The rows with the highest loss and evenly spaced others; none for tasks without a loss of each row."""
    losses = task.row_losses(outputs, examples) if most and len(examples) else None
    if losses is None:
        return []
    short = [i for i, e in enumerate(examples) if len(e.text) + len(e.text_pair or "") <= MOST_CHARACTERS]
    hardest = sorted(short, key=lambda i: -losses[i])[: most // 2]
    others = [i for i in short if i not in hardest]
    places = np.unique(np.linspace(0, len(others) - 1, min(most - len(hardest), len(others))).round().astype(int))
    return [examples[i] for i in (*hardest, *(others[place] for place in places.tolist()))]


def explain_rows(
    explain: Callable[[Example], Explanation], rows: Sequence[Example], on_progress: Callable[[int], None]
) -> ExplainedRows:
    """Explain the predictions for rows, until one cannot be explained.

    Args:
        explain: explains one prediction.
        rows: to explain.
        on_progress: called with the number of explained rows.
    """
    explained = []
    for number, example in enumerate(rows, start=1):
        try:
            explained.append((example, explain(example)))
        except BertwrightError as error:  # captum is not installed, the head has no gradient, …
            return ExplainedRows(explained, f"Predictions are not explained: {error}")
        on_progress(number)
    return ExplainedRows(explained)


def explanation_blocks(explained: ExplainedRows) -> list[Block]:
    """A table of the rows with highlighted words."""
    blocks: list[Block] = [Paragraph(explained.note, "note")] if explained.note else []
    rows: list[list[CellValue]] = [
        [
            HighlightedText(_join_texts(explanation)),
            explanation.describe_target(),
            "–" if example.target is None else show_target(example),
            last_part(example.where or example.id),
        ]
        for example, explanation in explained.rows
    ]
    if rows:
        blocks.append(Table(["text", "explained", "true", "row"], rows, note=LEGEND, stacked=True))
    return blocks


def _join_texts(explanation: Explanation) -> list[tuple[str, float]]:
    """The pieces of all texts, with line breaks between texts."""
    pieces = explanation.pieces(0)
    for text in range(1, len(explanation.texts)):
        pieces += [("\n", 0.0), *explanation.pieces(text)]
    return pieces
