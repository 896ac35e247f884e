"""Reading rows: every format, every source in memory, every way a file can be wrong."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertwright.data.cell_values import label_text
from bertwright.data.example import Example
from bertwright.data.folders import list_splits
from bertwright.data.hf_datasets import parse_hub_name, read_datasets
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.errors import DataError, HubError, MissingDependencyError

ROWS = [("good, very good", "positive"), ('he said "no"', "negative"), ("two\nlines", "positive")]


def texts(rows: Dataset) -> list[str]:
    return [row.text for row in rows]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


CSV = 'text,label\n"good, very good",positive\n"he said ""no""",negative\n"two\nlines",positive\n'


class TestFormats:
    def test_csv(self, tmp_path: Path) -> None:
        rows = read_dataset(write(tmp_path / "a.csv", CSV), need_target=True)
        assert [(row.text, row.target) for row in rows] == ROWS
        assert [row.where.rpartition(":")[2] for row in rows] == ["2", "3", "4"]
        assert [row.id for row in rows] == ["0", "1", "2"]
        assert rows.report.inferred == ("label", "text")
        assert rows.report.n_rows == 3
        assert rows.label_names() == ("negative", "positive")

    @pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".CSV"])
    def test_marks_and_line_ends(self, tmp_path: Path, prefix: bytes, end: str, suffix: str) -> None:
        mark = "\t" if suffix == ".tsv" else ","
        data = prefix + end.join([f"text{mark}label", f"ja{mark}1", f"né{mark}0", ""]).encode()
        path = write(tmp_path / f"a{suffix}", gzip.compress(data) if suffix.endswith(".gz") else data)
        rows = read_dataset(path)
        assert [(row.text, row.target) for row in rows] == [("ja", "1"), ("né", "0")]

    def test_tsv_has_no_quoting(self, tmp_path: Path) -> None:
        rows = read_dataset(write(tmp_path / "a.tsv", 'text\tlabel\n"quoted\ta\n\nit "is" b"\tb\n'))
        assert texts(rows) == ['"quoted', 'it "is" b"']
        assert rows.report.skipped == {"blank line": 1}
        assert rows[1].where.endswith("a.tsv:4")
        assert not rows.report.notes
        quoted = write(tmp_path / "b.tsv", 'text\tlabel\n"a ""b"" c"\tx\n')
        assert "removes the quotes around cells in 1 line" in read_dataset(quoted).report.notes[0]
        with pytest.raises(DataError, match=r"c\.tsv:2: expected 2 columns, found 3; \.tsv has no quoting"):
            read_dataset(write(tmp_path / "c.tsv", 'text\tlabel\n"a\tb\tx\n'))

    def test_json_lines_and_json(self, tmp_path: Path) -> None:
        objects = [{"text": text, "label": label} for text, label in ROWS]
        lines = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, objects)) + "\n\n")
        whole = write(tmp_path / "a.json", json.dumps(objects, indent=1))
        either = write(tmp_path / "b.json", lines.read_bytes())
        found = [read_dataset(path) for path in (lines, whole, either)]
        assert all([(row.text, row.target) for row in rows] == ROWS for rows in found)
        assert len({rows.report.fingerprint for rows in found}) == 1
        assert found[0].report.skipped == {"blank line": 1}
        assert found[0][2].where.endswith("a.jsonl:3")
        assert found[1][2].where.endswith("a.json[2]")

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_numbers_that_python_will_not_read(self, tmp_path: Path, name: str) -> None:
        row = f'{{"text": "a", "label": 1{"0" * 5000}}}'
        with pytest.raises(
            DataError, match=rf"{name}.*: contains a number of thousands of digits; write it as a string"
        ):
            read_dataset(write(tmp_path / name, row if name == "a.jsonl" else f"[{row}]"))

    def test_text(self, tmp_path: Path) -> None:
        rows = read_dataset(write(tmp_path / "a.txt", "one\u2028still one\r\n\r\nthree"))
        assert texts(rows) == ["one\u2028still one", "", "three"]
        assert rows.targets == [None] * 3
        assert rows[2].where.endswith("a.txt:3")

    def test_parquet_from_pandas_and_from_datasets(self, tmp_path: Path) -> None:
        import datasets
        import pandas as pd

        frame = pd.DataFrame({"text": ["a", None], "label": [1.0, 0.0]}, index=[5, 7])
        frame.to_parquet(tmp_path / "a.parquet")
        rows = read_dataset(tmp_path / "a.parquet")
        assert [(row.text, row.target) for row in rows] == [("a", "1"), ("", "0")]
        assert '1 values of the column "text" are missing' in rows.report.notes[0]
        features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
        data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features)
        data.to_parquet(tmp_path / "b.parquet")
        rows = read_dataset(tmp_path / "b.parquet")
        assert rows.targets == ["pos"]
        assert rows.report.skipped == {'no label ("-1")': 1}
        assert rows.labels == ("neg", "pos")

    def test_other_encodings_and_separators(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text;label\nné;x\n".encode("utf-16"))
        rows = read_dataset(path, encoding="utf-16")
        assert rows[0] == Example("0", "né", None, "x", f"{path}:2")
        assert "separated by semicolons" in rows.report.notes[0]
        path = write(tmp_path / "b.csv", "text\tlabel\nné\tx\n".encode("cp1252"))
        assert "separated by tabs" in read_dataset(path, encoding="cp1252").report.notes[0]

    def test_a_field_of_any_length(self, tmp_path: Path) -> None:
        import csv

        before = csv.field_size_limit()
        long = "x" * 200_000
        assert texts(read_dataset(write(tmp_path / "a.csv", f"text,label\n{long},1\n"))) == [long]
        assert csv.field_size_limit() == before

    def test_fingerprint_is_of_the_content(self, tmp_path: Path) -> None:
        same = read_dataset(ROWS).report.fingerprint
        assert read_dataset(write(tmp_path / "a.csv", CSV)).report.fingerprint == same
        assert read_dataset([*ROWS[:2], ("two\nlines", "negative")]).report.fingerprint != same

    def test_report_as_lines_and_values(self, tmp_path: Path) -> None:
        rows = read_dataset(write(tmp_path / "a.csv", "\n" + CSV))
        assert rows.report.lines()[1:] == [
            "1 rows skipped: blank line",
        ]
        other = read_dataset(write(tmp_path / "a.csv", "Text,mood\na,b\n"), need_target=True)
        assert other.report.lines()[1:] == ["label: inferred to be mood (data.label=… overrides it)"]
        assert json.loads(json.dumps(rows.report.to_dict()))["columns"]["text"] == "text"


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", r"a\.csv: is empty"),
    "blank": ("a.csv", b" \n\n", r"a\.csv: is empty"),
    "header only": ("a.csv", b"text,label\n", r"a\.csv: has a header but no rows"),
    "ragged": (
        "a.csv",
        b'text,label\n"a\nb",1\nc\n',
        r"a\.csv:4: expected 2 columns, found 1; write the separator of empty fields",
    ),
    "unclosed": ("a.csv", b'text,label\na,1\n"b,1\nc,1\n', r"a\.csv:3: a quote in this row is never closed"),
    "bad quote": ("a.csv", b'text,label\n"a" b,1\n', r"a\.csv:2: broken quoting"),
    "nul": ("a.csv", b"text,label\na\0b,1\n", r"a\.csv:2: contains a NUL"),
    "twice": ("a.csv", b"text,label,label\na,1,1\n", r'a\.csv:1: two columns have the name "label"'),
    "latin-1": (
        "a.csv",
        b"text,label\nn\xe9,1\n",
        r"a\.csv:2: byte 0xe9 at offset 12 is not utf-8; .*data.encoding=cp1252",
    ),
    "utf-16": (
        "a.csv",
        "text,label\n".encode("utf-16"),
        r"a\.csv: is not utf-8 text but UTF-16; set data.encoding=utf-16",
    ),
    "unnamed gzip": ("a.csv", gzip.compress(CSV.encode()), r"a\.csv: is not utf-8 text but gzip"),
    "excel": ("a.xlsx", b"PK\x03\x04", r"a\.xlsx: unknown suffix \.xlsx"),
    "no suffix": ("a", b"x", r"unknown suffix \(none\)"),
    "cut gzip": ("a.csv.gz", gzip.compress(CSV.encode())[:-9], r"a\.csv\.gz: is a damaged gzip file"),
    "no gzip": ("a.csv.gz", b"text,label\n", r"a\.csv\.gz: is a damaged gzip file"),
    "cut parquet": ("a.parquet", b"PAR1 and then nothing", r"a\.parquet: is a damaged Parquet file"),
    "json line": ("a.jsonl", b'{"text": "a"}\n{"text": "b"', r"a\.jsonl:2: is not valid JSON \(.*column"),
    "json number": ("a.jsonl", b"3\n", r'a\.jsonl:1: expected an object such as \{"text": ….*found a int'),
    "json list": ("a.json", b'[\n{"text": "a"},\n]', r"a\.json:\d: is not valid JSON"),
    "json item": ("a.json", b'["a"]', r"a\.json\[0\]: expected an object"),
    "json deep": ("a.jsonl", b"[" * 200_000, r"a\.jsonl:1: is n"),
    "json deep list": ("a.json", b"[" * 200_000, r"a\.json(:1)?: is n"),
    "json lacks": ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}', r'a\.jsonl:2: lacks the column "text"'),
    "json text": ("a.jsonl", b'{"text": 3}', r'a\.jsonl:1: the column "text" should hold a text, found 3 \(int\)'),
    "surrogate": ("a.jsonl", rb'{"text": "a"}' + b"\n" + rb'{"text": "\ud83d"}', r"a\.jsonl:2: the text .* surrogate"),
}


class TestErrors:
    @pytest.mark.parametrize("name", BROKEN)
    def test_broken_files(self, tmp_path: Path, name: str) -> None:
        file, content, message = BROKEN[name]
        with pytest.raises(DataError, match=message):
            read_dataset(write(tmp_path / file, content))

    def test_unreadable_utf16(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.csv(:1)?: "):
            read_dataset(write(tmp_path / "a.csv", b"abc"), encoding="utf-16")
        with pytest.raises(DataError, match="unknown encoding 'utf-9'"):
            read_dataset(write(tmp_path / "a.csv", b"abc"), encoding="utf-9")
        with pytest.raises(DataError, match=r"is not ascii.*data\.encoding=utf-8"):
            read_dataset(write(tmp_path / "a.csv", "né".encode()), encoding="ascii")

    def test_parquet_cut_in_a_column(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": [f"text {i}" for i in range(1000)], "label": ["a"] * 1000}), path)
        data = bytearray(path.read_bytes())
        data[4:400] = b"\xff" * 396
        with pytest.raises(DataError, match="is a damaged Parquet file"):
            read_dataset(write(path, bytes(data)))
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
        with pytest.raises(DataError, match="has no rows"):
            read_dataset(path)

    def test_missing_files_and_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", CSV)
        with pytest.raises(DataError, match=r'trian\.csv: no such file; did you mean "train\.csv"\?'):
            read_dataset(tmp_path / "trian.csv")
        with pytest.raises(DataError, match="and no folder"):
            read_dataset(tmp_path / "no" / "train.csv")
        (tmp_path / "bare").mkdir()
        with pytest.raises(DataError, match="the folder has no files"):
            read_dataset(tmp_path / "bare" / "train.parquet")
        with pytest.raises(DataError, match=r"is a directory of unknown layout .*nothing"):
            read_dataset(tmp_path / "bare")
        (tmp_path / "x.csv").mkdir()
        with pytest.raises(DataError, match="is a directory of unknown layout"):
            read_dataset(tmp_path / "x.csv")

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Path, mode: str) -> bytes:
            raise PermissionError(13, "Permission denied")

        path = write(tmp_path / "a.csv", CSV)
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(DataError, match="cannot be read \\(Permission denied\\)"):
            read_dataset(path)

    @pytest.mark.parametrize("source", [{"text": ["a"]}, 3, b"abc", None])
    def test_no_source(self, source: Any) -> None:
        with pytest.raises(DataError, match="cannot be read as rows"):
            read_dataset(source)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ([], r"list: holds no rows"),
            ([3], r"list\[0\]: expected a text, a tuple, a dict or an Example, found int"),
            (["a", ("b", "c")], r"list\[1\]: expected str, found tuple"),
            ([("a", "b"), ("a",)], r"list\[1\]: expected \(text, label\)"),
            ([("a", "b", "c", "d")], r"list\[0\]: expected .*found 4 values"),
            ([("a", ["b"])], r'list\[0\]: label column "label": \[\'b\'\] is no single label'),
            ([(3, "b")], r'list\[0\]: the column "text" should hold a text, found 3'),
        ],
    )
    def test_lists(self, source: list[Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_dataset(source)


class TestColumns:
    @pytest.mark.parametrize(
        ("header", "row", "text", "pair", "label"),
        [
            ("Review,Sentiment", "a,b", "Review", None, "Sentiment"),
            ("idx,sentence1,sentence2,label", "0,a,b,c", "sentence1", "sentence2", "label"),
            ("question,sentence,label", "a,b,c", "question", "sentence", "label"),
            ("question,target", "a,b", "question", None, "target"),
            ("words,label", "a b,1", "words", None, "label"),
            ("n,words,score", "1,a b,2", "words", None, "score"),
            ("text,verdict", "a,b", "text", None, "verdict"),
            ("label,score,text", "a,1,b", "text", None, "label"),
            ("premise,hypothesis,label,label_text", "a,b,0,c", "premise", "hypothesis", "label"),
        ],
    )
    def test_guesses(self, tmp_path: Path, header: str, row: str, text: str, pair: str | None, label: str) -> None:
        rows = read_dataset(write(tmp_path / "a.csv", f"{header}\n{row}\n"), need_target=True)
        found = rows.report.columns
        assert (found.text, found.text_pair, found.label) == (text, pair, label)

    @pytest.mark.parametrize(
        ("header", "row", "message"),
        [
            ("text,review,label", "a,b,c", "text or review could be the text"),
            ("text,sentence1,sentence2,label", "a,b,c,d", r"sentence1 \+ sentence2 or text could be the text"),
            ("one,two,three,label", "a,b,c,d", "any of one, two, three could be the text"),
            ("one,label", "1,d", "no column of text among one, label"),
            ("text,sentiment,target", "a,b,c", "sentiment or target could be the label; set data.label"),
            ("text,one,two", "a,b,c", r"cannot infer which column holds the label \(columns: text, one, two\)"),
        ],
    )
    def test_guesses_that_fail(self, tmp_path: Path, header: str, row: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_dataset(write(tmp_path / "a.csv", f"{header}\n{row}\n"), need_target=True)

    def test_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "one,two,three,four\na,b,c,k1\nd,e,f,k2\n")
        rows = read_dataset(path, ColumnNames("two", "one", "three", "four"))
        assert rows[1] == Example("k2", "e", "d", "f", f"{path}:3")
        assert rows.report.inferred == ()
        with pytest.raises(DataError, match='there is no column "tow"; did you mean "two"'):
            read_dataset(path, ColumnNames("tow"))
        with pytest.raises(DataError, match="text_pair is named and text is not"):
            read_dataset(path, ColumnNames(text_pair="two"))
        with pytest.raises(DataError, match="classification takes one label column, found one, two"):
            read_dataset(path, ColumnNames("three", label=("one", "two")))

    def test_no_targets_wanted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,label\na,1\n")
        rows = read_dataset(path, ColumnNames(label=()))
        assert rows.targets == [None]
        assert rows.report.columns == ColumnNames("text")
        assert read_dataset([("a", "b")], ColumnNames(label=()))[0].text_pair == "b"
        assert read_dataset(["a"], ColumnNames(label=()))[0].text == "a"

    def test_ids(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "id,text\nx,a\nx,b\n")
        rows = read_dataset(path)
        assert [row.id for row in rows] == ["0", "1"]
        assert 'the id in "id" "x" is also that of' in rows.report.notes[0]
        assert rows.report.columns.id is None
        with pytest.raises(
            DataError, match=r'a\.csv:3: the id in "id" "x" is also that of .*a\.csv:2; ids must be unique'
        ):
            read_dataset(path, ColumnNames("text", id="id"))
        with pytest.raises(DataError, match=r'list\[1\]: the id in "id" is empty'):
            read_dataset([{"text": "a", "id": [1]}, {"text": "b", "id": None}], ColumnNames("text", id="id"))
        assert [row.id for row in read_dataset([{"text": "a", "id": 7.0}])] == ["7"]

    def test_spreadsheet_columns_without_names(self, tmp_path: Path) -> None:
        assert texts(read_dataset(write(tmp_path / "a.csv", "text,label,,\na,1,,\n"))) == ["a"]


class TestTargets:
    @pytest.mark.parametrize(
        ("value", "label"),
        [
            (1, "1"),
            (1.0, "1"),
            ("1.0", "1"),
            ("1.50", "1.50"),
            (1.5, "1.5"),
            (-2.0, "-2"),
            (True, "True"),
            (np.int64(3), "3"),
            (np.float32(2), "2"),
            (" a ", "a"),
            ("", None),
            (None, None),
            (math.nan, None),
        ],
    )
    def test_labels(self, value: Any, label: str | None) -> None:
        assert label_text(value) == label
        assert read_dataset([("t", value)]).targets == [label]

    def test_label_order(self) -> None:
        assert read_dataset([("t", n) for n in (10, 9, -1)]).label_names() == ("-1", "9", "10")

    def test_missing_target(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,label\na,1\nb,\n")
        assert read_dataset(path).targets == ["1", None]
        with pytest.raises(DataError, match=r'a\.csv:3: the label column "label" is empty; .*\(1 rows have none\)'):
            read_dataset(path, need_target=True)

    def test_numbers(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,score\na,1.5\nb,\nc, 2\n")
        assert read_dataset(path, kind="regression").targets == [1.5, None, 2.0]
        huge = ("1e39", "1e39 is more than a model can be trained on")
        comma = ('"3,5"', "write decimals with a point")
        for bad, message in (("x", '"x" is not a number'), comma, ("inf", "finite"), huge):
            with pytest.raises(DataError, match=rf'a\.csv:2: label column "score": .*{message}'):
                read_dataset(write(path, f"text,score\na,{bad}\n"), kind="regression")

    def test_several_columns(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "id,text,rude,loud\n5,a,1,0\n6,b,0,0\n7,c,1.0,True\n")
        rows = read_dataset(path, kind="multilabel", need_target=True)
        assert rows.targets == [("rude",), (), ("rude", "loud")]
        assert rows.labels == rows.label_names() == ("rude", "loud")
        assert read_dataset(path, ColumnNames("text", label=("loud",)), kind="multilabel").targets == [
            (),
            (),
            ("loud",),
        ]
        with pytest.raises(DataError, match=r'a\.csv:2: the column "loud" should hold 0 or 1, found -1'):
            read_dataset(
                write(path, "text,rude,loud\na,1,-1\n"), ColumnNames("text", label=("rude", "loud")), kind="multilabel"
            )
        with pytest.raises(DataError, match=r'a\.csv:2: the column "loud" is empty while others are not'):
            read_dataset(
                write(path, "text,rude,loud\na,1,\n"), ColumnNames("text", label=("rude", "loud")), kind="multilabel"
            )
        empty = read_dataset(
            write(path, "text,rude,loud\na,,\n"), ColumnNames("text", label=("rude", "loud")), kind="multilabel"
        )
        assert empty.targets == [None]

    @pytest.mark.parametrize(
        ("value", "target"),
        [
            (["a", "b"], ("a", "b")),
            ("a, b", ("a", "b")),
            ('["b", "a", "b"]', ("b", "a")),
            ("['a', 'b']", ("a", "b")),
            ("[]", ()),
            ("", ()),
            ([1, 2.0], ("1", "2")),
            (np.array([1, 2]), ("1", "2")),
            (3, ("3",)),
            (None, None),
        ],
    )
    def test_list_column(self, value: Any, target: tuple[str, ...] | None) -> None:
        rows = read_dataset([{"text": "t", "tags": value}], kind="multilabel")
        assert rows.targets == [target]
        assert rows.label_names() == tuple(sorted(target or ()))

    @pytest.mark.parametrize("value", ["[a", [None], [{}]])
    def test_no_list(self, value: Any) -> None:
        with pytest.raises(DataError, match=r'list\[0\]: label column "tags": .* is not a list of labels'):
            read_dataset([{"text": "t", "tags": value}], kind="multilabel")

    def test_multilabel_without_a_label_column(self) -> None:
        with pytest.raises(DataError, match="cannot infer which column holds the label"):
            read_dataset([{"text": "t", "other": "a"}], kind="multilabel", need_target=True)


class TestMemory:
    def test_lists(self) -> None:
        assert texts(read_dataset(["a", "b"])) == ["a", "b"]
        assert texts(read_dataset(text for text in ["a", "b"])) == ["a", "b"]
        assert texts(read_dataset(np.array(["a", "b"]))) == ["a", "b"]
        assert read_dataset([("a", "b", 1)])[0] == Example("0", "a", "b", "1", "list[0]")
        assert read_dataset([{"review": "a", "stars": 4}], ColumnNames("review", label="stars")).targets == ["4"]

    def test_examples_come_back_as_they_are(self) -> None:
        examples = [Example("x", "a", "b", ("l", "m"), "here:1"), Example("y", "c", "d", ())]
        rows = read_dataset(examples, kind="multilabel")
        assert [rows[0], rows[1].target, rows[1].where] == [examples[0], (), "list[1]"]
        assert read_dataset(rows) is rows

    def test_pandas(self) -> None:
        import pandas as pd

        frame = pd.DataFrame({"text": ["a", None], "label": [1.0, np.nan]}, index=[3, 3])
        rows = read_dataset(frame)
        assert [(row.text, row.target, row.where) for row in rows] == [
            ("a", "1", "DataFrame[0]"),
            ("", None, "DataFrame[1]"),
        ]
        assert texts(read_dataset(frame["text"][:1])) == ["a"]
        with pytest.raises(DataError, match="DataFrame: holds no rows"):
            read_dataset(frame[:0])
        with pytest.raises(DataError, match='two columns have the name "text"'):
            read_dataset(pd.DataFrame([["a", "b"]], columns=["text", "text"]))

    def test_slices(self) -> None:
        rows = read_dataset(ROWS)
        assert isinstance(rows[1:], Dataset)
        assert texts(rows[1:]) == texts(rows.take([1, 2])) == [ROWS[1][0], ROWS[2][0]]
        assert rows[:1].report is rows.report


class TestFolders:
    @pytest.fixture
    def imdb(self, tmp_path: Path) -> Path:
        for split in ("train", "test"):
            for label in ("pos", "neg"):
                for n in (0, 2, 10):
                    write(tmp_path / "imdb" / split / label / f"{n}_7.txt", f"{split} {label} {n}")
        write(tmp_path / "imdb" / "train" / "unsup" / "0_0.txt", "?")
        write(tmp_path / "imdb" / "train" / "pos" / "notes.md", "?")
        write(tmp_path / "imdb" / "test" / "neg" / "2_7.txt", "")
        return tmp_path / "imdb"

    def test_imdb(self, imdb: Path) -> None:
        assert list_splits(imdb) == ("train", "test")
        rows = read_dataset(imdb, split="train", need_target=True)
        assert texts(rows) == [f"train {label} {n}" for n in (0, 2, 10) for label in ("neg", "pos")]
        assert rows.targets == ["negative", "positive"] * 3
        assert rows[0].id == "neg/0_7"
        assert rows[0].where.endswith("0_7.txt")
        assert rows.report.skipped == {"not a .txt file": 1, "without a label (unsup)": 1}
        assert (rows.report.layout, rows.report.split) == ("aclimdb", "train")
        assert "" in texts(read_dataset(imdb / "test", ColumnNames(label=())))
        assert read_dataset(imdb / "test", split="test").targets == rows.targets
        with pytest.raises(DataError, match=r"has no split dev; name one of train, test"):
            read_dataset(imdb, split="dev")
        with pytest.raises(DataError, match="has several splits"):
            read_dataset(imdb)
        with pytest.raises(DataError, match="has a folder per class but no split dev"):
            read_dataset(imdb / "train", split="dev")

    def test_split_files(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv.gz", gzip.compress(CSV.encode()))
        write(tmp_path / "valid.csv", CSV)
        write(tmp_path / "notes.md", "")
        assert list_splits(tmp_path) == ("train", "dev")
        assert len(read_dataset(tmp_path, split="dev")) == len(read_dataset(tmp_path, split="train")) == 3
        write(tmp_path / "val.jsonl", "{}")
        with pytest.raises(DataError, match=r"several files could be the split dev \(val\.jsonl, valid\.csv\)"):
            read_dataset(tmp_path, split="dev")

    def test_class_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "sport" / "1.txt", "a")
        write(tmp_path / "art" / "1.txt", "b")
        assert list_splits(tmp_path) == ("train",)
        assert sorted(read_dataset(tmp_path).targets) == ["art", "sport"]  # type: ignore[type-var]

    def test_no_layout(self, tmp_path: Path) -> None:
        write(tmp_path / "x.csv", CSV)
        with pytest.raises(DataError, match=r"is a directory of unknown layout \(it contains x\.csv\)"):
            list_splits(tmp_path)
        with pytest.raises(DataError, match="is not a folder"):
            list_splits(tmp_path / "x.csv")


class TestHub:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("hub:imdb", ("imdb", None, None)),
            ("hub:imdb:test", ("imdb", None, "test")),
            ("hub:glue/sst2:train", ("glue", "sst2", "train")),
            ("hub:stanfordnlp/imdb", ("stanfordnlp/imdb", None, None)),
            ("hub:nyu-mll/glue/mrpc:validation", ("nyu-mll/glue", "mrpc", "validation")),
            ("hub:imdb:train[:10%]", ("imdb", None, "train[:10%]")),
        ],
    )
    def test_names(self, name: str, parts: tuple[str, str | None, str | None]) -> None:
        assert parse_hub_name(name) == parts

    @pytest.mark.parametrize("name", ["hub:", "hub:a/b/c/d", "hub:a:b:c", "hub:a//b"])
    def test_no_names(self, name: str) -> None:
        with pytest.raises(DataError, match="expected hub:NAME"):
            parse_hub_name(name)

    @pytest.fixture
    def data(self) -> Any:
        import datasets

        features = datasets.Features(
            sentence=datasets.Value("string"),
            label=datasets.ClassLabel(names=["neg", "pos"]),
            idx=datasets.Value("int32"),
        )
        train = {"sentence": ["a", "b"], "label": [1, 0], "idx": [0, 1]}
        hidden = {"sentence": ["c"], "label": [-1], "idx": [0]}
        return datasets.DatasetDict(
            train=datasets.Dataset.from_dict(train, features=features),
            validation=datasets.Dataset.from_dict(train, features=features),
            test=datasets.Dataset.from_dict(hidden, features=features),
        )

    def test_by_name(self, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        asked = []

        def load(path: str, config: str | None, split: str | None) -> Any:
            asked.append((path, config, split))
            return data[split] if split else data

        monkeypatch.setattr(datasets, "load_dataset", load)
        rows = read_dataset("hub:glue/sst2:train", need_target=True)
        assert [(row.text, row.target) for row in rows] == [("a", "pos"), ("b", "neg")]
        assert rows.labels == ("neg", "pos")
        assert rows[1].where == "hub:glue/sst2:train[1]"
        assert rows.report.split == "train"
        dev = read_dataset("hub:glue/sst2", split="dev")
        assert dev.report.split == "validation"
        assert read_dataset("hub:glue/sst2:dev").targets == dev.targets
        assert read_dataset("hub:glue/sst2:test").targets == [None]
        assert asked == [("glue", "sst2", "train"), *[("glue", "sst2", None)] * 3]
        with pytest.raises(
            DataError, match=r"has several splits; name one of train, validation, test, as in hub:glue/sst2:train"
        ):
            read_dataset("hub:glue/sst2")
        with pytest.raises(DataError, match="has no split train_extra"):
            read_dataset("hub:glue/sst2", split="train_extra")

    def test_in_memory(self, data: Any) -> None:
        assert texts(read_dataset(data["train"])) == ["a", "b"]
        assert texts(read_dataset(data["train"].with_format("numpy"))) == ["a", "b"]
        assert read_dataset(data, split="dev").targets == ["pos", "neg"]
        with pytest.raises(DataError, match="Dataset: has no rows"):
            read_dataset(data["train"].select([]))
        with pytest.raises(DataError, match="is a stream"):
            read_datasets(data["train"].to_iterable_dataset(), "stream")

    def test_lists_of_class_numbers(self) -> None:
        import datasets

        names = datasets.ClassLabel(names=["1", "2", "3"])
        features = datasets.Features(text=datasets.Value("string"), labels=datasets.Sequence(names))
        rows = read_dataset(
            datasets.Dataset.from_dict({"text": ["a"], "labels": [[0, 2]]}, features=features), kind="multilabel"
        )
        assert rows.targets == [("1", "3")]
        assert rows.labels == ("1", "2", "3")
        features = datasets.Features(text=datasets.Value("string"), label=datasets.Value("int64"))
        plain = datasets.Dataset.from_dict({"text": ["a"], "label": [7]}, features=features)
        assert read_dataset(plain).targets == ["7"]

    def test_class_number_out_of_range(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
        table = pa.table({"text": ["t", "u", "v"], "label": [0, 1, 5]})
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r'a\.parquet\[2\]: label column "label": 5 is none of the 2 classes a, b'):
            read_dataset(tmp_path / "a.parquet")

    def test_saved_folders(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        assert list_splits(tmp_path / "saved") == ("train", "dev", "test")
        rows = read_dataset(tmp_path / "saved", split="dev")
        assert rows.targets == ["pos", "neg"]
        assert read_dataset(f"hub:{tmp_path / 'saved'}:train").targets == rows.targets
        data["train"].save_to_disk(tmp_path / "one")
        assert list_splits(tmp_path / "one") == ("train",)
        assert read_dataset(tmp_path / "one").targets == rows.targets

    def test_local_data_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A directory as the Hub has them, through the library's own loader."""
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        write(tmp_path / "mine" / "train.csv", CSV)
        write(tmp_path / "mine" / "validation.csv", CSV)
        datasets.disable_progress_bars()
        rows = read_dataset(f"hub:{tmp_path / 'mine'}:train")
        assert [(row.text, row.target) for row in rows] == ROWS
        with pytest.raises(DataError, match="extra"):
            read_dataset(f"hub:{tmp_path / 'mine'}:extra")
        (tmp_path / "bare").mkdir()
        with pytest.raises((DataError, HubError), match="bare"):
            read_dataset(f"hub:{tmp_path / 'bare'}:train")

    @pytest.mark.parametrize(
        ("error", "kind", "message"),
        [
            (
                ConnectionError("Couldn't reach 'x' on the Hub"),
                HubError,
                r"not in the cache, and the Hub is not reachable .*load_dataset\(\"some/thing\"\)\.save_to_disk\(DIR\)",
            ),
            (ValueError("BuilderConfig 'x' not found. Available: ['sst2', 'cola']"), DataError, "known: sst2, cola"),
            (ValueError("Config name is missing.\nPick one: ['sst2']"), DataError, "known: sst2"),
            (ValueError('Unknown split "x". Should be one of [train]'), DataError, "name one of its splits"),
            (RuntimeError("Dataset scripts are no longer supported"), HubError, "is a loading script"),
            (KeyError("odd"), HubError, "cannot be loaded"),
        ],
    )
    def test_failures(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str
    ) -> None:
        import datasets

        def fail(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(kind, match=message):
            read_dataset("hub:some/thing")
        assert datasets.exceptions  # the library's own classes are told by name:
        error = datasets.exceptions.DatasetNotFoundError("Dataset 'x' doesn't exist on the Hub")
        with pytest.raises(HubError, match="the Hub has no data set some/thing, or it is private"):
            read_dataset("hub:some/thing")
        error = datasets.exceptions.DataFilesNotFoundError("No (supported) data files found")
        with pytest.raises(DataError, match="has no readable data files"):
            read_dataset("hub:some/thing")

    def test_without_the_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'bertwright\[hub\]'"):
            read_dataset("hub:imdb:train")


def test_importing_the_reader_imports_nothing_slow() -> None:
    slow = ["torch", "pandas", "pyarrow", "datasets", "sklearn", "scipy", "transformers"]
    code = f"import sys, bertwright.data.reader; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
