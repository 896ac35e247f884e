"""Readers of tables with named columns: CSV, TSV, JSON Lines, JSON lists, Parquet and plain text, also gzipped.

Every kind of damage is an error that names the file, the line and the remedy. Nothing is inferred, skipped or repaired
without a note.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from bertwright.errors import DataError, did_you_mean
from bertwright.output.plurals import pluralize


class _Absent:
    """The value of a key that a row of a JSON file does not have (a null value is None)."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()

_BLOCK = 1 << 20  # bytes of a file to decode at a time
_SAMPLE = 1 << 16  # characters that determine the format of a file
_FILLED_LINE = re.compile(r"[^\S\n]*\S[^\n]*")
_AROUND_NAMES = " \t\xa0\ufeff"  # stripped from column names; the last is a second byte-order mark

_MAGIC = {
    b"\x1f\x8b": "gzip; add the suffix .gz",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet; use the suffix .parquet",
    b"%PDF": "a PDF; extract its text first",
    b"\xff\xfe": "UTF-16; set data.encoding=utf-16",
    b"\xfe\xff": "UTF-16; set data.encoding=utf-16",
}


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
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) == 2 else (suffixes or [""])[-1]
    if kind == ".parquet" and suffixes[-1] != ".gz":
        table = _parquet(path)
        return table if has_header else _without_header_line(table, kind)
    check_file(path)
    if kind not in _DELIMITED and kind not in _PARSERS:
        raise DataError(f"{path}: unknown suffix {kind or '(none)'}; save the file as one of {FORMATS}.")
    if kind == ".csv":
        table = _csv(text_blocks(path, encoding), str(path), has_header, limit)
    elif kind in _DELIMITED:
        table = _tsv(load_text(path, encoding), str(path), has_header)
    else:
        table = _PARSERS[kind](load_text(path, encoding), str(path))
        table = table if has_header else _without_header_line(table, kind)
    if not table.n_rows:
        contents = "a header but no rows" if table.header else "no rows"
        raise DataError(f"{path}: has {contents}; check that it is the right file.")
    return table


def _without_header_line(table: Table, kind: str) -> Table:
    """Add a note that ``data.header`` does not apply to this format."""
    note = f"{table.source}: data.header=false is ignored; a {kind} file has no header line"
    return replace(table, notes=[*table.notes, note])


def format_suffix(path: Path) -> str:
    """The suffix that determines the format of a file, in lower case and without ``.gz``.

    >>> format_suffix(Path("rows.CSV.gz"))
    '.csv'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def check_file(path: Path) -> None:
    """Check that a path is a file.

    Raises:
        DataError: the path is a directory or does not exist; the message lists files in the directory.
    """
    if path.is_dir():
        names = ", ".join(sorted(item.name for item in path.iterdir())[:8])
        raise DataError(f"{path}: is a directory; expected a file, such as one of its files ({names or 'none'}).")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path}: no such file, and no folder {folder}; check the path.")
        names_in_folder = [item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")]
        hint = did_you_mean(path.name, names_in_folder) if names_in_folder else "the folder has no files."
        raise DataError(f"{path}: no such file; {hint}")


def load_text(path: Path, encoding: str = "utf-8", may_be_empty: bool = False) -> str:
    """Read the text of a file: decompressed if its suffix is ``.gz``, decoded strictly, without a byte-order mark.

    Raises:
        DataError: the file is missing, empty, truncated or in another encoding.
    """
    text = "".join(text_blocks(path, encoding))
    if not may_be_empty and not text.strip():
        raise DataError(f"{path}: is empty; check that it is the right file.")
    return text


def text_blocks(path: Path, encoding: str = "utf-8", on_bytes: Callable[[int], None] | None = None) -> Iterator[str]:
    """Read the text of a file in blocks: decompressed if its suffix is ``.gz``, decoded strictly, without a byte-order
    mark.

    ``on_bytes`` is called before every block with the bytes of the file read so far.

    Raises:
        DataError: the file is missing, truncated, in another encoding, or not text.
    """
    check_file(path)
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError:
        raise DataError(
            f"{path}: unknown encoding {encoding!r}; use utf-8, utf-16, cp1252 or latin-1, for example."
        ) from None
    head, offset, line = b"", 0, 1
    try:
        with path.open("rb") as raw, gzip.open(raw) if path.suffix.lower() == ".gz" else raw as file:
            while True:
                data = file.read(_BLOCK)
                head = head or data[:8]
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeError as error:
                    raise DataError(_wrong_encoding(path, encoding, head, error, offset + len(data), line)) from None
                text = text if offset else text.removeprefix("\ufeff")
                if "\0" in text:
                    line += text.count("\n", 0, text.index("\0"))
                    problem = "contains a NUL byte, so it is not text; check whether it is damaged, or UTF-16"
                    raise DataError(f"{path}:{line}: {problem}.")
                offset += len(data)
                line += text.count("\n")
                if on_bytes is not None:
                    on_bytes(raw.tell())
                yield text
                if not data:
                    return
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); download or copy it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions."
        ) from None


def _wrong_encoding(path: Path, encoding: str, head: bytes, error: UnicodeError, read: int, line: int) -> str:
    """Describe why a file that begins with ``head`` cannot be decoded, after ``read`` bytes, on line ``line``."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"{path}: is not {encoding} text but {what}."
    if not isinstance(error, UnicodeDecodeError):
        return f"{path}: is not {encoding} text ({error}); save it as UTF-8."
    other = "cp1252" if encoding.lower().replace("-", "") == "utf8" else "utf-8"
    offset = read - len(error.object) + error.start  # the object ends at the current position
    line += error.object.count(b"\n", 0, error.start)
    return (
        f"{path}:{line}: byte {error.object[error.start]:#04x} at offset {offset} is not {encoding}; "
        f"save the file as UTF-8, or set its encoding (data.encoding={other})."
    )


def split_lines(text: str) -> list[str]:
    """Split a text into lines without their ends; only line feeds (optionally after a carriage return) end a line.

    ``str.splitlines`` also splits at characters inside texts, such as U+2028 and U+0085. In a text without line feeds,
    carriage returns end the lines, as Excel for Mac writes them.
    """
    lines = text.split("\n" if "\n" in text else "\r")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    if not lines[-1]:
        lines.pop()
    return lines


def _csv(blocks: Iterable[str], source: str, has_header: bool, limit: int | None) -> Table:
    records = parse_csv(blocks, source, has_header, limit)
    if not records.notes and not any(cell.strip() for record in records.cells for cell in record):
        raise DataError(f"{source}: is empty; check that it is the right file.")
    return _table(records, source, has_header)


def _tsv(text: str, source: str, has_header: bool) -> Table:
    table = _table(parse_tsv(split_lines(text), source), source, has_header)
    if has_header and len(table.names) == 1 and (separator := infer_separator(text[:_SAMPLE])) in table.names[0]:
        hint = f"a .tsv file has tabs between columns, but the header has {SEPARATORS[separator]}; rename it to .csv"
        table = replace(table, hint=hint)
    return table


def _table(records: Records, source: str, has_header: bool) -> Table:
    """The table of the records of a delimited file; without a header, columns are named by their number from 0."""
    rows, lines = records.cells, records.lines
    blank = rows.count([])
    if blank:
        filled = [i for i, row in enumerate(rows) if row]
        rows, lines = [rows[i] for i in filled], [lines[i] for i in filled]
    if not rows:
        raise DataError(f"{source}: has no rows; check that it is the right file.")
    notes = [f"{source}: {note}" for note in records.notes]
    names, header = [str(place) for place in range(len(rows[0]))], None
    if has_header:
        header, names = f"{source}:{lines[0]}", [name.strip(_AROUND_NAMES) for name in rows[0]]
        if names != rows[0]:
            notes.append(f"{source}: ignores spaces around column names")
        rows, lines = rows[1:], lines[1:]
    width = len(names)
    for i, row in enumerate(rows):
        if len(row) != width:
            remedy = records.short_remedy if len(row) < width else records.long_remedy
            if not any(row[width:]) and len(row) > width:
                remedy = "remove the separator at its end"
            elif has_header and [each[:1] for each in rows[:2]] == [["1"], ["2"]]:
                remedy = (
                    "every row has one more, as R's write.table adds row names; write the file with row.names=FALSE"
                )
            expected = pluralize(width, "column")
            raise DataError(f"{source}:{lines[i]}: expected {expected}, found {len(row)}; {remedy}.")
    places = _places(names, header or source)
    return Table(
        source,
        list(places),
        len(rows),
        lambda name: [row[places[name]] for row in rows],
        lambda i: f"{source}:{lines[i]}",
        skipped={"blank line": blank} if blank else {},
        notes=notes,
        header=header,
    )


def _places(names: Sequence[str], header: str) -> dict[str, int]:
    """Column name → index; columns without a name, which spreadsheets leave behind, count once."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and name in places:
            raise DataError(f'{header}: two columns have the name "{name}"; rename one of them.')
        places.setdefault(name, place)
    return places


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
    rows: list[Any] = []
    lines, blank = [], 0
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            blank += 1
            continue
        if not rows and line.strip() == "[":
            raise DataError(
                f"{source}:{number}: is a JSON list; expected one object per line; rename the file to .json."
            )
        rows.append(parse_json_line(line, f"{source}:{number}"))
        lines.append(number)
    skipped = {"blank line": blank} if blank else {}
    return table_of_dicts(rows, source, lambda i: f"{source}:{lines[i]}", skipped=skipped)


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
    rows: Sequence[Any], source: str, where: Callable[[int], str], skipped: dict[str, int] | None = None
) -> Table:
    """Build the table of rows that are mappings from column to value.

    Raises:
        DataError: a row is not a mapping.
    """
    names: dict[str, None] = {}
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            kind = describe(row) or f"a {type(row).__name__}"
            raise DataError(f'{where(i)}: expected an object such as {{"text": …, "label": …}}, found {kind}.')
        names.update(dict.fromkeys(row))
    if rows and (wrapper := describe(rows[0])) is not None:
        raise DataError(f"{where(0)}: is {wrapper}.")
    return Table(
        source,
        list(names),
        len(rows),
        lambda name: [row.get(name, ABSENT) for row in rows],
        where,
        skipped=skipped or {},
    )


# Enough of the usual column names to recognize a header; columns are inferred elsewhere.
_USUAL_NAMES: Final = {"text", "label", "sentence", "sentence1", "review", "sentiment", "target", "class", "tag"}


def _text(text: str, source: str) -> Table:
    """Read one text per line; warn if the lines look like the records of a table."""
    lines = split_lines(text)
    table = Table(source, ["text"], len(lines), lambda name: lines, lambda i: f"{source}:{i + 1}")
    sample = text[:_SAMPLE]
    separator = parse_directive(lines[0]) or infer_separator(sample)
    width = consistent_width(sample, separator)
    names = {name.strip(f'"{_AROUND_NAMES}').lower() for name in lines[0].split(separator)}
    if len(lines) > 1 and width > 1 and (separator == "\t" or names & _USUAL_NAMES):
        suffix = ".tsv" if separator == "\t" else ".csv"
        contents = f"has {width} columns separated by {SEPARATORS.get(separator, separator)}"
        table.warnings.append(f"{source}: {contents}, but .txt is read as one text per line; rename it to {suffix}")
        table = replace(table, hint=f"the file {contents}; rename it to {suffix}")
    return table


def _parquet(path: Path) -> Table:
    check_file(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    def damaged(error: Exception) -> DataError:
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        return DataError(f"{path}: is a damaged Parquet file ({first}); download or write it again.")

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        n_rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(error) from None
    if not n_rows:
        raise DataError(f"{path}: has no rows; check that it is the right file.")

    def column(name: str) -> list[Any]:
        try:
            values: list[Any] = pq.ParquetFile(path).read(columns=[name]).column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise damaged(error) from None
        return values

    names = [name for name in schema.names if not name.startswith("__index_level_")]
    return Table(str(path), names, n_rows, column, lambda i: f"{path}[{i}]", labels=_class_names(schema.metadata or {}))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """The class names that ``datasets`` stores in Parquet files, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {name: kind.get("feature", kind) for name, kind in features.items()}  # the element type of lists
        return {name: tuple(kind["names"]) for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}  # written by another program or a later version: the numbers are the labels


_DELIMITED: Final = (".csv", ".tsv", ".tab")
_PARSERS: Final[dict[str, Callable[[str, str], Table]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".txt": _text,
}
FORMATS: Final = ", ".join([*_DELIMITED, *_PARSERS, ".parquet"])
"""The supported suffixes, as one string for messages."""
