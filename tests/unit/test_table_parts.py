"""Tables in parts have the rows, positions and messages of tables that are read at once."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bertwright.data.table_files import SAMPLE, Table, read_table
from bertwright.data.table_parts import STREAM_FORMATS, join_parts, open_parts, open_stream
from bertwright.errors import DataError

HEADER = ["nr", "review", "note"]
ROWS = [[str(i), f"it was {'good' if i % 2 else 'bad'} {i}", "" if i % 3 else "x"] for i in range(25)]
QUOTED = [["0", 'say "good",\tfilm', "x"], ["1", "two\nlines\r\nhere", ""], *ROWS[2:]]


def to_csv(rows: list[list[str]], separator: str = ",", **options: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n", **options).writerows(rows)
    return out.getvalue().encode()


def to_tsv(rows: list[list[str]], end: str = "\n") -> bytes:
    return "".join("\t".join(row) + end for row in rows).encode()


def to_jsonl(rows: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(row) + end for row in rows).encode()


def to_parquet(columns: dict[str, list[Any]], **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


OBJECTS: list[dict[str, Any]] = [{"nr": i, "review": f"a {i}"} | ({"late": i} if i > 20 else {}) for i in range(25)]
FILES: dict[str, bytes] = {
    "plain.csv": to_csv([HEADER, *QUOTED]),
    "zipped.csv.gz": gzip.compress(to_csv([HEADER, *QUOTED])),
    "semicolons.csv": to_csv([HEADER, *QUOTED], ";"),
    "directive.csv": b"sep=|\n" + to_csv([HEADER, *QUOTED], "|"),
    "mark.csv": b"\xef\xbb\xbf" + to_csv([HEADER, *QUOTED]),
    "spaced.csv": b"nr, review\n1, good\n2, bad\n3, fun\n",
    "blank.csv": b"\n\na,b\n\n1,x\n\n\n2,y\n3,z\n\n\n\n",
    "returns.csv": to_csv([HEADER, *ROWS]).replace(b"\n", b"\r"),
    "header.csv": b"a,b\n",
    "white.csv": b" \n \n",
    "empty.csv": b"",
    "wide.csv": to_csv([HEADER, *ROWS]) + b"1,2,3,4\n",
    "row_names.csv": b"review,note\n1,good,x\n2,bad,y\n",
    "twice.csv": b"a,a\n1,2\n",
    "unclosed.csv": to_csv([HEADER, *ROWS]) + b'1,"x,y\n',
    "damaged.csv": to_csv([HEADER, *ROWS]) + b"1,\xff,2\n",
    "plain.tsv": to_tsv([HEADER, *ROWS]),
    "returns.tsv": to_tsv([HEADER, *ROWS], "\r"),
    "both.tsv": to_tsv([HEADER, *ROWS], "\r\n") + b"\n\n",
    "excel.tsv": to_csv([HEADER, *QUOTED], "\t", quoting=csv.QUOTE_ALL),
    "some_quotes.tsv": to_tsv([HEADER, *([a, f'"{b}" x', c] for a, b, c in ROWS)]),
    "escaped.tsv": to_tsv([HEADER, *ROWS, ["1", '"say ""x"""', ""]]),
    "open.tsv": to_tsv([HEADER, *ROWS, ["1", '"never closed', ""]]),
    "commas.tsv": b"a,b\n1,2\n3,4\n",
    "directive.tsv": b"sep=;\n" + to_csv([HEADER, *QUOTED], ";"),
    "tab.tsv": b"sep=\t\n" + to_tsv([HEADER, *ROWS]),
    "short.tsv": to_tsv([HEADER, *ROWS]) + b"1\t2\n",
    "white.tsv": b"\n\n",
    "plain.jsonl": to_jsonl(OBJECTS),
    "blank.jsonl": b"\n" + to_jsonl(OBJECTS[:5]) + b"\n\n" + to_jsonl(OBJECTS[5:], "\r\n") + b"\n",
    "list.jsonl": b'[\n{"a": 1}\n]\n',
    "broken.jsonl": to_jsonl(OBJECTS) + b"{\n",
    "values.jsonl": to_jsonl(OBJECTS) + b"[1]\n",
    "list.json": json.dumps(OBJECTS).encode(),
    "lines.json": to_jsonl(OBJECTS),
    "plain.txt": b"a\nb\r\n\nc\xe2\x80\xa8d\ne",
    "table.txt": to_tsv([HEADER, *ROWS]),
    "plain.parquet": to_parquet({"review": [f"a {i}" for i in range(25)], "n": [None] * 20 + [1] * 5}),
    "groups.parquet": to_parquet({"review": [f"a {i}" for i in range(25)]}, row_group_size=4),
    "none.parquet": to_parquet({"review": []}),
    "broken.parquet": b"PAR1????",
}


def content(read: Callable[[], Table]) -> Any:
    """Everything that a table says, or the message of the error."""
    try:
        table = read()
        values = [list(table.column(name)) for name in table.names]
    except DataError as error:
        return str(error)
    places = [table.where(i) for i in range(table.n_rows)]
    notes = (table.skipped, list(table.notes), list(table.warnings), table.header, table.hint, table.labels)
    return (table.source, list(table.names), table.n_rows, values, places, notes)


@pytest.mark.parametrize("size", [2, 7, 12, 25, 1000])
@pytest.mark.parametrize("name", FILES)
def test_parts_are_the_table(tmp_path: Path, name: str, size: int) -> None:
    path, format_ = tmp_path / name, name.rpartition(".")[2]
    path.write_bytes(FILES[name])

    def read_file(has_header: bool) -> Table:
        return join_parts(open_parts(path, size, "utf-8", has_header).iterate())

    def read_stream(has_header: bool) -> Table:
        stream = io.BytesIO(FILES[name])
        return join_parts(open_stream(stream, str(path), format_, size, "utf-8", has_header).iterate())

    for has_header in (True, False):
        expected = content(partial(read_table, path, "utf-8", has_header))
        assert content(partial(read_file, has_header)) == expected
        if format_ in STREAM_FORMATS:
            assert content(partial(read_stream, has_header)) == expected


@pytest.mark.parametrize("name", ["plain.csv", "blank.csv", "excel.tsv", "plain.tsv", "plain.jsonl", "groups.parquet"])
def test_parts_have_equal_sizes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    sizes = [part.n_rows for part in open_parts(path, 2).iterate()]
    assert sizes[: len(sizes) - 2] == [2] * (len(sizes) - 2)
    assert sum(sizes) == read_table(path).n_rows


def test_a_format_replaces_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "rows.dat"
    path.write_bytes(FILES["plain.csv"])
    assert join_parts(open_parts(path, 3, format_="csv").iterate()).n_rows == 25
    with pytest.raises(DataError, match="unknown suffix"):
        open_parts(path, 3)
    with pytest.raises(DataError, match="no such file"):
        open_parts(tmp_path / "nowhere.dat", 3, format_="csv")


class Lazy(io.RawIOBase):
    """A stream that counts the blocks that were read from it."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.n_read = 0

    def read1(self, size: int) -> bytes:
        self.n_read += 1
        return self.blocks[self.n_read - 1] if self.n_read <= len(self.blocks) else b""


@pytest.mark.parametrize(
    ("format_", "head", "row"),
    [
        ("csv", b"review,note\n", b'"a good, film",x\n'),
        ("tsv", b"review\tnote\n", b"a good film\tx\n"),
        ("jsonl", b"", b'{"review": "a good film"}\n'),
    ],
)
def test_streams_are_read_no_further_than_needed(format_: str, head: bytes, row: bytes) -> None:
    block = row * 500
    stream = Lazy([head + block, *[block] * 399])
    parts = open_stream(stream, "standard input", format_, 1000).iterate()  # type: ignore[arg-type]  # as sys.stdin.buffer
    assert next(parts).n_rows == 1000
    first = stream.n_read
    assert first <= SAMPLE // len(block) + 6
    assert next(parts).n_rows == 1000
    assert stream.n_read <= first + 3
    assert sum(part.n_rows for part in parts) == 198_000


def test_the_quotes_of_a_long_stream_are_detected_at_its_beginning() -> None:
    rows = [["text", "note"], *([f"a \tfilm {i}", 'it "was"'] for i in range(5000))]
    for content, expected in (
        (to_csv(rows, "\t", quoting=csv.QUOTE_ALL), "a \tfilm 4999"),
        (to_tsv([[cell.replace("\t", "") for cell in row] for row in rows]), "a film 4999"),
    ):
        parts = list(open_stream(io.BytesIO(content), "standard input", "tsv", 1000).iterate())
        assert len(content) > 1.5 * SAMPLE
        assert parts[-1].column("text")[-1] == expected
        assert sum(part.n_rows for part in parts) == 5000


def test_the_columns_of_a_stream_of_objects_grow() -> None:
    content = to_jsonl([{"a": i} for i in range(9000)] + [{"a": 1, "b": 2}])
    parts = list(open_stream(io.BytesIO(content), "standard input", "jsonl", 5000).iterate())
    assert [list(part.names) for part in parts] == [["a"], ["a", "b"]]
    assert parts[1].where(4000) == "standard input:9001"
