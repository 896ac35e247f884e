"""Readers of pre-training corpora, which stream plain text files, tables, folders and data sets.

Every reader yields raw documents: where one begins, and its paragraphs. Plain text has one of three layouts, determined
from its first megabyte: WikiText if the first line is a heading ``= Title =``; else, if a blank line separates any two
lines, documents separated by blank lines; else one document per line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal

from bertwright.data.cell_values import format_names, read_texts
from bertwright.data.column_inference import CLASS_COLUMNS, resolve_columns
from bertwright.data.dataset import ColumnNames
from bertwright.data.table_files import FORMATS, Table, parse_json_line, read_table, table_of_dicts
from bertwright.data.text_files import check_file, format_suffix, text_blocks
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

TextLayout = Literal["blank lines", "one per line", "wikitext"]
"""How a plain text file separates documents."""

MAX_DOCUMENT_CHARACTERS: Final = 1 << 24
"""Maximum length of a document in characters, because documents are held in memory; longer ones are split. Also the
maximum length of a line."""

LAYOUT_SAMPLE_CHARACTERS: Final = 1 << 20
"""Number of characters of a file that determine its layout."""

ROWS_PER_CHUNK: Final = 128
"""Number of rows of a streamed table that are in memory at a time."""

PLAIN_TEXT_SUFFIXES: Final = (".txt", ".text", ".raw", ".tokens")
"""Suffixes of plain text files, including WikiText's; a file that the user names may have any other suffix."""

_TABLES: Final = tuple(suffix for suffix in FORMATS.split(", ") if suffix not in PLAIN_TEXT_SUFFIXES)
_JSON_LINES: Final = (".jsonl", ".ndjson")

_TITLE: Final = re.compile(r"= (?!= ).* =")
_HEADING: Final = re.compile(r"= .* =")
_ESCAPED: Final = re.compile(r" @([-,.])@ ")  # WikiText's marks inside a word or a number

RawDocument = tuple[str, list[str]]
"""Where a document begins, and its paragraphs."""


@dataclass
class CorpusStatistics:
    """Counts and notes of a corpus, updated while it is read.

    Attributes:
        documents: number of documents.
        sentences: number of their sentences.
        bytes_read: bytes of the files read so far; characters of text for sources without files.
        skipped: number of skipped items, by reason.
        layouts: number of plain text files, by layout.
        notes: other sentences for the user.
    """

    documents: int = 0
    sentences: int = 0
    bytes_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    layouts: Counter[TextLayout] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add_note(self, text: str) -> None:
        """Add a sentence for the user, unless it is already there."""
        if text not in self.notes:
            self.notes.append(text)

    def describe(self, source: str) -> list[str]:
        """Describe the statistics of a source in sentences, counts first."""
        counts = f"{pluralize(self.documents, 'document')}, {pluralize(self.sentences, 'sentence')}"
        lines = [f"{source}: {counts}"]
        lines += [f"{source}: {count:,} skipped: {reason}" for reason, count in self.skipped.items()]
        for layout, count in self.layouts.items():
            files = (
                f"{source}" if self.layouts.total() == 1 else f"{source}: {count:,} of {self.layouts.total():,} files"
            )
            lines.append(f"{files}: {_LAYOUTS[layout]}")
        return [*lines, *self.notes]


_LAYOUTS: Final[dict[TextLayout, str]] = {
    "blank lines": "blank lines separate documents",
    "one per line": "every line is a document, because no blank line separates two lines",
    "wikitext": "read as WikiText: a heading = Title = begins a document, other headings are skipped",
}

DocumentReader = Callable[[CorpusStatistics], Iterator[RawDocument]]
"""Reads the documents of a source from the beginning."""


def path_reader(path: Path, columns: ColumnNames, encoding: str) -> tuple[DocumentReader, tuple[Path, ...], list[str]]:
    """Return the reader of a file, or of all files in a folder and its subfolders; the files; and notes.

    Raises:
        DataError: the path does not exist, or no file in the folder can be read.
    """
    if not path.is_dir():
        check_file(path)
        return _file_reader(path, columns, encoding), (path,), []
    inside = sorted(item for item in path.rglob("*") if item.is_file() and not _hidden(item.relative_to(path)))
    files = [item for item in inside if format_suffix(item) in (*PLAIN_TEXT_SUFFIXES, *_TABLES)]
    others = [str(item.relative_to(path)) for item in inside if item not in set(files)]
    named = f"{format_names(others[:5])}{', …' if len(others) > 5 else ''}"
    if not files:
        contents = f"it contains {named}" if others else "it is empty"
        suffixes = ", ".join((*PLAIN_TEXT_SUFFIXES, *_TABLES))
        raise DataError(f"{path}: has no readable file ({contents}); expected files with suffix {suffixes}.")

    def read(statistics: CorpusStatistics) -> Iterator[RawDocument]:
        for file in files:
            yield from _file_reader(file, columns, encoding)(statistics)

    notes = [f"{path}: reads {pluralize(len(files), 'file')} in the order of their names"]
    notes += [f"{path}: skips {pluralize(len(others), 'file')} with other suffixes ({named})"] if others else []
    return read, tuple(files), notes


def table_reader(chunks: Callable[[], Iterator[Table]], columns: ColumnNames) -> DocumentReader:
    """Return the reader of a text column of a table in chunks: a document per row, or a line of WikiText per row."""

    def read(statistics: CorpusStatistics) -> Iterator[RawDocument]:
        rows = _texts(chunks(), columns, statistics)
        blank = 0
        for first in rows:
            if first[1].strip():
                break
            blank += 1
        else:
            return
        all_rows = chain([first], rows)
        if _TITLE.fullmatch(first[1].strip()):
            statistics.layouts["wikitext"] += 1
            lines = ((where, line) for where, text in all_rows for line in text.split("\n"))
            yield from _documents(lines, "wikitext", statistics)
            return
        if blank:
            statistics.skipped["empty text"] += blank
        for where, text in all_rows:
            if paragraphs := [line for line in text.split("\n") if line.strip()]:
                yield where, paragraphs
            else:
                statistics.skipped["empty text"] += 1

    return read


def _file_reader(path: Path, columns: ColumnNames, encoding: str) -> DocumentReader:
    size = path.stat().st_size

    def read(statistics: CorpusStatistics) -> Iterator[RawDocument]:
        read_before = statistics.bytes_read

        def report_bytes(n_bytes: int) -> None:
            statistics.bytes_read = read_before + n_bytes

        if format_suffix(path) in _JSON_LINES:
            documents = table_reader(lambda: _json_lines(path, encoding, report_bytes), columns)(statistics)
        elif format_suffix(path) == ".parquet":
            documents = table_reader(lambda: _parquet(path, columns, report_bytes, statistics), columns)(statistics)
        elif format_suffix(path) in _TABLES:
            documents = table_reader(lambda: iter([read_table(path, encoding, columns.header)]), columns)(statistics)
        else:
            documents = _plain_text(path, encoding, report_bytes, statistics)
        yield from documents
        report_bytes(size)

    return read


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _plain_text(
    path: Path, encoding: str, on_bytes: Callable[[int], None], statistics: CorpusStatistics
) -> Iterator[RawDocument]:
    layout = _layout(path, encoding)
    if layout is None:
        statistics.skipped["empty file"] += 1
        return
    statistics.layouts[layout] += 1
    lines = ((f"{path}:{number}", line) for number, line in _lines(path, encoding, on_bytes))
    yield from _documents(lines, layout, statistics)


def _layout(path: Path, encoding: str) -> TextLayout | None:
    """Determine the layout of a file from its first megabyte; None if that is blank."""
    head, size = [], 0
    for _, line in _lines(path, encoding):
        head.append(line.strip())
        size += len(line) + 1
        if size > LAYOUT_SAMPLE_CHARACTERS:
            break
    filled = [i for i, line in enumerate(head) if line]
    if not filled:
        return None
    if _TITLE.fullmatch(head[filled[0]]):
        return "wikitext"
    return "blank lines" if len(filled) <= filled[-1] - filled[0] else "one per line"


def _lines(path: Path, encoding: str, on_bytes: Callable[[int], None] | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a file with numbers from 1; only line feeds, optionally after a carriage return, end a line."""
    number, rest = 0, ""
    for block in text_blocks(path, encoding, on_bytes):
        lines = (rest + block).split("\n")
        rest = lines.pop()
        for number, line in enumerate(lines, number + 1):  # noqa: B020 — continues counting
            yield number, line.removesuffix("\r")
        if len(rest) > MAX_DOCUMENT_CHARACTERS:
            raise DataError(
                f"{path}:{number + 1}: the line has more than {MAX_DOCUMENT_CHARACTERS:,} characters; "
                "split it into lines of one sentence or document."
            )
    if rest:
        yield number + 1, rest.removesuffix("\r")


def _documents(
    lines: Iterable[tuple[str, str]], layout: TextLayout, statistics: CorpusStatistics
) -> Iterator[RawDocument]:
    """Group lines, each with its position, into documents."""
    begin, paragraphs, size = "", list[str](), 0
    for where, line in lines:
        text = line.strip()
        heading = layout == "wikitext" and _HEADING.fullmatch(text)
        over = size + len(text) > MAX_DOCUMENT_CHARACTERS
        if over:
            statistics.add_note(
                f"{begin}: the document has more than {MAX_DOCUMENT_CHARACTERS:,} characters and is split into several"
            )
        ends = layout == "one per line" or (_TITLE.fullmatch(text) if heading else not text and layout == "blank lines")
        if paragraphs and (ends or over):
            yield begin, paragraphs
            paragraphs, size = [], 0
        if not text or heading:
            continue
        if not paragraphs:
            begin = where
        paragraphs.append(_ESCAPED.sub(r"\1", text) if layout == "wikitext" else text)
        size += len(text)
    if paragraphs:
        yield begin, paragraphs


def _json_lines(path: Path, encoding: str, on_bytes: Callable[[int], None]) -> Iterator[Table]:
    """The rows of a JSON Lines file in chunks."""
    filled = ((number, line) for number, line in _lines(path, encoding, on_bytes) if line.strip())
    while part := list(islice(filled, ROWS_PER_CHUNK)):
        where = [f"{path}:{number}" for number, _ in part]
        rows = [parse_json_line(line, place) for place, (_, line) in zip(where, part, strict=True)]
        yield table_of_dicts(rows, str(path), where.__getitem__)


def _parquet(
    path: Path, columns: ColumnNames, on_bytes: Callable[[int], None], statistics: CorpusStatistics
) -> Iterator[Table]:
    """The text column of a Parquet file in chunks; other columns are not read."""
    n_rows, done = read_table(path).n_rows, 0  # opens the file without reading rows
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file, size = pq.ParquetFile(path), path.stat().st_size
        first = _part(next(file.iter_batches(ROWS_PER_CHUNK)).to_pydict(), str(path), 0)
        text = _text_column(first, columns, statistics)
        for batch in file.iter_batches(ROWS_PER_CHUNK, columns=[text]):
            yield _part(batch.to_pydict(), str(path), done)
            done += len(batch)
            on_bytes(size * done // n_rows)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(f"{path}: is a damaged Parquet file ({reason}); download or write it again.") from None


def dataset_reader(data: Any, source: str, columns: ColumnNames) -> DocumentReader:
    """Return the reader of a split of a data set or of a stream, in chunks."""

    def chunks() -> Iterator[Table]:
        done = 0
        for batch in data.iter(batch_size=ROWS_PER_CHUNK):
            yield (table := _part(batch, source, done))
            done += table.n_rows

    return table_reader(chunks, columns)


def _part(values: dict[str, list[Any]], source: str, first: int) -> Table:
    """Some rows of a table; ``first`` is the number of the first one."""
    n_rows = len(next(iter(values.values()), []))
    return Table(source, list(values), n_rows, values.__getitem__, lambda i: f"{source}[{first + i}]")


def _texts(chunks: Iterator[Table], columns: ColumnNames, statistics: CorpusStatistics) -> Iterator[tuple[str, str]]:
    """The texts of a column with their positions; missing texts are counted."""
    name = None
    for table in chunks:
        if name is None:
            name = _text_column(table, columns, statistics)
        for note in table.notes:
            statistics.add_note(note)
        missing: list[str] = []  # reported as a total
        for i, text in enumerate(read_texts(table, name, missing)):
            yield table.where(i), text


def _text_column(table: Table, columns: ColumnNames, statistics: CorpusStatistics) -> str:
    if columns.text is None and len(table.names) == 1:
        return table.names[0]
    names, inferred = resolve_columns(table, ColumnNames(columns.text, label=()), CLASS_COLUMNS, need_target=False)
    if names.text_pair is not None:
        candidates = f"{names.text} or {names.text_pair}"
        raise DataError(f"{table.source}: the text column could be {candidates}; set data.text=….")
    if "text" in inferred:
        statistics.add_note(f"{table.source}: reads the text from column {names.text}; set data.text to change it")
    return str(names.text)
