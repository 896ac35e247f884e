"""Files as tables of named columns: CSV, TSV, JSON lines, JSON lists, Parquet and plain text, also gzipped.

Every way in which a file can be damaged is an error that names the file, the line and the remedy;
nothing is sniffed, skipped or repaired without a note.
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


class _Absent:
    """The value of a column that a row of a JSON file does not have at all (null is None)."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()

_BLOCK = 1 << 20  # bytes of a file that are decoded at a time
_SAMPLE = 1 << 16  # characters by which the format of a file is recognized
_FILLED_LINE = re.compile(r"[^\S\n]*\S[^\n]*")
_AROUND_NAMES = " \t\xa0\ufeff"  # of column names; the last is a second byte-order mark

_MAGIC = {
    b"\x1f\x8b": "gzip; name it with .gz at the end",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet; name it with .parquet at the end",
    b"%PDF": "a PDF; bring its text out of it first",
    b"\xff\xfe": "UTF-16; say data.encoding=utf-16",
    b"\xfe\xff": "UTF-16; say data.encoding=utf-16",
}


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        source: what messages call it.
        names: the columns in order.
        n_rows: the number of rows.
        column: the values of one of ``names``; None where a value is missing, ``ABSENT`` where a JSON row
            lacks the key.
        where: where row i stands, for messages: ``file:line`` counts from 1, ``source[i]`` from 0.
        labels: for columns of class numbers the names of the classes.
        skipped: how many rows were left out, by reason.
        notes: what the reader decided and the user should know.
        warnings: what makes it doubtful that the file was read as it was meant.
        header: where the line is that names the columns; None if no line of the file does.
        hint: what to change if the columns are not those that the user expects; "" if nothing suggests it.
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
        """The table without one of its columns."""
        return replace(self, names=[other for other in self.names if other != name])


def read_table(path: Path, encoding: str = "utf-8", has_header: bool = True, limit: int | None = None) -> Table:
    """The table in a file, by its suffix (``FORMATS``, the text kinds also with ``.gz``).

    Args:
        path: of the file.
        encoding: of a text file.
        has_header: whether the first line of a delimited file names its columns.
        limit: of a CSV file, stop reading after N rows; None reads all.

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
        raise DataError(f"{path}: no known format has the suffix {kind or '(none)'}; save it as one of {FORMATS}.")
    if kind == ".csv":
        table = _csv(text_blocks(path, encoding), str(path), has_header, limit)
    elif kind in _DELIMITED:
        table = _tsv(load_text(path, encoding), str(path), has_header)
    else:
        table = _PARSERS[kind](load_text(path, encoding), str(path))
        table = table if has_header else _without_header_line(table, kind)
    if not table.n_rows:
        holds = "a header and no rows" if table.header else "no rows"
        raise DataError(f"{path}: holds {holds}; is it the right file?")
    return table


def _without_header_line(table: Table, kind: str) -> Table:
    """The table with a note that ``data.header`` does not concern it."""
    note = f"{table.source}: data.header=false is ignored; a {kind} file has no header line"
    return replace(table, notes=[*table.notes, note])


def check_file(path: Path) -> None:
    """See that a path is a file.

    Raises:
        DataError: it is a directory, or is missing; the message names what lies beside it.
    """
    if path.is_dir():
        inside = sorted(item.name for item in path.iterdir())[:8]
        raise DataError(
            f"{path}: is a directory where a file is due; name a file in it ({', '.join(inside) or 'empty'})."
        )
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path}: there is no such file, nor the folder {folder}; check the path.")
        beside = [item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")]
        hint = did_you_mean(path.name, beside) if beside else "the folder holds no files."
        raise DataError(f"{path}: there is no such file; {hint}")


def load_text(path: Path, encoding: str = "utf-8", may_be_empty: bool = False) -> str:
    """The text of a file, unzipped if it ends in ``.gz``, decoded strictly, without a byte-order mark.

    Raises:
        DataError: it is missing, empty, cut off or not in that encoding.
    """
    text = "".join(text_blocks(path, encoding))
    if not may_be_empty and not text.strip():
        raise DataError(f"{path}: is empty; is it the right file?")
    return text


def text_blocks(path: Path, encoding: str = "utf-8", on_bytes: Callable[[int], None] | None = None) -> Iterator[str]:
    """The text of a file, unzipped if it ends in ``.gz``, decoded strictly, without a byte-order mark, in pieces.

    ``on_bytes`` is called before every piece with the bytes of the file read so far.

    Raises:
        DataError: it is missing, cut off, not in that encoding, or not text.
    """
    check_file(path)
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError:
        raise DataError(
            f"{path}: there is no encoding {encoding!r}; common ones are utf-8, utf-16, cp1252, latin-1."
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
                    what = "holds a NUL byte, which no text does; is the file damaged, or UTF-16?"
                    raise DataError(f"{path}:{line}: {what}")
                offset += len(data)
                line += text.count("\n")
                if on_bytes is not None:
                    on_bytes(raw.tell())
                yield text
                if not data:
                    return
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is not a whole gzip file ({error}); bring it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions."
        ) from None


def _wrong_encoding(path: Path, encoding: str, head: bytes, error: UnicodeError, read: int, line: int) -> str:
    """What is wrong with a file that begins with ``head``, after so many bytes and lines."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"{path}: is not {encoding} text but {what}."
    if not isinstance(error, UnicodeDecodeError):
        return f"{path}: is not {encoding} text ({error}); save it as UTF-8."
    other = "cp1252" if encoding.lower().replace("-", "") == "utf8" else "utf-8"
    offset = read - len(error.object) + error.start  # the object ends where reading has come to
    line += error.object.count(b"\n", 0, error.start)
    return (
        f"{path}:{line}: byte {error.object[error.start]:#04x} at offset {offset} is not {encoding}; "
        f"save the file as UTF-8, or name its encoding (data.encoding={other})."
    )


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends; only line feeds (and a carriage return before one) end a line.

    ``str.splitlines`` also breaks at characters that occur inside texts, such as U+2028 and U+0085. In a text without
    line feeds, carriage returns end the lines, as Excel for Mac writes them.
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
        raise DataError(f"{source}: is empty; is it the right file?")
    return _table(records, source, has_header)


def _tsv(text: str, source: str, has_header: bool) -> Table:
    table = _table(parse_tsv(split_lines(text), source), source, has_header)
    if has_header and len(table.names) == 1 and (separator := infer_separator(text[:_SAMPLE])) in table.names[0]:
        shown = f"but its header holds no tab; with {SEPARATORS[separator]} between columns, name it .csv"
        table = replace(table, hint=f"a .tsv file has tabs between columns, {shown}")
    return table


def _table(records: Records, source: str, has_header: bool) -> Table:
    """The table of the records of a delimited file; without a header, columns are named by their number from 0."""
    rows, lines = records.cells, records.lines
    blank = rows.count([])
    if blank:
        filled = [i for i, row in enumerate(rows) if row]
        rows, lines = [rows[i] for i in filled], [lines[i] for i in filled]
    if not rows:
        raise DataError(f"{source}: holds no rows; is it the right file?")
    notes = [f"{source}: {note}" for note in records.notes]
    names, header = [str(place) for place in range(len(rows[0]))], None
    if has_header:
        header, names = f"{source}:{lines[0]}", [name.strip(_AROUND_NAMES) for name in rows[0]]
        if names != rows[0]:
            notes.append(f"{source}: spaces around column names are ignored")
        rows, lines = rows[1:], lines[1:]
    width = len(names)
    for i, row in enumerate(rows):
        if len(row) != width:
            remedy = records.short_remedy if len(row) < width else records.long_remedy
            if not any(row[width:]) and len(row) > width:
                remedy = "remove the separator at its end"
            elif has_header and [each[:1] for each in rows[:2]] == [["1"], ["2"]]:
                remedy = "every row has one more, as R's write.table writes row names; write them with row.names=FALSE"
            columns = "1 column" if width == 1 else f"{width} columns"
            raise DataError(f"{source}:{lines[i]}: expected {columns}, found {len(row)}; {remedy}.")
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
    """The place of each column; columns without a name (spreadsheets leave them) count once."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and name in places:
            raise DataError(f'{header}: two columns are named "{name}"; rename one of them.')
        places.setdefault(name, place)
    return places


_HUGE_NUMBER: Final = "holds a number of thousands of digits; write it as a string, or leave its column out"


def parse_json_line(line: str, where: str) -> Any:
    """What a line of a JSON-lines file holds.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        what = f"is not JSON ({error.msg} at column {error.colno})"
        raise DataError(f"{where}: {what}; a JSON-lines file holds one whole object a line.") from None
    except ValueError:
        raise DataError(f"{where}: {_HUGE_NUMBER}.") from None
    except RecursionError:
        raise DataError(f"{where}: is nested too deeply; a row is an object of plain values.") from None


def _json_lines(text: str, source: str) -> Table:
    rows: list[Any] = []
    lines, blank = [], 0
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            blank += 1
            continue
        if not rows and line.strip() == "[":
            raise DataError(f"{source}:{number}: a JSON list begins here; expected an object a line; name it .json.")
        rows.append(parse_json_line(line, f"{source}:{number}"))
        lines.append(number)
    skipped = {"blank line": blank} if blank else {}
    return table_of_dicts(rows, source, lambda i: f"{source}:{lines[i]}", skipped=skipped)


def _json(text: str, source: str) -> Table:
    """A JSON list of objects, one object that holds rows (``json_shapes``), or JSON lines."""
    start = text.lstrip()[:1]
    if start == "[":
        rows = _load_json(text, source)
        return table_of_dicts(rows, source, lambda i: f"{source}[{i}]")
    if start != "{" or _has_an_object_per_line(text):
        return _json_lines(text, source)
    rows, root, note = find_rows(_load_json(text, source), source)
    if not rows:
        raise DataError(f"{source}: holds no rows; is it the right file?")
    prefix = f"{source}:{root}" if root else source
    table = table_of_dicts(rows, source, lambda i: source if note is None else f"{prefix}[{i}]")
    return table if note is None else replace(table, notes=[f"{source}: {note}"])


def _has_an_object_per_line(text: str) -> bool:
    """Whether the first line that is not blank is complete JSON, and another one follows."""
    first = _FILLED_LINE.search(text)
    if first is None or _FILLED_LINE.search(text, first.end()) is None:
        return False
    try:
        json.loads(first[0])
    except (ValueError, RecursionError):
        return False
    return True


def _load_json(text: str, source: str) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        remedy = "write each object on a line of its own" if error.msg == "Extra data" else "is the file whole?"
        raise DataError(f"{source}:{error.lineno}: is not JSON ({error.msg}); {remedy}.") from None
    except ValueError:
        raise DataError(f"{source}: {_HUGE_NUMBER}.") from None
    except RecursionError:
        raise DataError(f"{source}: is nested too deeply; it should be a list of objects of plain values.") from None


def table_of_dicts(
    rows: Sequence[Any], source: str, where: Callable[[int], str], skipped: dict[str, int] | None = None
) -> Table:
    """The table of rows that are mappings from column to value.

    Raises:
        DataError: a row is something else.
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
    """A text per line; warns if the lines look like the records of a table."""
    lines = split_lines(text)
    table = Table(source, ["text"], len(lines), lambda name: lines, lambda i: f"{source}:{i + 1}")
    sample = text[:_SAMPLE]
    separator = parse_directive(lines[0]) or infer_separator(sample)
    width = consistent_width(sample, separator)
    names = {name.strip(f'"{_AROUND_NAMES}').lower() for name in lines[0].split(separator)}
    if len(lines) > 1 and width > 1 and (separator == "\t" or names & _USUAL_NAMES):
        suffix = ".tsv" if separator == "\t" else ".csv"
        what = f"has {width} columns separated by {SEPARATORS.get(separator, separator)}"
        table.warnings.append(f"{source}: {what}, but .txt is read as one text a line; name it {suffix}")
        table = replace(table, hint=f"it {what}; name it {suffix}")
    return table


def _parquet(path: Path) -> Table:
    check_file(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    def damaged(error: Exception) -> DataError:
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        return DataError(f"{path}: is not a whole Parquet file ({first}); bring or write it again.")

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        n_rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(error) from None
    if not n_rows:
        raise DataError(f"{path}: holds no rows; is it the right file?")

    def column(name: str) -> list[Any]:
        try:
            values: list[Any] = pq.ParquetFile(path).read(columns=[name]).column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise damaged(error) from None
        return values

    names = [name for name in schema.names if not name.startswith("__index_level_")]
    return Table(str(path), names, n_rows, column, lambda i: f"{path}[{i}]", labels=_class_names(schema.metadata or {}))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """The class names that ``datasets`` writes into Parquet files, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {name: kind.get("feature", kind) for name, kind in features.items()}  # of a list, what it holds
        return {name: tuple(kind["names"]) for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}  # written by something else, or by a later version in another way: then the numbers are the labels


_DELIMITED: Final = (".csv", ".tsv", ".tab")
_PARSERS: Final[dict[str, Callable[[str, str], Table]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".txt": _text,
}
FORMATS: Final = ", ".join([*_DELIMITED, *_PARSERS, ".parquet"])
"""The suffixes that can be read, as one string for messages."""
