"""The rows to predict, beside everything else that stands in their file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bertwright.cli.options import DataOptions
from bertwright.cli.stdin import stdin_lines
from bertwright.data.conll import holds_columns
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.folders import detect_layout
from bertwright.data.glue import TASKS
from bertwright.data.squad import read_squad
from bertwright.data.table_files import read_table
from bertwright.data.word_rows import group_words
from bertwright.errors import DataError
from bertwright.metrics import QA, TAGGING
from bertwright.run.bundle import Bundle
from bertwright.tasks.tagging import words_of

LINES = 256
"""Lines of standard input predicted at a time, where it is no terminal."""


@dataclass(frozen=True)
class Input:
    """Rows, and the columns of their source, as many values each."""

    rows: Dataset
    columns: dict[str, Sequence[Any]]


def open_input(bundle: Bundle, reading: DataOptions) -> Input:
    """Read rows to predict: texts by the columns named, else those the model was trained on, else a guess.

    Raises:
        DataError: the source is missing, damaged or empty, or there is no such column.
    """
    path, named, header = Path(reading.data), reading.columns, header_of(bundle, reading)
    named = named if named is None else replace(named, header=header)
    if bundle.task.outcome_kind == TAGGING:
        return _tagging_input(bundle, reading, path, named)
    if bundle.task.outcome_kind == QA:
        rows = bundle.read(
            reading.data,
            named or replace(trained_on(bundle), header=header),
            labelled=False,
            encoding=reading.encoding,
        )
        asked = read_squad(path, reading.encoding, header) if path.is_file() else None
        return Input(rows, _columns_of(rows) if asked is None else {name: asked.column(name) for name in asked.names})
    if not path.is_file() or (named is None and detect_layout(path) is not None):
        columns = named or ColumnNames(header=header)
        rows = bundle.read(reading.data, columns, labelled=False, encoding=reading.encoding)
        return Input(rows, _columns_of_file(path, reading.encoding, columns, len(rows)) or _columns_of(rows))
    table = read_table(path, reading.encoding, header)
    if named is None:
        trained = trained_on(bundle)
        named = trained if {trained.text, trained.text_pair} <= {*table.names, None} else ColumnNames()
    rows = bundle.task.target_spec.build_dataset(table, replace(named, label=(), header=header), need_target=False)
    return Input(bundle.cleaned(rows), {name: table.column(name) for name in table.names})


def header_of(bundle: Bundle, reading: DataOptions) -> bool:
    """Whether the first line of a delimited file names its columns: as the options say, else as in training."""
    if reading.header is not None:
        return reading.header
    return bundle.recipe is None or bundle.recipe.data.header


def _tagging_input(bundle: Bundle, reading: DataOptions, path: Path, named: ColumnNames | None) -> Input:
    """Rows of words; a table's columns stay, those of a column file only where a column file is written again."""
    trained = trained_on(bundle)
    columns = named or replace(trained, header=header_of(bundle, reading))
    rows = bundle.read(reading.data, columns, labelled=False, encoding=reading.encoding)
    tables = path.is_file() and not holds_columns(path)
    cells = _columns_of_file(path, reading.encoding, columns, len(rows), by_sentence=True) if tables else {}
    return Input(rows, cells | {name: column for name, column in words_and_texts(rows).items() if name not in cells})


def words_and_texts(examples: Sequence[Example]) -> dict[str, Sequence[Any]]:
    """The texts that the places of spans count the characters of, and their words."""
    words = [[example.text[start:end] for start, end in words_of(example)] for example in examples]
    return {"text": [example.text for example in examples], "words": words}


def trained_on(bundle: Bundle) -> ColumnNames:
    """The text columns of the rows that a bundle was trained on; none where they are not known."""
    if bundle.recipe is None:
        return ColumnNames()
    data = bundle.recipe.data
    published = TASKS.get(data.format or "")
    return (
        ColumnNames(data.text, data.text_pair, header=data.header)
        if published is None
        else ColumnNames(published.text, published.text_pair)
    )


def lines_of_stdin(bundle: Bundle, reading: DataOptions) -> Iterator[list[Example]]:
    """The lines of standard input as they come, some at a time: one text each, or two with a tab between.

    Raises:
        DataError: columns are named, a line is not in the encoding, or it has no tab where the model takes pairs.
    """
    if reading.columns is not None:
        raise DataError("standard input: has a text a line and no columns; leave --text out, or name a file.")
    many = 1 if sys.stdin.isatty() else LINES
    numbered = enumerate(stdin_lines(reading.encoding))
    while lines := list(islice(numbered, many)):
        yield [bundle.cleaned_example(_example(bundle, i, where, text)) for i, (where, text) in lines]


def _example(bundle: Bundle, i: int, where: str, text: str) -> Example:
    if not bundle.takes_pairs:
        return Example(str(i), text, where=where)
    first, tab, second = text.partition("\t")
    if not tab:
        raise DataError(f"{where}: the model takes two texts a row; write them with a tab between.")
    return Example(str(i), first, second, where=where)


def _columns_of_file(
    path: Path, encoding: str, columns: ColumnNames, n_rows: int, by_sentence: bool = False
) -> dict[str, Sequence[Any]]:
    """The columns of a benchmark's file, if it is a plain table of so many rows; some have no header."""
    try:
        table = read_table(path, encoding, columns.header)
        table = group_words(table, columns) if by_sentence else table
    except DataError:  # a folder, or a row that the benchmark's own reader passed over and reported
        return {}
    return {name: table.column(name) for name in table.names} if table.n_rows == n_rows else {}


def _columns_of(rows: Dataset) -> dict[str, Sequence[Any]]:
    """What is known of rows that are in no table: their ids and texts, under the names their source has for them."""
    names = rows.report.columns
    columns: dict[str, Sequence[Any]] = {
        names.id or "id": [example.id for example in rows],
        names.text or "text": [example.text for example in rows],
    }
    if rows and rows[0].text_pair is not None:
        columns[names.text_pair or "text_pair"] = [example.text_pair for example in rows]
    return columns
