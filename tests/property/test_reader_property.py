"""Whatever is written can be read back, in every format, and nothing is lost or changed on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given
from hypothesis import strategies as st

from bertwright.data.reader import ColumnNames, read_dataset
from bertwright.data.text_files import split_lines
from bertwright.errors import DataError

# Any character that a text file may hold: no surrogate, no NUL, and at the start no byte-order mark.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=30)
one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\t\r\n"), max_size=30)
names = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
COLUMNS = ColumnNames("text", label="label", id="id")


def rows_of(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(text, names), min_size=1, max_size=12)


def check(rows: list[tuple[str, str]], name: str, write: Callable[[list[dict[str, str]]], bytes]) -> None:
    table = [{"id": f"k{i}", "text": text, "label": label} for i, (text, label) in enumerate(rows)]
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(write(table))
        found = read_dataset(path, COLUMNS, need_target=True)
    assert [(row.id, row.text, row.target) for row in found] == [
        (row["id"], row["text"], row["label"]) for row in table
    ]
    assert found.report.fingerprint == read_dataset(table, COLUMNS).report.fingerprint
    assert found.report.skipped == {}


@given(rows_of(texts), st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_csv(rows: list[tuple[str, str]], end: str, quoting: int) -> None:
    def write(table: list[dict[str, str]]) -> bytes:
        out = io.StringIO()
        writer = csv.DictWriter(out, ["id", "text", "label"], lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
        writer.writeheader()
        writer.writerows(table)
        return out.getvalue().encode()

    # The writer leaves a lone carriage return unquoted, and readers (pandas too) take that for the end of a line.
    assume(end == "\r\n" or quoting == csv.QUOTE_ALL or not any("\r" in cell for row in rows for cell in row))
    check(rows, "a.csv", write)
    check(rows, "a.csv.gz", lambda table: gzip.compress(write(table)))


@given(rows_of(one_line))
def test_tsv(rows: list[tuple[str, str]]) -> None:
    check(
        rows,
        "a.tsv",
        lambda table: "".join(
            f"{row['id']}\t{row['text']}\t{row['label']}\n"
            for row in [{"id": "id", "text": "text", "label": "label"}, *table]
        ).encode(),
    )


@given(rows_of(texts), st.booleans())
def test_json(rows: list[tuple[str, str]], ascii_only: bool) -> None:
    check(rows, "a.json", lambda table: json.dumps(table, ensure_ascii=ascii_only).encode())
    check(
        rows,
        "a.jsonl",
        lambda table: "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in table).encode(),
    )


@given(rows_of(texts))
def test_parquet(rows: list[tuple[str, str]]) -> None:
    def write(table: list[dict[str, str]]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(table), out)
        return out.getvalue()

    check(rows, "a.parquet", write)


@given(st.lists(one_line, max_size=10))
def test_lines(lines: list[str]) -> None:
    for end in ("\n", "\r\n"):
        assert split_lines("".join(line + end for line in lines)) == lines


@given(st.binary(max_size=200), st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".txt", ".csv.gz", ".parquet"]))
def test_any_bytes_are_rows_or_one_clear_error(data: bytes, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(data)
        message = ""
        try:
            assert len(read_dataset(path)) > 0
        except DataError as error:
            message = str(error)
        assert not message or message.startswith(str(path))
