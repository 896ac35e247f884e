"""Files as tables of named columns: CSV, TSV, JSON lines, JSON lists, Parquet and plain text, also gzipped.

Every way in which a file can be damaged is an error that names the file, the line and the remedy;
nothing is sniffed, skipped or repaired without a note.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bertwright.errors import DataError, did_you_mean


class _Absent:
    """The value of a column that a row of a JSON file does not have at all (null is None)."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()

# Longer than any text a csv.reader will meet, yet within a C long on every platform.
_FIELD_LIMIT = 2**31 - 1

_BLOCK = 1 << 20  # bytes of a file that are decoded at a time

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
    """

    source: str
    names: Sequence[str]
    n_rows: int
    column: Callable[[str], Sequence[Any]]
    where: Callable[[int], str]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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


def read_table(path: Path, encoding: str = "utf-8") -> Table:
    """The table in a file, by its suffix (``FORMATS``, the text kinds also with ``.gz``).

    Raises:
        DataError: the file is missing, empty, damaged, in another encoding or of an unknown format.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) == 2 else (suffixes or [""])[-1]
    if kind == ".parquet" and suffixes[-1] != ".gz":
        return _parquet(path)
    check_file(path)
    if kind not in _PARSERS:
        raise DataError(f"{path}: no known format has the suffix {kind or '(none)'}; save it as one of {FORMATS}.")
    table = _PARSERS[kind](load_text(path, encoding), str(path))
    if not table.n_rows:
        raise DataError(f"{path}: holds a header and no rows; is it the right file?")
    return table


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

    ``str.splitlines`` also breaks at characters that occur inside texts, such as U+2028 and U+0085.
    """
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    if not lines[-1]:
        lines.pop()
    return lines


def _csv(text: str, source: str) -> Table:
    header = text[: text.find("\n")] if "\n" in text else text
    notes, separator = [], ","
    if "," not in header:
        separator = next((mark for mark in (";", "\t") if mark in header), ",")
        if separator != ",":
            shown = "semicolons" if separator == ";" else "tabs"
            notes.append(f"{source}: columns are separated by {shown}, as the header shows")
    limit = csv.field_size_limit(_FIELD_LIMIT)
    rows: list[list[str]] = []
    starts: list[int] = []
    line = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for row in reader:
            rows.append(row)
            starts.append(line + 1)
            line = reader.line_num
    except csv.Error as error:
        never = "unexpected end" in str(error)
        what = "a quote that opens in this row is never closed" if never else f"broken quoting ({error})"
        raise DataError(f'{source}:{line + 1}: {what}; inside a quoted field write each quote twice ("").') from None
    finally:
        csv.field_size_limit(limit)
    return _table(rows, starts, source, "quote fields that hold the separator", notes)


def _tsv(text: str, source: str) -> Table:
    lines = split_lines(text)
    # A TSV has no quoting (IANA text/tab-separated-values); with csv's default quoting GLUE files lose rows.
    rows = [line.split("\t") if line else [] for line in lines]
    notes = []
    quoted = sum(1 for line in lines if '""' in line and line.count('"') % 2 == 0)
    if quoted > len(lines) / 20:
        notes.append(f"{source}: {quoted:,} lines look quoted, but .tsv has no quoting: quotes are read as they stand")
    remedy = ".tsv has no quoting, so a text may hold no tab or line break: save such texts as .csv"
    return _table(rows, list(range(1, len(rows) + 1)), source, remedy, notes)


def _table(rows: list[list[str]], lines: list[int], source: str, remedy: str, notes: list[str]) -> Table:
    """The table of rows whose first is the header; ``lines`` are the lines they begin on."""
    blank = rows.count([])
    if blank:
        kept = [i for i, row in enumerate(rows) if row]
        rows, lines = [rows[i] for i in kept], [lines[i] for i in kept]
    names, rows = rows[0], rows[1:]
    lines = lines[1:]
    width = len(names)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{source}:{lines[i]}: expected {width} columns, found {len(row)}; {remedy}.")
    places = _places(names, source)
    return Table(
        source,
        list(places),
        len(rows),
        lambda name: [row[places[name]] for row in rows],
        lambda i: f"{source}:{lines[i]}",
        skipped={"blank line": blank} if blank else {},
        notes=notes,
    )


def _places(names: Sequence[str], source: str) -> dict[str, int]:
    """The place of each column; columns without a name (spreadsheets leave them) count once."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and name in places:
            raise DataError(f'{source}:1: two columns are named "{name}"; rename one of them.')
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
    rows, lines, blank = [], [], 0
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            blank += 1
            continue
        rows.append(parse_json_line(line, f"{source}:{number}"))
        lines.append(number)
    skipped = {"blank line": blank} if blank else {}
    return table_of_dicts(rows, source, lambda i: f"{source}:{lines[i]}", skipped=skipped)


def _json(text: str, source: str) -> Table:
    """A JSON list of objects; a file that does not begin with ``[`` is read as JSON lines."""
    if not text.lstrip().startswith("["):
        return _json_lines(text, source)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{source}:{error.lineno}: is not JSON ({error.msg}); is the file whole?") from None
    except ValueError:
        raise DataError(f"{source}: {_HUGE_NUMBER}.") from None
    except RecursionError:
        raise DataError(f"{source}: is nested too deeply; it should be a list of objects of plain values.") from None
    return table_of_dicts(rows, source, lambda i: f"{source}[{i}]")


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
            kind = type(row).__name__
            raise DataError(f'{where(i)}: expected an object such as {{"text": …, "label": …}}, found a {kind}.')
        names.update(dict.fromkeys(row))
    return Table(
        source,
        list(names),
        len(rows),
        lambda name: [row.get(name, ABSENT) for row in rows],
        where,
        skipped=skipped or {},
    )


def _text(text: str, source: str) -> Table:
    lines = split_lines(text)
    return Table(source, ["text"], len(lines), lambda name: lines, lambda i: f"{source}:{i + 1}")


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


_PARSERS: Final[dict[str, Callable[[str, str], Table]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".tab": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".txt": _text,
}
FORMATS: Final = ", ".join([*_PARSERS, ".parquet"])
"""The suffixes that can be read, as one string for messages."""
