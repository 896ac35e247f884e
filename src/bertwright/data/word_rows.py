"""Tables with one word per row, such as Kaggle's ``Sentence #,Word,POS,Tag``, converted to one sentence per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from bertwright.data.dataset import ColumnNames
from bertwright.data.table_files import ABSENT, Table
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

SENTENCE_ID: Final = "sent_id"
"""The name of the sentence column after the conversion, as in CoNLL-U."""

_WORDS: Final = ("word", "token")
_SENTENCES: Final = (
    *("sentence #", "sentence#", "sentence_id", "sentence id", "sentenceid", "sent_id", "sentence_idx", "sent_idx"),
    *("sentence_number", "sentence", "sent"),
)
_SAMPLE: Final = 200  # rows that determine whether a column contains words


def group_words(table: Table, columns: ColumnNames) -> Table:
    """Convert a table with one word per row to one sentence per row; other tables are returned unchanged.

    The column ``columns.id``, or one with a usual name, identifies sentences: its value is the same for all words of a
    sentence, or empty for all but the first.

    Raises:
        DataError: the table has one word per row, but no column identifies sentences.
    """
    lower = {name.strip().lower(): name for name in reversed(table.names)}
    words = columns.text or next((lower[name] for name in _WORDS if name in lower), None)
    if words is None or words not in table.names or not _holds_words(table.column(words)[:_SAMPLE]):
        return table
    others = {words, columns.label}
    usual = (lower[name] for name in _SENTENCES if name in lower and lower[name] not in others)
    sentences = columns.id if columns.id in table.names else next(usual, None)
    if sentences is None:
        if columns.text is not None or table.n_rows < 2:
            return table
        raise DataError(
            f'{table.source}: has a word per row ("{words}"), but no column that identifies sentences; set data.id=…, '
            "or write a column file (.conll) with an empty line after each sentence."
        )
    starts = _starts(table.column(sentences))
    if len(starts) == table.n_rows:
        return table
    return _group(table, sentences, starts, SENTENCE_ID if columns.id is None else sentences)


def has_word_header(line: str) -> bool:
    """Whether a line with tabs is the header of a table with a word per row."""
    names = {name.strip(' "\ufeff').lower() for name in line.rstrip("\r\n").split("\t")}
    return not names.isdisjoint(_WORDS) and not names.isdisjoint(_SENTENCES)


def _holds_words(cells: Sequence[Any]) -> bool:
    """Whether cells are single words, not texts or lists."""
    return all(isinstance(cell, str) and " " not in cell.strip() for cell in cells if not _is_empty(cell))


def _is_empty(cell: Any) -> bool:
    return cell is None or cell is ABSENT or cell == "" or cell != cell  # NaN differs from itself


def _starts(cells: Sequence[Any]) -> list[int]:
    """The rows in which a sentence begins."""
    starts, last = [], None
    for i, cell in enumerate(cells):
        if i == 0 or (not _is_empty(cell) and cell != last):
            starts.append(i)
        last = last if _is_empty(cell) else cell
    return starts


def _group(table: Table, sentences: str, starts: list[int], id_name: str) -> Table:
    bounds = list(pairwise([*starts, table.n_rows]))

    def column(name: str) -> list[Any]:
        if name == id_name:
            cells = table.column(sentences)
            return [cells[start] for start in starts]
        cells = table.column(name)
        return [list(cells[start:stop]) for start, stop in bounds]

    renamed = "" if id_name == sentences else f", read as column {id_name}"
    counts = f"{pluralize(table.n_rows, 'row')} of one word into {pluralize(len(starts), 'sentence')}"
    note = f'{table.source}: groups {counts} by column "{sentences}"{renamed}'
    return replace(
        table,
        names=[id_name, *(name for name in table.names if name not in (sentences, id_name))],
        n_rows=len(starts),
        column=column,
        where=lambda i: table.where(starts[i]),
        notes=[*table.notes, note],
    )
