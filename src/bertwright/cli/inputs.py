"""The rows to predict and the other columns of their file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bertwright.cli.options import DataOptions
from bertwright.cli.stdin import stdin_lines
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.folders import detect_layout
from bertwright.data.glue import TASKS
from bertwright.data.table_files import read_table
from bertwright.errors import DataError
from bertwright.run.bundle import Bundle

LINES = 256
"""Lines of standard input predicted at a time, where it is no terminal."""


@dataclass(frozen=True)
class Input:
    """Rows to predict and the columns of their source, with one value per row."""

    rows: Dataset
    columns: dict[str, Sequence[Any]]


def open_input(bundle: Bundle, reading: DataOptions) -> Input:
    """Read rows to predict: use the columns of the options, those of training, or inferred ones.

    Raises:
        DataError: the source is missing, damaged or empty, or a column is missing.
    """
    path, named, header = Path(reading.data), reading.columns, header_of(bundle, reading)
    named = named if named is None else replace(named, header=header)
    target, shares_columns = bundle.task.target_spec, bundle.task.target_spec.shares_columns
    if not shares_columns or not path.is_file() or (named is None and detect_layout(path) is not None):
        trained = ColumnNames() if shares_columns else find_trained_columns(bundle)
        columns = named or replace(trained, header=header)
        rows = bundle.read(reading.data, columns, labelled=False, encoding=reading.encoding)
        file_columns = target.file_columns(path, reading.encoding, columns, len(rows))
        return Input(rows, bundle.task.prediction_format.source_columns(file_columns, rows))
    table = read_table(path, reading.encoding, header)
    if named is None:
        trained = find_trained_columns(bundle)
        choices = (trained.choices,) if isinstance(trained.choices, str) else trained.choices or ()
        has_trained_columns = {trained.text, trained.text_pair, *choices} <= {*table.names, None}
        named = trained if has_trained_columns else ColumnNames()
    rows = target.build_dataset(table, replace(named, label=(), header=header), need_target=False)
    return Input(bundle.normalize_texts(rows), {name: table.column(name) for name in table.names})


def header_of(bundle: Bundle, reading: DataOptions) -> bool:
    """Whether the first line of a delimited file names its columns: as the options say, else as in training."""
    if reading.header is not None:
        return reading.header
    return bundle.recipe is None or bundle.recipe.data.header


def find_trained_columns(bundle: Bundle) -> ColumnNames:
    """The text columns of the rows that a bundle was trained on; none where they are not known."""
    if bundle.recipe is None:
        return ColumnNames()
    data = bundle.recipe.data
    published = TASKS.get(data.format or "")
    return (
        ColumnNames(data.text, data.text_pair, header=data.header, choices=data.choices)
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
        yield [bundle.normalize_example(_example(bundle, i, where, text)) for i, (where, text) in lines]


def _example(bundle: Bundle, i: int, where: str, text: str) -> Example:
    if not bundle.takes_pairs:
        return Example(str(i), text, where=where)
    first, tab, second = text.partition("\t")
    if not tab:
        raise DataError(f"{where}: the model takes two texts a row; write them with a tab between.")
    return Example(str(i), first, second, where=where)
