"""Readers of tables with named columns: CSV, TSV, JSON Lines, JSON lists, Parquet and plain text, also gzipped.

Every kind of damage is an error that names the file, the line and the remedy. Nothing is inferred, skipped or repaired
without a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bertwright.data.delimited import (
    SEPARATORS,
    Records,
    consistent_width,
    infer_separator,
    parse_csv,
    parse_directive,
    parse_tsv,
)
from bertwright.data.json_shapes import describe, find_rows
from bertwright.data.text_files import check_file, is_empty, load_text, split_lines, text_blocks
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize


class _Absent:
    """The value of a key that a row of a JSON file does not have (a null value is None)."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()

SAMPLE: Final = 1 << 16
"""Characters that determine the format of a file."""

_FILLED_LINE = re.compile(r"[^\S\n]*\S[^\n]*")
_AROUND_NAMES = " \t\xa0\ufeff"  # stripped from column names; the last is a second byte-order mark


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        source: the name of the table in messages.
        names: the columns in order.
        n_rows: the number of rows.
        column: function that returns the values of a column; None for a missing value, ``ABSENT`` if a JSON row lacks
            the key.
        where: function that returns the position of row i, for messages: ``file:line`` counts from 1, ``source[i]``
            from 0.
        labels: the class names of columns of class numbers.
        skipped: the number of skipped rows, by reason.
        notes: inferences of the reader that the user should know.
        warnings: signs that the file was not read as intended.
        header: position of the line with the column names; None without a header.
        hint: what to change if the columns are not the expected ones; "" if there is no suggestion.
    """

    source: str
    names: Sequence[str]
    n_rows: int
    column: Callable[[str], Sequence[Any]]
    where: Callable[[int], str]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    header: str | None = None
    hint: str = ""

    def select(self, rows: Sequence[int]) -> Table:
        """The table of these rows, in this order."""
        return replace(
            self,
            n_rows=len(rows),
            column=lambda name: [values[i] for values in (self.column(name),) for i in rows],
            where=lambda i: self.where(rows[i]),
        )

    def without(self, name: str) -> Table:
        """The table without one column."""
        return replace(self, names=[other for other in self.names if other != name])


def read_table(path: Path, encoding: str = "utf-8", has_header: bool = True, limit: int | None = None) -> Table:
    """Read a file in the format of its suffix (``FORMATS``; text formats also with ``.gz``).

    Args:
        path: the file.
        encoding: the encoding of a text file.
        has_header: whether the first line of a delimited file contains the column names.
        limit: read at most N rows of a CSV file; None reads all.

    Raises:
        DataError: the file is missing, empty, damaged, in another encoding or of an unknown format.
    """
    kind = check_format(path)
    if kind == ".csv":
        table = _csv(text_blocks(path, encoding), str(path), has_header, limit)
    elif kind in DELIMITED:
        table = _tsv(load_text(path, encoding), str(path), has_header)
    else:
        table = _parquet(path) if kind == PARQUET else _PARSERS[kind](load_text(path, encoding), str(path))
        table = table if has_header else without_header_line(table, kind)
    if not table.n_rows:
        raise no_rows(table)
    return table


def check_format(path: Path) -> str:
    """Check that a path is a file in one of ``FORMATS``, and return the suffix of its format.

    Raises:
        DataError: the file is missing or of an unknown format.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) == 2 else (suffixes or [""])[-1]
    check_file(path)
    if kind not in DELIMITED and kind not in _PARSERS and (kind != PARQUET or suffixes[-1] == ".gz"):
        raise DataError(f"{path}: unknown suffix {kind or '(none)'}; save the file as one of {FORMATS}.")
    return kind


def no_rows(table: Table) -> DataError:
    """The error of a table without rows."""
    contents = "a header but no rows" if table.header else "no rows"
    return DataError(f"{table.source}: has {contents}; check that it is the right file.")


def without_header_line(table: Table, kind: str) -> Table:
    """Add a note that ``data.header`` does not apply to this format."""
    note = f"{table.source}: data.header=false is ignored; a {kind} file has no header line"
    return replace(table, notes=[*table.notes, note])


def _csv(blocks: Iterable[str], source: str, has_header: bool, limit: int | None) -> Table:
    records = parse_csv(blocks, source, has_header, limit)
    [table] = tables_of_records(refuse_blank([records], source), source, has_header)
    return table


def _tsv(text: str, source: str, has_header: bool) -> Table:
    [table] = tables_of_records([parse_tsv(split_lines(text), source, has_header)], source, has_header)
    return add_tsv_hint(table, text)


def add_tsv_hint(table: Table, text: str) -> Table:
    """Add a hint to the table of a TSV file, which begins with ``text``, if its columns have another separator."""
    if table.header and len(table.names) == 1 and (separator := infer_separator(text[:SAMPLE])) in table.names[0]:
        hint = f"a .tsv file has tabs between columns, but the header has {SEPARATORS[separator]}; rename it to .csv"
        return replace(table, hint=hint)
    return table


def refuse_blank(parts: Iterable[Records], source: str) -> Iterator[Records]:
    """Pass the records of a CSV file on.

    Raises:
        DataError: none of them has text in a cell.
    """
    is_blank = True
    for records in parts:
        is_blank &= not records.notes and not any(cell.strip() for record in records.cells for cell in record)
        yield records
    if is_blank:
        raise is_empty(source)


def tables_of_records(parts: Iterable[Records], source: str, has_header: bool) -> Iterator[Table]:
    """Turn the records of a delimited file into tables with the same columns: one for each part that has rows.

    There is at least one table. Without a header, columns are named by their number from 0.

    Raises:
        DataError: there are no records, two columns have the same name, or a record has another width than the header.
    """
    header, notes = None, list[str]()
    places: dict[str, int] | None = None
    width = n_tables = n_blank = 0
    has_row_numbers = False
    for records in parts:
        rows, lines = records.cells, records.lines
        notes += [f"{source}: {note}" for note in records.notes]
        if blank := rows.count([]):
            filled = [i for i, row in enumerate(rows) if row]
            rows, lines = [rows[i] for i in filled], [lines[i] for i in filled]
            n_blank += blank
        if not rows:
            continue
        if places is None:
            names = [str(place) for place in range(len(rows[0]))]
            if has_header:
                header, names = f"{source}:{lines[0]}", [name.strip(_AROUND_NAMES) for name in rows[0]]
                if names != rows[0]:
                    notes.append(f"{source}: ignores spaces around column names")
                rows, lines = rows[1:], lines[1:]
            width, places = len(names), _places(names, header or source)
            has_row_numbers = has_header and [each[:1] for each in rows[:2]] == [["1"], ["2"]]
        for i, row in enumerate(rows):
            if len(row) != width:
                raise _wrong_width(records, row, f"{source}:{lines[i]}", width, has_row_numbers)
        if rows:
            yield _part_of_records(rows, lines, places, source, header, notes, n_blank)
            n_tables, n_blank, notes = n_tables + 1, 0, []
    if places is None:
        raise DataError(f"{source}: has no rows; check that it is the right file.")
    if not n_tables or n_blank:
        yield _part_of_records([], [], places, source, header, notes, n_blank)


def _part_of_records(
    rows: list[list[str]],
    lines: list[int],
    places: dict[str, int],
    source: str,
    header: str | None,
    notes: list[str],
    n_blank: int,
) -> Table:
    return Table(
        source,
        list(places),
        len(rows),
        lambda name: [row[places[name]] for row in rows],
        lambda i: f"{source}:{lines[i]}",
        skipped={"blank line": n_blank} if n_blank else {},
        notes=notes,
        header=header,
    )


def _wrong_width(records: Records, row: list[str], where: str, width: int, has_row_numbers: bool) -> DataError:
    remedy = records.short_remedy if len(row) < width else records.long_remedy
    if not any(row[width:]) and len(row) > width:
        remedy = "remove the separator at its end"
    elif has_row_numbers:
        remedy = "every row has one more, as R's write.table adds row names; write the file with row.names=FALSE"
    return DataError(f"{where}: expected {pluralize(width, 'column')}, found {len(row)}; {remedy}.")


def _places(names: Sequence[str], header: str) -> dict[str, int]:
    """Column name → index; columns without a name, which spreadsheets leave behind, count once."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and name in places:
            raise DataError(f'{header}: two columns have the name "{name}"; rename one of them.')
        places.setdefault(name, place)
    return places


BLANK: Final = object()
"""Stands for a blank line of a JSON Lines file."""

_HUGE_NUMBER: Final = "contains a number of thousands of digits; write it as a string, or remove its column"


def parse_json_line(line: str, where: str) -> Any:
    """Parse a line of a JSON Lines file.

    Raises:
        DataError: the line is not valid JSON.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON ({error.msg} at column {error.colno})"
        raise DataError(f"{where}: {problem}; write one complete object per line.") from None
    except ValueError:
        raise DataError(f"{where}: {_HUGE_NUMBER}.") from None
    except RecursionError:
        raise DataError(f"{where}: is nested too deeply; expected an object of plain values.") from None


def _json_lines(text: str, source: str) -> Table:
    [table] = tables_of_json_lines(split_lines(text), source)
    return table


def iterate_json_lines(lines: Iterable[str], source: str) -> Iterator[tuple[int, Any]]:
    """The values in the lines of a JSON Lines file, each with the number of its line from 1; ``BLANK`` for a
    blank line.

    Raises:
        DataError: a line is not valid JSON.
    """
    is_first = True
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if is_first and text == "[":
            raise DataError(
                f"{source}:{number}: is a JSON list; expected one object per line; rename the file to .json."
            )
        is_first &= not text
        yield number, parse_json_line(line, f"{source}:{number}") if text else BLANK


def tables_of_json_lines(
    lines: Iterable[str], source: str, names: Iterable[str] = (), size: int | None = None
) -> Iterator[Table]:
    """Turn a JSON Lines file into tables of ``size`` rows; at least one, and only the last one may have fewer.

    Args:
        lines: of the file.
        source: the name of the file in messages.
        names: columns of all tables; each also has the keys of its rows and of the rows before.
        size: number of rows of each table; None: all rows are one table.

    Raises:
        DataError: a line is not a JSON object.
    """
    values = iterate_json_lines(lines, source)
    n_tables = 0
    while True:
        rows: list[Any] = []
        numbers: list[int] = []
        blank = 0
        for number, value in values:
            if value is BLANK:
                blank += 1
                continue
            rows.append(value)
            numbers.append(number)
            if len(rows) == size:
                break
        if rows or blank or not n_tables:
            table = _part_of_json_lines(rows, numbers, source, names, blank)
            names, n_tables = table.names, n_tables + 1
            yield table
        if size is None or len(rows) < size:
            return


def _part_of_json_lines(
    rows: Sequence[Any], numbers: Sequence[int], source: str, names: Iterable[str], blank: int
) -> Table:
    skipped = {"blank line": blank} if blank else {}
    return table_of_dicts(rows, source, lambda i: f"{source}:{numbers[i]}", skipped=skipped, names=names)


def _json(text: str, source: str) -> Table:
    """Read a JSON list of objects, one object that contains rows (``json_shapes``), or JSON Lines."""
    start = text.lstrip()[:1]
    if start == "[":
        rows = _load_json(text, source)
        return table_of_dicts(rows, source, lambda i: f"{source}[{i}]")
    if start != "{" or _has_an_object_per_line(text):
        return _json_lines(text, source)
    rows, root, note = find_rows(_load_json(text, source), source)
    if not rows:
        raise DataError(f"{source}: has no rows; check that it is the right file.")
    prefix = f"{source}:{root}" if root else source
    table = table_of_dicts(rows, source, lambda i: source if note is None else f"{prefix}[{i}]")
    return table if note is None else replace(table, notes=[f"{source}: {note}"])


def _has_an_object_per_line(text: str) -> bool:
    """Whether the first non-blank line is complete JSON, and another one follows."""
    first = _FILLED_LINE.search(text)
    if first is None or _FILLED_LINE.search(text, first.end()) is None:
        return False
    try:
        json.loads(first[0])
    except (ValueError, RecursionError):
        return False
    return True


def _load_json(text: str, source: str) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: the file is not valid JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        extra = error.msg == "Extra data"
        remedy = "write each object on a separate line" if extra else "check that the file is complete"
        raise DataError(f"{source}:{error.lineno}: is not valid JSON ({error.msg}); {remedy}.") from None
    except ValueError:
        raise DataError(f"{source}: {_HUGE_NUMBER}.") from None
    except RecursionError:
        raise DataError(f"{source}: is nested too deeply; expected a list of objects of plain values.") from None


def table_of_dicts(
    rows: Sequence[Any],
    source: str,
    where: Callable[[int], str],
    skipped: dict[str, int] | None = None,
    names: Iterable[str] = (),
) -> Table:
    """Build the table of rows that are mappings from column to value; it has at least the columns ``names``.

    Raises:
        DataError: a row is not a mapping.
    """
    columns = dict.fromkeys(names)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            kind = describe(row) or f"a {type(row).__name__}"
            raise DataError(f'{where(i)}: expected an object such as {{"text": …, "label": …}}, found {kind}.')
        columns.update(dict.fromkeys(row))
    if rows and (wrapper := describe(rows[0])) is not None:
        raise DataError(f"{where(0)}: is {wrapper}.")
    return Table(
        source,
        list(columns),
        len(rows),
        lambda name: [row.get(name, ABSENT) for row in rows],
        where,
        skipped=skipped or {},
    )


# Enough of the usual column names to recognize a header; columns are inferred elsewhere.
_USUAL_NAMES: Final = {"text", "label", "sentence", "sentence1", "review", "sentiment", "target", "class", "tag"}


def _text(text: str, source: str) -> Table:
    return table_of_lines(split_lines(text), source, text[:SAMPLE])


def table_of_lines(lines: Sequence[str], source: str, sample: str, first: int = 1) -> Table:
    """The table of a file with one text per line; warns if the lines look like the records of a table.

    Args:
        lines: without their ends.
        source: the name of the file in messages.
        sample: the beginning of the file; "" for tables after the first one of a file.
        first: the number of the first line.
    """
    table = Table(source, ["text"], len(lines), lambda name: lines, lambda i: f"{source}:{i + first}")
    header = lines[0] if sample else ""
    separator = parse_directive(header) or infer_separator(sample)
    width = consistent_width(sample, separator)
    names = {name.strip(f'"{_AROUND_NAMES}').lower() for name in header.split(separator)}
    if len(lines) > 1 and width > 1 and (separator == "\t" or names & _USUAL_NAMES):
        suffix = ".tsv" if separator == "\t" else ".csv"
        contents = f"has {width} columns separated by {SEPARATORS.get(separator, separator)}"
        table.warnings.append(f"{source}: {contents}, but .txt is read as one text per line; rename it to {suffix}")
        table = replace(table, hint=f"the file {contents}; rename it to {suffix}")
    return table


def _parquet(path: Path) -> Table:
    with report_damage(str(path)):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        schema, n_rows = file.schema_arrow, file.metadata.num_rows

    def column(name: str) -> list[Any]:
        with report_damage(str(path)):
            values: list[Any] = pq.ParquetFile(path).read(columns=[name]).column(0).to_pylist()
        return values

    names, labels = parquet_columns(schema)
    return Table(str(path), names, n_rows, column, lambda i: f"{path}[{i}]", labels=labels)


@contextmanager
def report_damage(source: str) -> Iterator[None]:
    """Turn errors of pyarrow about a Parquet file into a message for the user.

    Raises:
        DataError: the block raised such an error.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(f"{source}: is a damaged Parquet file ({first}); download or write it again.") from None


def parquet_columns(schema: Any) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The columns of a Parquet file without those of the pandas index, and the class names of columns of numbers."""
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    return names, _class_names(schema.metadata or {})


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """The class names that ``datasets`` stores in Parquet files, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {name: kind.get("feature", kind) for name, kind in features.items()}  # the element type of lists
        return {name: tuple(kind["names"]) for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}  # written by another program or a later version: the numbers are the labels


DELIMITED: Final = (".csv", ".tsv", ".tab")
"""Suffixes of delimited files."""

PARQUET: Final = ".parquet"
"""The suffix of Parquet files."""

_PARSERS: Final[dict[str, Callable[[str, str], Table]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".txt": _text,
}
FORMATS: Final = ", ".join([*DELIMITED, *_PARSERS, PARQUET])
"""The supported suffixes, as one string for messages."""
