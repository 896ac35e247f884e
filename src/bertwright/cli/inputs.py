"""The rows to predict and the other columns of their file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from bertwright.cli.console import RowProgress, stderr_console
from bertwright.cli.options import DataOptions, InputOptions
from bertwright.cli.prediction_files import ColumnChecker, Columns
from bertwright.cli.stdin import stdin_lines
from bertwright.data.dataset import ColumnNames, Dataset, ReadReport
from bertwright.data.example import Example
from bertwright.data.folders import detect_layout
from bertwright.data.glue import TASKS
from bertwright.data.table_files import Table
from bertwright.data.table_parts import TableParts, join_parts, open_parts, open_stream
from bertwright.data.text_reader import TextReader
from bertwright.errors import DataError
from bertwright.run.bundle import Bundle

LINES = 256
"""Lines of standard input predicted at a time, where it is no terminal."""

ROWS = 4096
"""Rows of a file read and predicted at a time, so that memory does not grow with the file."""

STREAM_ROWS = 1024
"""Rows of a stream read and predicted at a time; fewer than of a file, because their producer may be slow."""


class Part(NamedTuple):
    """Rows to predict and the columns of their source, with one value per row."""

    examples: Sequence[Example]
    columns: Columns


@dataclass(frozen=True)
class Input:
    """Rows to predict.

    Attributes:
        parts: the rows in their order, read while they are predicted.
        total: the number of rows; None if it is not known before the last one is read.
        report: returns how the rows so far were read; None for rows that no reader changes.
        path: the file of the rows; None if they are not from a file.
        dataset: all rows, if they were read at once.
    """

    parts: Iterable[Part]
    total: int | None = None
    report: Callable[[], ReadReport] | None = None
    path: Path | None = None
    dataset: Dataset | None = None


def open_examples(bundle: Bundle, examples: Sequence[Example]) -> Input:
    """Predict examples that come from no table, such as texts of the command line."""
    return Input([_part_of_texts(bundle, examples)])


def open_input(bundle: Bundle, reading: InputOptions, added: Columns, format_: str | None, stack: ExitStack) -> Input:
    """Open rows to predict: use the columns of the options, those of training, or inferred ones.

    Rows of a file are checked before any is predicted; those of a stream when they are read.

    Args:
        bundle: the model.
        reading: what to read.
        added: the columns that are written next to those of the input.
        format_: the format to write; None: no file is written.
        stack: closes what is opened, when the rows are predicted.

    Raises:
        DataError: the source is missing, damaged or empty, a column is missing, or the output format cannot hold it.
    """
    path, checker = Path(reading.data), ColumnChecker(added, format_)
    if reading.data == "-" and reading.format is None:
        return Input(_lines_of_stdin(bundle, reading))
    if reading.format is None and not _is_streamed(bundle, path, reading):
        return _read_source(bundle, path, reading, checker)
    header = header_of(bundle, reading)
    is_stdin = reading.data == "-"
    if not is_stdin and (path.is_file() or path.is_dir() or not path.exists()):
        table = open_parts(path, ROWS, reading.encoding, header, reading.format)
    else:
        file = sys.stdin.buffer if is_stdin else stack.enter_context(path.open("rb"))
        name = "standard input" if is_stdin else reading.data
        table = open_stream(file, name, reading.format or "csv", STREAM_ROWS, reading.encoding, header)
    return _open_table(bundle, table, reading, checker)


def _is_streamed(bundle: Bundle, path: Path, reading: InputOptions) -> bool:
    """Whether a source is a file that can be read in parts: a table, and in no published layout."""
    if not bundle.task.target_spec.shares_columns or not path.is_file():
        return False
    return reading.columns is not None or detect_layout(path) is None


def _read_source(bundle: Bundle, path: Path, reading: InputOptions, checker: ColumnChecker) -> Input:
    """Read rows of a kind, or in a layout, that is read at once."""
    target, header = bundle.task.target_spec, header_of(bundle, reading)
    trained = ColumnNames() if target.shares_columns else find_trained_columns(bundle)
    named = reading.columns
    columns = replace(trained if named is None else named, header=header)
    rows = bundle.read(reading.data, columns, labelled=False, encoding=reading.encoding)
    file_columns = target.file_columns(path, reading.encoding, columns, len(rows))
    return _input_of_dataset(bundle, rows, file_columns, checker, path)


def _open_table(bundle: Bundle, table: TableParts, reading: InputOptions, checker: ColumnChecker) -> Input:
    """Open a table, in parts if rows of this kind can be read so."""
    iterator = table.iterate()
    first = next(iterator)
    named, header, target = reading.columns, header_of(bundle, reading), bundle.task.target_spec
    if named is None:
        trained = find_trained_columns(bundle)
        choices = (trained.choices,) if isinstance(trained.choices, str) else trained.choices or ()
        has_trained_columns = {trained.text, trained.text_pair, *choices} <= {*first.names, None}
        named = trained if has_trained_columns else ColumnNames()
    columns = replace(named, label=(), header=header)
    reader = target.text_reader(first, columns, bundle.normalization)
    if reader is None:
        entire = target.group_rows(join_parts(chain([first], iterator)), columns)
        rows = bundle.normalize_texts(target.build_dataset(entire, columns, need_target=False))
        has_all_rows = len(rows) == entire.n_rows
        columns_of_file = {name: entire.column(name) for name in entire.names if has_all_rows}
        return _input_of_dataset(bundle, rows, columns_of_file, checker, None)
    if not table.is_repeatable:
        return Input(_parts_of_table(chain([first], iterator), reader, checker), report=reader.report)
    with RowProgress(stderr_console(), None, "reading") as bar:
        for part in table.iterate():
            reader.check(part)
            checker.check(part.names, part.n_rows, part.column, part.where)
            bar.update(reader.n_rows)
    report = reader.report()
    reader = target.text_reader(first, columns, bundle.normalization) or reader
    return Input(_parts_of_table(table.iterate(), reader, None), report.n_rows, lambda: report)


def _parts_of_table(tables: Iterable[Table], reader: TextReader, checker: ColumnChecker | None) -> Iterator[Part]:
    for table in tables:
        examples = reader.read(table)
        if checker is not None:
            checker.check(table.names, table.n_rows, table.column, table.where)
        if examples:
            yield Part(examples, {name: table.column(name) for name in table.names})


def _input_of_dataset(
    bundle: Bundle, rows: Dataset, file_columns: dict[str, Sequence[Any]], checker: ColumnChecker, path: Path | None
) -> Input:
    columns = bundle.task.prediction_format.source_columns(file_columns, rows)
    checker.check(list(columns), len(rows), columns.__getitem__, lambda i: rows[i].where)
    parts = (
        Part(rows[i : i + ROWS], {name: values[i : i + ROWS] for name, values in columns.items()})
        for i in range(0, len(rows), ROWS)
    )
    return Input(parts, len(rows), lambda: rows.report, path, rows)


def _part_of_texts(bundle: Bundle, examples: Sequence[Example]) -> Part:
    return Part(examples, bundle.task.prediction_format.text_columns(examples))


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


def _lines_of_stdin(bundle: Bundle, reading: InputOptions) -> Iterator[Part]:
    """The lines of standard input as they come, some at a time: one text each, or two with a tab between.

    Raises:
        DataError: columns are named, a line is not in the encoding, or it has no tab where the model takes pairs.
    """
    if reading.columns is not None:
        raise DataError("standard input: has one text per line and no columns; remove --text, or add --input-format.")
    many = 1 if sys.stdin.isatty() else LINES
    numbered = enumerate(stdin_lines(reading.encoding))
    is_empty = True
    while lines := list(islice(numbered, many)):
        is_empty = False
        examples = [bundle.normalize_example(_example(bundle, i, where, text)) for i, (where, text) in lines]
        yield _part_of_texts(bundle, examples)
    if is_empty:
        raise DataError("standard input: is empty; write one text per line.")


def _example(bundle: Bundle, i: int, where: str, text: str) -> Example:
    if not bundle.takes_pairs:
        return Example(str(i), text, where=where)
    first, tab, second = text.partition("\t")
    if not tab:
        raise DataError(f"{where}: the model takes two texts a row; write them with a tab between.")
    return Example(str(i), first, second, where=where)
