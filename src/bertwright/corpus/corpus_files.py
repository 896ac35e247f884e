"""Where texts to pre-train on lie, read piece by piece: files of plain text, tables, folders, data sets.

Every reader gives raw documents: where one begins, and its paragraphs. Plain text comes in one of three layouts, which
its first megabyte decides: WikiText's, if the first line is a heading ``= Title =``; else, if a blank line parts any
two lines, documents with blank lines between them; else one document a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal

from bertwright.data.cell_values import read_texts, shown_names
from bertwright.data.column_inference import CLASS_COLUMNS, resolve_columns
from bertwright.data.dataset import ColumnNames
from bertwright.data.table_files import (
    FORMATS,
    Table,
    check_file,
    parse_json_line,
    read_table,
    table_of_dicts,
    text_blocks,
)
from bertwright.errors import DataError

Layout = Literal["blank lines", "one a line", "wikitext"]
"""How plain text is laid out in documents."""

LONGEST: Final = 1 << 24
"""Characters of a document: a longer one is cut into several, as documents are held in memory. No line is longer."""

HEAD: Final = 1 << 20
"""Characters of a file that its layout is told by."""

CHUNK: Final = 128
"""Rows of a table that are held at a time, where it can be read piece by piece."""

PLAIN: Final = (".txt", ".text", ".raw", ".tokens")
"""Suffixes of plain text, as WikiText has them too; a file that is named may have any other."""

_TABLES: Final = tuple(suffix for suffix in FORMATS.split(", ") if suffix not in PLAIN)
_JSON_LINES: Final = (".jsonl", ".ndjson")

_TITLE: Final = re.compile(r"= (?!= ).* =")
_HEADING: Final = re.compile(r"= .* =")
_ESCAPED: Final = re.compile(r" @([-,.])@ ")  # WikiText's marks within a word or a number

Raw = tuple[str, list[str]]
"""Where a document begins, and its paragraphs."""


@dataclass
class Tally:
    """What was met while a corpus was read; it grows as the reading goes on.

    Attributes:
        documents: how many there were.
        sentences: how many these hold.
        bytes_read: how much of the files was read, as they lie on disk; characters of text where there are none.
        skipped: what was left out, by reason.
        layouts: how many files of plain text were laid out in which way.
        notes: what else a user should know, as sentences.
    """

    documents: int = 0
    sentences: int = 0
    bytes_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    layouts: Counter[Layout] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember a sentence for the user, once."""
        if text not in self.notes:
            self.notes.append(text)

    def lines(self, source: str) -> list[str]:
        """What was met, as sentences about a source, the counts first."""
        lines = [f"{source}: {self.documents:,} documents, {self.sentences:,} sentences"]
        lines += [f"{source}: {count:,} skipped: {reason}" for reason, count in self.skipped.items()]
        for layout, count in self.layouts.items():
            files = (
                f"{source}"
                if self.layouts.total() == 1
                else f"{source}: in {count:,} of {self.layouts.total():,} files"
            )
            lines.append(f"{files}: {_LAYOUTS[layout]}")
        return [*lines, *self.notes]


_LAYOUTS: Final[dict[Layout, str]] = {
    "blank lines": "blank lines part the documents",
    "one a line": "every line is a document, as no blank line parts any two",
    "wikitext": "read as WikiText: a heading = Title = begins a document, other headings are left out",
}

Reader = Callable[[Tally], Iterator[Raw]]
"""Reads the documents of a source anew."""


def of_path(path: Path, columns: ColumnNames, encoding: str) -> tuple[Reader, tuple[Path, ...], list[str]]:
    """What reads a file, or the files in a folder and below; these files; and notes about others.

    Raises:
        DataError: it is missing, or no file in the folder can be read.
    """
    if not path.is_dir():
        check_file(path)
        return _of_file(path, columns, encoding), (path,), []
    inside = sorted(item for item in path.rglob("*") if item.is_file() and not _hidden(item.relative_to(path)))
    files = [item for item in inside if _kind(item) in (*PLAIN, *_TABLES)]
    others = [str(item.relative_to(path)) for item in inside if item not in set(files)]
    named = f"{shown_names(others[:5])}{', …' if len(others) > 5 else ''}"
    if not files:
        held = f"it holds {named}" if others else "it is empty"
        known = ", ".join((*PLAIN, *_TABLES))
        raise DataError(f"{path}: no file in this folder can be read ({held}); texts lie in {known} files.")

    def read(tally: Tally) -> Iterator[Raw]:
        for file in files:
            yield from _of_file(file, columns, encoding)(tally)

    notes = [f"{path}: files read, in the order of their names: {len(files):,}"]
    notes += [f"{path}: files of other kinds, left out: {len(others):,} ({named})"] if others else []
    return read, tuple(files), notes


def of_tables(chunks: Callable[[], Iterator[Table]], columns: ColumnNames) -> Reader:
    """What reads a column of a table that comes in parts: a row a document, or a line of WikiText."""

    def read(tally: Tally) -> Iterator[Raw]:
        rows = _texts(chunks(), columns, tally)
        blank = 0
        for first in rows:
            if first[1].strip():
                break
            blank += 1
        else:
            return
        every = chain([first], rows)
        if _TITLE.fullmatch(first[1].strip()):
            tally.layouts["wikitext"] += 1
            lines = ((where, line) for where, text in every for line in text.split("\n"))
            yield from _documents(lines, "wikitext", tally)
            return
        if blank:
            tally.skipped["empty text"] += blank
        for where, text in every:
            if paragraphs := [line for line in text.split("\n") if line.strip()]:
                yield where, paragraphs
            else:
                tally.skipped["empty text"] += 1

    return read


def _of_file(path: Path, columns: ColumnNames, encoding: str) -> Reader:
    size = path.stat().st_size

    def read(tally: Tally) -> Iterator[Raw]:
        begun = tally.bytes_read

        def at(n_bytes: int) -> None:
            tally.bytes_read = begun + n_bytes

        if _kind(path) in _JSON_LINES:
            found = of_tables(lambda: _json_lines(path, encoding, at), columns)(tally)
        elif _kind(path) == ".parquet":
            found = of_tables(lambda: _parquet(path, columns, at, tally), columns)(tally)
        elif _kind(path) in _TABLES:
            found = of_tables(lambda: iter([read_table(path, encoding, columns.header)]), columns)(tally)
        else:
            found = _plain(path, encoding, at, tally)
        yield from found
        at(size)

    return read


def _kind(path: Path) -> str:
    """The suffix that tells how a file is read, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _plain(path: Path, encoding: str, at: Callable[[int], None], tally: Tally) -> Iterator[Raw]:
    layout = _layout(path, encoding)
    if layout is None:
        tally.skipped["empty file"] += 1
        return
    tally.layouts[layout] += 1
    lines = ((f"{path}:{number}", line) for number, line in _lines(path, encoding, at))
    yield from _documents(lines, layout, tally)


def _layout(path: Path, encoding: str) -> Layout | None:
    """How a file is laid out, by its first megabyte; None if that is blank."""
    head, size = [], 0
    for _, line in _lines(path, encoding):
        head.append(line.strip())
        size += len(line) + 1
        if size > HEAD:
            break
    filled = [i for i, line in enumerate(head) if line]
    if not filled:
        return None
    if _TITLE.fullmatch(head[filled[0]]):
        return "wikitext"
    return "blank lines" if len(filled) <= filled[-1] - filled[0] else "one a line"


def _lines(path: Path, encoding: str, at: Callable[[int], None] | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1; only line feeds, maybe after a carriage return, end one."""
    number, rest = 0, ""
    for block in text_blocks(path, encoding, at):
        lines = (rest + block).split("\n")
        rest = lines.pop()
        for number, line in enumerate(lines, number + 1):  # noqa: B020 — goes on counting
            yield number, line.removesuffix("\r")
        if len(rest) > LONGEST:
            raise DataError(
                f"{path}:{number + 1}: is a line of more than {LONGEST:,} characters; break it into lines, a sentence "
                "or a document each."
            )
    if rest:
        yield number + 1, rest.removesuffix("\r")


def _documents(lines: Iterable[tuple[str, str]], layout: Layout, tally: Tally) -> Iterator[Raw]:
    """The documents of lines laid out in some way, each line with where it stands."""
    begun, found, size = "", list[str](), 0
    for where, line in lines:
        text = line.strip()
        heading = layout == "wikitext" and _HEADING.fullmatch(text)
        over = size + len(text) > LONGEST
        if over:
            tally.note(f"{begun}: the document is longer than {LONGEST:,} characters and is cut into several")
        ends = layout == "one a line" or (_TITLE.fullmatch(text) if heading else not text and layout == "blank lines")
        if found and (ends or over):
            yield begun, found
            found, size = [], 0
        if not text or heading:
            continue
        if not found:
            begun = where
        found.append(_ESCAPED.sub(r"\1", text) if layout == "wikitext" else text)
        size += len(text)
    if found:
        yield begun, found


def _json_lines(path: Path, encoding: str, at: Callable[[int], None]) -> Iterator[Table]:
    """The rows of a JSON-lines file, some at a time."""
    filled = ((number, line) for number, line in _lines(path, encoding, at) if line.strip())
    while part := list(islice(filled, CHUNK)):
        where = [f"{path}:{number}" for number, _ in part]
        rows = [parse_json_line(line, place) for place, (_, line) in zip(where, part, strict=True)]
        yield table_of_dicts(rows, str(path), where.__getitem__)


def _parquet(path: Path, columns: ColumnNames, at: Callable[[int], None], tally: Tally) -> Iterator[Table]:
    """The texts of a Parquet file, some rows at a time; no other column is read."""
    n_rows, done = read_table(path).n_rows, 0  # opens it and reads no rows
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file, size = pq.ParquetFile(path), path.stat().st_size
        first = _part(next(file.iter_batches(CHUNK)).to_pydict(), str(path), 0)
        text = _text_column(first, columns, tally)
        for batch in file.iter_batches(CHUNK, columns=[text]):
            yield _part(batch.to_pydict(), str(path), done)
            done += len(batch)
            at(size * done // n_rows)
    except (pa.ArrowException, OSError) as error:
        said = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(f"{path}: is not a whole Parquet file ({said}); bring or write it again.") from None


def of_datasets(data: Any, source: str, columns: ColumnNames) -> Reader:
    """What reads a split of a data set, a stream or not, some rows at a time."""

    def chunks() -> Iterator[Table]:
        done = 0
        for batch in data.iter(batch_size=CHUNK):
            yield (table := _part(batch, source, done))
            done += table.n_rows

    return of_tables(chunks, columns)


def _part(values: dict[str, list[Any]], source: str, first: int) -> Table:
    """Some rows of a table, the first of which has that number in it."""
    n_rows = len(next(iter(values.values()), []))
    return Table(source, list(values), n_rows, values.__getitem__, lambda i: f"{source}[{first + i}]")


def _texts(chunks: Iterator[Table], columns: ColumnNames, tally: Tally) -> Iterator[tuple[str, str]]:
    """The texts of a column, each with where it stands; missing ones are counted."""
    name = None
    for table in chunks:
        if name is None:
            name = _text_column(table, columns, tally)
        for note in table.notes:
            tally.note(note)
        missing: list[str] = []  # told as a count of all
        for i, text in enumerate(read_texts(table, name, missing)):
            yield table.where(i), text


def _text_column(table: Table, columns: ColumnNames, tally: Tally) -> str:
    if columns.text is None and len(table.names) == 1:
        return table.names[0]
    found, guessed = resolve_columns(table, ColumnNames(columns.text, label=()), CLASS_COLUMNS, need_target=False)
    if found.text_pair is not None:
        raise DataError(f"{table.source}: {found.text} or {found.text_pair} could be the text; say which: data.text=….")
    if "text" in guessed:
        tally.note(f"{table.source}: the text is read from the column {found.text} (data.text=… says otherwise)")
    return str(found.text)
