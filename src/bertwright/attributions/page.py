"""The HTML page of one explanation."""

from __future__ import annotations

from bertwright.attributions.explanation import Explanation
from bertwright.html.axes import show_value
from bertwright.html.page import (
    Block,
    BulletList,
    Cell,
    CellValue,
    HighlightedText,
    Page,
    Paragraph,
    Section,
    Table,
    Tile,
    Tiles,
)

LEGEND = "Blue words raise the score, orange words (dashed line) lower it; the darker, the more."

MOST_VISIBLE = 30
"""Rows of the table of words that are visible at first."""


def make_explanation_page(explanation: Explanation, model: str) -> Page:
    """Make a page with the highlighted texts and a table of words.

    Args:
        explanation: what it shows.
        model: the name of the model.
    """
    score, baseline = show_value(explanation.score), show_value(explanation.baseline_score)
    tiles = [
        Tile(explanation.quantity, score, f"of {explanation.describe_target()}"),
        Tile("baseline", baseline, f"the score if every token is {explanation.baseline}"),
        Tile("sum of attributions", show_value(explanation.total), f"error {explanation.convergence_delta:+.2g}"),
    ]
    texts = [Paragraph(LEGEND, "note")]
    blocks: list[Block] = []
    for i, text in enumerate(explanation.texts):
        name = f"{text.name}: " if len(explanation.texts) > 1 else ""
        blocks += [Paragraph(name, "note")] if name else []
        blocks.append(HighlightedText(explanation.pieces(i), f"{text.name} with attributions"))
    rows: list[list[CellValue]] = [
        [
            word.word,
            *([explanation.texts[word.text].name] if len(explanation.texts) > 1 else []),
            Cell(f"{word.attribution:+.4f}", word.attribution, css="bad" if word.attribution < 0 else ""),
        ]
        for word in sorted(explanation.words, key=lambda word: -abs(word.attribution))
    ]
    columns = ["word", *(["text"] if len(explanation.texts) > 1 else []), "attribution"]
    table = Table(columns, rows, most_visible=MOST_VISIBLE)
    notes = [BulletList(explanation.notes)] if explanation.notes else []
    return Page(
        f"Explanation of {explanation.describe_target()}",
        [Section("Text", [*blocks, *texts, *notes]), Section("Score", [Tiles(tiles)]), Section("Words", [table])],
        f"Integrated gradients of {model}",
    )
