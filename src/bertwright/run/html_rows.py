"""Rows to review as blocks of an HTML report: highest losses, likely label errors, repeated texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bertwright.data.example import Example
from bertwright.data.repeated_texts import RepeatedText
from bertwright.html.page import Block, Cell, CellValue, Paragraph, Table
from bertwright.run.settings_in_words import last_part
from bertwright.tasks.review import ReviewRow, find_hard_rows, find_suspect_rows, show_target
from bertwright.tasks.spec import Outputs, Task

MOST_VISIBLE = 10
"""Rows of a table before a click."""

MOST_PLACES = 6
"""Places of a repeated text that are listed."""

_PROBLEMS = {"leakage": "data leakage", "conflict": "conflicting labels", "duplicate": "duplicate"}


def review_blocks(
    task: Task, split: str, outputs: Outputs, examples: Sequence[Example], note: str = ""
) -> Iterator[Block]:
    """The rows of a split with the highest loss, and those whose label is likely wrong; ``note`` is shown below.

    Raises:
        DataError: the examples have no targets.
    """
    if hard := find_hard_rows(task, outputs, examples):
        yield _review_table(hard, f"Highest loss on {split}")
    suspects, count = find_suspect_rows(task, outputs, examples)
    if count is None:
        return
    if suspects:
        yield _review_table(suspects, f"Likely label errors in {split}: {count:,} of {len(examples):,} rows", note)
    else:
        yield Paragraph(f"No label of {split} is likely wrong (confident learning). {note}".rstrip(), "note")


def _review_table(rows: Sequence[ReviewRow], caption: str, note: str = "") -> Table:
    """A table without columns that all rows lack."""
    columns: dict[str, list[CellValue]] = {
        "text": [row.text for row in rows],
        "second text": [row.text_pair for row in rows],
        "true": [row.target for row in rows],
        "predicted": [row.prediction for row in rows],
        "probability": [_show_number(row.probability) for row in rows],
        "loss": [_show_number(row.loss) for row in rows],
        "row": [row.place for row in rows],
    }
    columns = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    cells = list(zip(*columns.values(), strict=True))
    return Table(list(columns), cells, caption, note, stacked=True, most_visible=MOST_VISIBLE)


def _show_number(value: float | None) -> Cell | None:
    return None if value is None else Cell(f"{value:.4f}", value)


def repeat_tables(repeats: Sequence[RepeatedText]) -> list[Table]:
    """The texts that several rows have, with their targets and places."""
    rows: list[list[CellValue]] = []
    for repeat in repeats:
        examples = [example for _, example in repeat.rows]
        targets = dict.fromkeys("–" if e.target is None else show_target(e) for e in examples)
        places = [f"{split} {last_part(example.where or example.id)}" for split, example in repeat.rows[:MOST_PLACES]]
        more = len(repeat.rows) - len(places)
        text = "\n".join(filter(None, (examples[0].text, examples[0].text_pair)))
        shown = ", ".join(places) + (f" and {more:,} more" if more else "")
        rows.append([_PROBLEMS[repeat.problem], text, " / ".join(targets), len(examples), shown])
    if not rows:
        return []
    columns = ["problem", "text", "targets", "rows", "places"]
    return [Table(columns, rows, "Repeated texts", stacked=True, most_visible=MOST_VISIBLE)]
