"""Tables in parts of a fixed number of rows, so that memory does not grow with a file or a stream.

The parts of a table are tables with the same source. Notes and warnings about the table belong to its first part.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, NamedTuple

from bertwright.data.delimited import detect_tsv_format, iterate_csv, iterate_tsv
from bertwright.data.table_files import (
    DELIMITED,
    PARQUET,
    SAMPLE,
    Table,
    add_tsv_hint,
    check_format,
    iterate_json_lines,
    no_rows,
    parquet_columns,
    read_table,
    refuse_blank,
    report_damage,
    table_of_lines,
    tables_of_json_lines,
    tables_of_records,
    without_header_line,
)
from bertwright.data.text_files import check_file, decode_blocks, is_empty, iterate_lines, text_blocks

STREAM_FORMATS: Final = ("csv", "tsv", "jsonl", "parquet")
"""The formats of :func:`open_stream`, in which standard input can be read."""

_BLOCK: Final = 1 << 20  # bytes of a stream to read at a time


@dataclass(frozen=True)
class TableParts:
    """The parts of a table.

    Attributes:
        iterate: reads the table from its beginning.
        is_repeatable: whether it can be read several times; otherwise the columns of later parts are not known before.
    """

    iterate: Callable[[], Iterator[Table]]
    is_repeatable: bool = True


class _TextSource(NamedTuple):
    """The text of a file or of a stream.

    Attributes:
        name: of the file in messages.
        blocks: returns the entire text in blocks.
        sample: returns blocks from which the format is detected: the entire text of a file, some lines of a stream.
        is_complete: whether the sample is the entire text.
    """

    name: str
    blocks: Callable[[], Iterator[str]]
    sample: Callable[[], Iterable[str]]
    is_complete: bool = True


def open_parts(
    path: Path, size: int, encoding: str = "utf-8", has_header: bool = True, format_: str | None = None
) -> TableParts:
    """Open a file for reading in parts; :func:`~bertwright.data.table_files.read_table` reads the same rows at once.

    Memory does not grow with the number of rows, except for ``.json``, which is read at once.

    Args:
        path: the file.
        size: number of rows of each part; the last one may have fewer.
        encoding: the encoding of a text file.
        has_header: whether the first line of a delimited file contains the column names.
        format_: one of ``STREAM_FORMATS``; None: the suffix decides.

    Raises:
        DataError: as ``read_table``; damage may be noticed only when its part is read.
    """
    if format_ is not None:
        check_file(path)
    kind = check_format(path) if format_ is None else f".{format_}"
    if kind == ".json":
        table = read_table(path, encoding, has_header)
        return TableParts(lambda: split_table(table, size))
    if kind == PARQUET:
        return _check_rows(lambda: _parquet_parts(path, str(path), size), kind, has_header)

    def blocks() -> Iterator[str]:
        return text_blocks(path, encoding)

    return _check_rows(_text_parts(_TextSource(str(path), blocks, blocks), kind, size, has_header), kind, has_header)


def open_stream(
    file: BinaryIO, source: str, format_: str, size: int, encoding: str = "utf-8", has_header: bool = True
) -> TableParts:
    """Open a stream of bytes for reading once, in parts. Parquet is copied to the disk first: its index is at the end.

    Args:
        file: the stream.
        source: its name in messages.
        format_: one of ``STREAM_FORMATS``.
        size: number of rows of each part; the last one may have fewer.
        encoding: the encoding of a text.
        has_header: whether the first line of delimited text contains the column names.

    Raises:
        DataError: as :func:`open_parts`.
    """
    kind = f".{format_}"
    if kind == PARQUET:
        return replace(_check_rows(lambda: _copy_parquet(file, source, size), kind, has_header), is_repeatable=False)
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)  # read1 does not wait for more than there is
    rest = decode_blocks(lambda: read(_BLOCK), source, encoding)
    head, is_complete = "", True
    for block in rest:
        head += block
        if len(head) >= SAMPLE and "\n" in head:
            is_complete = False
            break
    sample = head if is_complete else head[: head.rindex("\n") + 1]
    text = _TextSource(source, lambda: chain([head], rest), lambda: [sample], is_complete)
    return replace(_check_rows(_text_parts(text, kind, size, has_header), kind, has_header), is_repeatable=False)


def split_table(table: Table, size: int) -> Iterator[Table]:
    """Split a table into parts."""
    columns: dict[str, Sequence[Any]] = {}

    def values(name: str, start: int, stop: int) -> Sequence[Any]:
        if name not in columns:
            columns[name] = table.column(name)
        return columns[name][start:stop]

    def part(start: int) -> Table:
        stop = min(start + size, table.n_rows)
        rows = replace(
            table,
            n_rows=stop - start,
            column=lambda name: values(name, start, stop),
            where=lambda i: table.where(start + i),
        )
        return rows if start == 0 else replace(rows, skipped={}, notes=[], warnings=[])

    return map(part, range(0, table.n_rows, size))


def join_parts(parts: Iterable[Table]) -> Table:
    """Join the parts of a table, for readers that need all of its rows."""
    tables = list(parts)
    starts = [0, *accumulate(table.n_rows for table in tables)]
    skipped: Counter[str] = Counter()
    for table in tables:
        skipped.update(table.skipped)

    def where(i: int) -> str:
        k = bisect_right(starts, i) - 1
        return tables[k].where(i - starts[k])

    return replace(
        tables[0],
        names=tables[-1].names,
        n_rows=starts[-1],
        column=lambda name: [value for table in tables for value in table.column(name)],
        where=where,
        skipped=dict(skipped),
    )


def _check_rows(iterate: Callable[[], Iterator[Table]], kind: str, has_header: bool) -> TableParts:
    """Add to the first part what ``read_table`` adds to a table."""

    def check() -> Iterator[Table]:
        for number, table in enumerate(iterate()):
            if number == 0:
                if not table.n_rows:
                    raise no_rows(table)
                yield table if has_header or kind in DELIMITED else without_header_line(table, kind)
            else:
                yield table

    return TableParts(check)


def _text_parts(source: _TextSource, kind: str, size: int, has_header: bool) -> Callable[[], Iterator[Table]]:
    """Detect the format of a text, and return a function that reads its parts."""
    name = source.name
    if kind == ".csv":

        def csv_parts() -> Iterator[Table]:
            records = iterate_csv(source.blocks(), name, has_header, size=size)
            return tables_of_records(refuse_blank(records, name), name, has_header)

        return csv_parts
    if not any(block.strip() for block in source.sample()):
        raise is_empty(name)
    has_line_feeds = any("\n" in block for block in source.sample())

    def lines(blocks: Iterable[str]) -> Iterator[str]:
        return iterate_lines(blocks, has_line_feeds)

    if kind in DELIMITED:
        tsv_format = detect_tsv_format(lines(source.sample()), source.is_complete)
        head = next(iter(source.sample()))

        def tsv_parts() -> Iterator[Table]:
            records = iterate_tsv(lines(source.blocks()), tsv_format, name, has_header, size)
            return (add_tsv_hint(table, head) for table in tables_of_records(records, name, has_header))

        return tsv_parts
    if kind == ".txt":
        return lambda: _parts_of_lines(source, lines(source.blocks()), size)
    names = _names_of_json_lines(lines(source.sample()), name) if source.is_complete else ()
    return lambda: tables_of_json_lines(lines(source.blocks()), name, names, size)


def _names_of_json_lines(lines: Iterable[str], source: str) -> Iterable[str]:
    """The columns of all rows, in the order in which they first occur."""
    names: dict[str, None] = {}
    for _, row in iterate_json_lines(lines, source):
        if isinstance(row, dict) and not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
    return names


def _parts_of_lines(source: _TextSource, lines: Iterator[str], size: int) -> Iterator[Table]:
    sample, first = next(iter(source.sample()))[:SAMPLE], 1
    while rows := list(islice(lines, size)):
        yield table_of_lines(rows, source.name, sample, first)
        sample, first = "", first + len(rows)


def _parquet_parts(file: Path | BinaryIO, source: str, size: int) -> Iterator[Table]:
    with report_damage(source):
        import pyarrow as pa
        import pyarrow.parquet as pq

        # with a buffer, pages are read one after another; without one, a row group at a time
        parquet = pq.ParquetFile(file, buffer_size=_BLOCK, pre_buffer=False)
        batches = parquet.iter_batches(size)
        rows = parquet.schema_arrow.empty_table()
    start, is_finished = 0, False
    while not is_finished or rows.num_rows:
        with report_damage(source):
            while rows.num_rows < size and not is_finished:
                if (batch := next(batches, None)) is None:
                    is_finished = True
                else:
                    rows = pa.concat_tables([rows, pa.Table.from_batches([batch])])
        if rows.num_rows or not start:
            yield _part_of_parquet(rows.slice(0, size), source, start)
        rows, start = rows.slice(size), start + size


def _copy_parquet(file: BinaryIO, source: str, size: int) -> Iterator[Table]:
    with TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        yield from _parquet_parts(copy, source, size)


def _part_of_parquet(rows: Any, source: str, start: int) -> Table:
    names, labels = parquet_columns(rows.schema)
    places = {name: rows.schema.names.index(name) for name in names}
    return Table(
        source,
        names,
        rows.num_rows,
        lambda name: rows.column(places[name]).to_pylist(),
        lambda i: f"{source}[{start + i}]",
        labels=labels,
    )
