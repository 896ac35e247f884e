"""Predictions as columns, and columns as files."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bertwright.cli.options import OutputOptions
from bertwright.data.table_files import ABSENT
from bertwright.errors import DataError, MissingDependencyError, OutputError
from bertwright.files.atomic import atomic_file, check_writable
from bertwright.files.strict_json import to_json
from bertwright.tasks.formats.spec import TASK_FORMATS, FileFormat
from bertwright.tasks.spec import Task

Columns = Mapping[str, Sequence[Any]]
"""Column name → a value for each row."""

FORMATS = ("csv", "tsv", "jsonl", "parquet")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_SUFFIXES |= {suffix: task_format.name for task_format in TASK_FORMATS for suffix in task_format.suffixes}
_TASK_FORMATS = {task_format.name: task_format for task_format in TASK_FORMATS}


def choose_format(destination: OutputOptions, source: str, own_format: FileFormat | None) -> str:
    """Return the format to write, before the model predicts.

    Args:
        destination: the options of the output.
        source: the file or name of the rows.
        own_format: the format that only predictions of this task support; None: no such format.

    Raises:
        OutputError: the file already exists or cannot be written, or its name does not show the format.
    """
    output, task_format = destination.output or "-", None if own_format is None else own_format.name
    if output == "-":
        alike = _SUFFIXES.get(Path(source).suffix)
        usual = alike if alike in ("jsonl", task_format) and alike is not None else "csv"
        return _check_format(destination.format or usual, output, task_format)
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"{output}: is a directory; name the file to write in it.")
    if path.is_file() and not destination.overwrite:
        raise OutputError(f"{output}: already exists; choose another file, or add --overwrite.")
    check_writable(path)
    format_ = destination.format or _SUFFIXES.get(path.suffix.lower())
    if format_ is None or (format_ in _TASK_FORMATS and format_ != task_format and destination.format is None):
        raise OutputError(
            f"{output}: no format has the suffix {path.suffix or '(none)'}; end it in "
            f".{', .'.join((*FORMATS, task_format) if task_format else FORMATS)}, or add --format."
        )
    return _check_format(format_, output, task_format)


def is_own_format(task: Task, format_: str) -> bool:
    """Whether only predictions of the task can be written in a format."""
    task_format = task.prediction_format.own_format
    return task_format is not None and format_ == task_format.name


def _check_format(format_: str, output: str, task_format: str | None) -> str:
    if format_ in _TASK_FORMATS and format_ != task_format:
        contents = _TASK_FORMATS[format_].contents
        raise OutputError(f"{output}: the format {format_} is for {contents}; choose {', '.join(FORMATS)}.")
    return str(format_)


def join_columns(source: Columns, predicted: Columns, format_: str) -> dict[str, Sequence[Any]]:
    """Return input columns and predicted columns; these get the suffix ``_predicted`` if the name is taken.

    In delimited files, lists of the input are JSON, which readers take for the same list in every kind of column.
    """
    joined: dict[str, Sequence[Any]] = dict(source)
    if format_ in ("csv", "tsv"):
        joined = {name: [_list_as_json(value) for value in values] for name, values in source.items()}
    for name, values in predicted.items():
        while name in joined:
            name += "_predicted"
        joined[name] = values
    return joined


def check_values(columns: Columns, task: Task, format_: str) -> None:
    """See that the input's own columns, and the names of those to come, fit the format, before anything is predicted.

    Raises:
        DataError: the format cannot hold a value.
    """
    if format_ == "tsv":
        for _ in chain(_tsv(columns), _tsv(task.columns([]))):
            pass
    elif format_ == "parquet":
        _arrow_table(columns)


def write(columns: Columns, output: str, format_: str) -> None:
    """Write columns to a file, whole or not at all, or to standard output (``-``).

    Raises:
        OutputError: the place cannot be written to.
        DataError: the format cannot hold a value.
    """
    if format_ == "parquet":
        buffer = io.BytesIO()
        _parquet(columns, buffer)
        write_lines([buffer.getvalue()], output)
    else:
        write_lines(_text_lines(columns, format_), output)


def write_lines(lines: Iterable[bytes], output: str) -> None:
    """Write lines, which end as they should, to a file, whole or not at all, or to standard output (``-``).

    Raises:
        OutputError: the place cannot be written to.
    """
    if output == "-":
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
        return
    with atomic_file(output) as partial, partial.open("wb") as file:
        file.writelines(lines)


def _text_lines(columns: Columns, format_: str) -> Iterator[bytes]:
    lines: Callable[[Columns], Iterator[str]] = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[format_]
    # half a surrogate pair, which JSON can spell and UTF-8 cannot, is written as its escape
    return (line.encode("utf-8", "backslashreplace") for line in lines(columns))


def _csv(columns: Columns) -> Iterator[str]:
    buffer = io.StringIO()
    plain = csv.writer(buffer, lineterminator="\n")
    # Python up to 3.12 does not quote a lone carriage return, at which readers end a line
    quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in _rows_of_cells(columns):
        (quoting if any("\r" in cell for cell in row) else plain).writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _tsv(columns: Columns) -> Iterator[str]:
    for number, row in enumerate(_rows_of_cells(columns)):
        for name, cell in zip(columns, row, strict=True):
            if any(mark in cell for mark in "\t\n\r"):
                raise DataError(
                    f'row {number}: "{name}" holds a tab or a line break, which .tsv cannot; write .csv or .jsonl.'
                )
        yield "\t".join(row) + "\n"


def _jsonl(columns: Columns) -> Iterator[str]:
    for row in zip(*columns.values(), strict=True):
        values = {name: _json_value(value) for name, value in zip(columns, row, strict=True)}
        yield to_json(values) + "\n"


def _rows_of_cells(columns: Columns) -> Iterator[list[str]]:
    yield list(columns)
    for row in zip(*columns.values(), strict=True):
        yield [_cell(value) for value in row]


def _list_as_json(value: Any) -> Any:
    return to_json(value) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    """A value as a cell that the reader of this package takes for the same value."""
    if isinstance(value, str):
        return value
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, list) and not any(not isinstance(item, str) or "," in item or not item for item in value):
        return ",".join(value)
    return to_json(value) if isinstance(value, list | dict) else str(value)


def _json_value(value: Any) -> Any:
    return None if value is ABSENT else value


def _parquet(columns: Columns, target: Any) -> None:
    table = _arrow_table(columns)
    import pyarrow.parquet as pq

    pq.write_table(table, target)


def _arrow_table(columns: Columns) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingDependencyError("parquet: pyarrow is not installed; run `pip install pyarrow`.") from error
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array([None if value is ABSENT else value for value in values])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise DataError(f'the column "{name}": Parquet cannot hold its values ({reason}); write .jsonl.') from None
    return pa.table(arrays)
