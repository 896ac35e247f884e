"""Predictions as columns, and columns as files."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO

from bertwright.cli.options import OutputOptions
from bertwright.data.table_files import ABSENT
from bertwright.errors import DataError, MissingDependencyError, OutputError
from bertwright.files.atomic import atomic_file, check_writable
from bertwright.files.strict_json import to_json
from bertwright.tasks.formats.spec import TASK_FORMATS, UNCERTAINTY, FileFormat
from bertwright.tasks.spec import Prediction, Task, round_prediction

Columns = Mapping[str, Sequence[Any]]
"""Column name → a value for each row."""

FORMATS = ("csv", "tsv", "jsonl", "parquet")

ROW_GROUP_BYTES = 1 << 24
"""Minimum size of a row group of a Parquet file in memory, except for the last one."""

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
    path = check_new_file(output, destination.overwrite)
    format_ = destination.format or _SUFFIXES.get(path.suffix.lower())
    if format_ is None or (format_ in _TASK_FORMATS and format_ != task_format and destination.format is None):
        raise OutputError(
            f"{output}: no format has the suffix {path.suffix or '(none)'}; end it in "
            f".{', .'.join((*FORMATS, task_format) if task_format else FORMATS)}, or add --format."
        )
    return _check_format(format_, output, task_format)


def check_new_file(output: str, overwrite: bool) -> Path:
    """Check that a file can be written, before anything is computed, and return its path.

    Args:
        output: the file.
        overwrite: whether an existing file is replaced.

    Raises:
        OutputError: it already exists, or it cannot be written.
    """
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"{output}: is a directory; name the file to write in it.")
    if path.is_file() and not overwrite:
        raise OutputError(f"{output}: already exists; choose another file, or add --overwrite.")
    check_writable(path)
    return path


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


def columns_of(task: Task, predictions: Sequence[Prediction], uncertainty: bool) -> dict[str, list[Any]]:
    """Predictions as columns of a table, with entropy and margin if ``uncertainty``; empty without predictions."""
    columns = task.columns(predictions)
    if uncertainty:
        columns |= uncertainty_columns([(p.entropy or 0.0, p.margin or 0.0) for p in predictions])
    return columns


def uncertainty_columns(values: Sequence[tuple[float, float]]) -> dict[str, list[Any]]:
    """Entropies and margins as columns of a table."""
    return {name: [round_prediction(pair[i]) for pair in values] for i, name in enumerate(UNCERTAINTY)}


class ColumnChecker:
    """Checks that a format can hold the columns of the input, part by part, before anything is predicted.

    Args:
        added: the columns that are written next to those of the input.
        format_: the format to write; None: no file is written.
    """

    def __init__(self, added: Columns, format_: str | None) -> None:
        self._format = format_
        self._added = added
        self._names: Sequence[str] = ()
        self._schema: Any = None
        self._n_rows = 0

    def check(
        self, names: Sequence[str], n_rows: int, column: Callable[[str], Sequence[Any]], where: Callable[[int], str]
    ) -> None:
        """Check the next part of the input.

        Args:
            names: its columns.
            n_rows: the number of its rows.
            column: function that returns the values of a column.
            where: function that returns the position of row i, for messages.

        Raises:
            DataError: the format cannot hold a value, or a column that the first part lacks.
        """
        if self._format is None:
            return
        for name in names if self._n_rows else ():
            if name not in self._names and (remedy := self._refuse_new_column(name)):
                i = next(i for i, value in enumerate(column(name)) if value is not ABSENT)
                raise DataError(f'{where(i)}: has the column "{name}", which no row before has; {remedy}.')
        if self._format == "tsv":
            for _ in _tsv({name: column(name) for name in names}, self._n_rows):
                pass
            for _ in _tsv(self._added):
                pass
        elif self._format == "parquet":
            self._schema = _unify_schemas(self._schema, _arrow_table({name: column(name) for name in names}).schema)
        self._names, self._n_rows = names, self._n_rows + n_rows

    def _refuse_new_column(self, name: str) -> str | None:
        """What to do about a column that the rows before do not have; None if it can be written."""
        if self._format in ("csv", "tsv"):
            return "write .jsonl or .parquet, or save the input as a file"
        if name in join_columns(dict.fromkeys(self._names, ()), self._added, "jsonl"):
            return "predictions already have a column of this name; save the input as a file"
        return None


def write(columns: Columns, output: str, format_: str) -> None:
    """Write columns to a file, whole or not at all, or to standard output (``-``).

    Raises:
        OutputError: the place cannot be written to.
        DataError: the format cannot hold a value.
    """
    with open_writer(output, format_) as write_part:
        write_part(columns)


@contextmanager
def open_writer(output: str, format_: str) -> Iterator[Callable[[Columns], None]]:
    """Provide a function that writes the columns of the next rows to a file or to standard output (``-``).

    The file exists after the block, complete; if the block raises, or writes nothing, an existing file is unchanged.
    Memory does not grow with the number of parts.

    Raises:
        OutputError: the place cannot be written to.
        DataError: the format cannot hold a value.
    """
    n_rows = 0
    with ExitStack() as stack:
        file: BinaryIO | None = None
        parquet = _ParquetParts(stack.enter_context(TemporaryFile())) if format_ == "parquet" else None

        def write_part(columns: Columns) -> None:
            nonlocal file, n_rows
            if file is None:  # a folder is not created before the first rows are predicted
                file = stack.enter_context(_open_output(output))
            if parquet is not None:
                parquet.add(columns)
            else:
                file.writelines(_text_lines(columns, format_, n_rows))
                file.flush()
            n_rows += len(next(iter(columns.values()), ()))

        yield write_part
        if parquet is not None and file is not None:
            parquet.write(file)


@contextmanager
def _open_output(output: str) -> Iterator[BinaryIO]:
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic_file(output) as partial, partial.open("wb") as file:
        yield file


def write_lines(lines: Iterable[bytes], output: str) -> None:
    """Write lines, which end as they should, to a file, whole or not at all, or to standard output (``-``).

    Raises:
        OutputError: the place cannot be written to.
    """
    with _open_output(output) as file:
        file.writelines(lines)


def _text_lines(columns: Columns, format_: str, n_before: int) -> Iterator[bytes]:
    lines: Callable[[Columns, int], Iterator[str]] = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[format_]
    # half a surrogate pair, which JSON can spell and UTF-8 cannot, is written as its escape
    return (line.encode("utf-8", "backslashreplace") for line in lines(columns, n_before))


def _csv(columns: Columns, n_before: int = 0) -> Iterator[str]:
    buffer = io.StringIO()
    plain = csv.writer(buffer, lineterminator="\n")
    # Python up to 3.12 does not quote a lone carriage return, at which readers end a line
    quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in _rows_of_cells(columns, n_before):
        (quoting if any("\r" in cell for cell in row) else plain).writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _tsv(columns: Columns, n_before: int = 0) -> Iterator[str]:
    for number, row in enumerate(_rows_of_cells(columns, n_before), n_before + bool(n_before)):
        for name, cell in zip(columns, row, strict=True):
            if any(mark in cell for mark in "\t\n\r"):
                raise DataError(
                    f'row {number}: "{name}" holds a tab or a line break, which .tsv cannot; write .csv or .jsonl.'
                )
        yield "\t".join(row) + "\n"


def _jsonl(columns: Columns, n_before: int = 0) -> Iterator[str]:
    for row in zip(*columns.values(), strict=True):
        values = {name: _json_value(value) for name, value in zip(columns, row, strict=True)}
        yield to_json(values) + "\n"


def _rows_of_cells(columns: Columns, n_before: int) -> Iterator[list[str]]:
    """The rows of a delimited file; the names of the columns first, unless rows were written before."""
    if not n_before:
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


class _ParquetParts:
    """Rows of a Parquet file whose types are known when all have been added.

    Args:
        spool: the file that holds them until then.
    """

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self._schema: Any = None
        self._n_parts = 0

    def add(self, columns: Columns) -> None:
        """Add rows.

        Raises:
            DataError: Parquet cannot hold a value.
        """
        table = _arrow_table(columns)
        import pyarrow as pa

        self._schema = _unify_schemas(self._schema, table.schema)
        with pa.ipc.new_stream(self._spool, table.schema) as stream:
            stream.write_table(table)
        self._n_parts += 1

    def write(self, file: BinaryIO) -> None:
        """Write all rows as a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._spool.seek(0)
        pending: list[Any] = []
        with pq.ParquetWriter(pa.PythonFile(file, "w"), self._schema) as writer:
            for number in range(1, self._n_parts + 1):
                with pa.ipc.open_stream(self._spool) as stream:
                    pending.append(_cast(stream.read_all(), self._schema))
                if number == self._n_parts or sum(table.nbytes for table in pending) >= ROW_GROUP_BYTES:
                    writer.write_table(pa.concat_tables(pending).combine_chunks())
                    pending.clear()


def _cast(table: Any, schema: Any) -> Any:
    """A table with the columns and types of a schema that was unified with its own."""
    import pyarrow as pa

    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        try:
            columns.append(column.cast(field.type, safe=False))
        except pa.ArrowNotImplementedError:
            columns.append(pa.array(column.to_pylist(), field.type))
    return pa.table(columns, schema=schema)


def _unify_schemas(first: Any, second: Any) -> Any:
    """The types that hold the values of two tables, as pyarrow infers them from all values; ``first`` may be None.

    Raises:
        DataError: no type holds the values of a column.
    """
    import pyarrow as pa

    if first is None or first == second:
        return second
    fields = {field.name: field for field in first}
    for field in second:
        try:
            schemas = [pa.schema([fields.get(field.name, field)]), pa.schema([field])]
            fields[field.name] = pa.unify_schemas(schemas, promote_options="permissive").field(0)
        except pa.ArrowException as error:
            raise _wrong_values(field.name, error) from None
    return pa.schema(list(fields.values()))


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
            raise _wrong_values(name, error) from None
    return pa.table(arrays)


def _wrong_values(name: str, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return DataError(f'the column "{name}": Parquet cannot hold its values ({reason}); write .jsonl.')
