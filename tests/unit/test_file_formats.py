"""Files as spreadsheets, pandas, R, Label Studio and Kaggle write them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bertwright import ColumnNames, read_dataset
from bertwright.data.data_checks import check_data
from bertwright.data.dataset import Dataset
from bertwright.data.delimited import consistent_width, infer_separator, parse_csv
from bertwright.data.settings import DataSettings
from bertwright.data.targets.lookup import Kind
from bertwright.errors import DataError

PAIRS = [("good soup; hot", "pos"), ('cold "stew"', "neg"), ("late, again", "neg"), ("two\nlines", "pos")]
OBJECTS = [{"text": text, "label": label} for text, label in PAIRS]


def read_file(
    folder: Path, name: str, content: str | bytes, columns: ColumnNames | None = None, **options: Any
) -> Dataset:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dataset(path, columns or ColumnNames(), need_target=True, **options)


def pairs(rows: Dataset) -> list[tuple[str, Any]]:
    return [(row.text, row.target) for row in rows]


def delimited(separator: str, quoting: int = csv.QUOTE_MINIMAL, end: str = "\r\n") -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("text", "label"), *PAIRS])
    return file.getvalue()


class TestSeparators:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    def test_common_separators(self, tmp_path: Path, separator: str) -> None:
        rows = read_file(tmp_path, "a.csv", delimited(separator))
        assert pairs(rows) == PAIRS
        assert bool(rows.report.notes) == (separator != ",")

    @pytest.mark.parametrize("separator", [",", ";", "\t", "|", "~"])
    @pytest.mark.parametrize("line", ["sep={}\r\n", '"sep={}"\n', "SEP={}\n"])
    def test_excels_first_line(self, tmp_path: Path, separator: str, line: str) -> None:
        rows = read_file(tmp_path, "a.csv", "\ufeff" + line.format(separator) + delimited(separator))
        assert pairs(rows) == PAIRS
        assert f'set by the line "sep={separator}"' in rows.report.notes[0]
        assert rows[0].where.endswith("a.csv:3")
        assert rows[3].where.endswith("a.csv:6")

    def test_excels_first_line_in_a_tsv(self, tmp_path: Path) -> None:
        assert pairs(read_file(tmp_path, "a.tsv", "sep=\t\ntext\tlabel\nfine\tpos\n")) == [("fine", "pos")]
        assert pairs(read_file(tmp_path, "b.tsv", "sep=;\ntext;label\nfine;pos\n")) == [("fine", "pos")]

    def test_only_a_directive(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.csv: has no rows; check that it is the right file"):
            read_file(tmp_path, "a.csv", "sep=;\n")

    def test_broken_quoting_is_named_by_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'a\.csv:3: a quote .* is never closed; .* write each quote twice \(""\)'):
            read_file(tmp_path, "a.csv", 'sep=;\ntext;label\n"fine;pos\n')

    def test_a_comma_in_the_header_is_not_always_the_separator(self) -> None:
        assert infer_separator('"text, long";label\na;b\n') == ";"
        assert infer_separator("text\none, two\n") == ","
        assert infer_separator("text,label\na;b,c\n") == ","

    def test_a_sample_may_end_inside_a_quoted_cell(self) -> None:
        rows = "".join(f'"line {i}\nand {i}"|x\n' for i in range(9000))
        assert consistent_width(("text|label\n" + rows)[: 1 << 16], "|") == 2

    @pytest.mark.parametrize("header", [" text , label ", "text, label", "\ttext,label "])
    def test_spaces_around_names(self, tmp_path: Path, header: str) -> None:
        rows = read_file(tmp_path, "a.csv", f"{header}\nfine,pos\n")
        assert (rows.report.columns.text, rows.report.columns.label) == ("text", "label")
        assert any("spaces" in note for note in rows.report.notes)

    def test_quotes_after_a_space(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.csv", 'text, label\n"one, two", "pos"\nthree, neg\n')
        assert pairs(rows) == [("one, two", "pos"), ("three", "neg")]

    def test_names_that_differ_by_spaces_only(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'a\.csv:1: two columns have the name "text"'):
            read_file(tmp_path, "a.csv", "text,text ,label\na,b,c\n")


class TestLineEnds:
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl"])
    def test_excel_for_mac(self, tmp_path: Path, name: str) -> None:
        mark = "\t" if name == "a.tsv" else ","
        lines = {"a.txt": ["good", "bad"], "a.jsonl": ['{"text": "good"}', '{"text": "bad"}']}
        content = "\r".join(lines.get(name, [f"text{mark}n", f"good{mark}1", f"bad{mark}2"])) + "\r"
        (tmp_path / name).write_bytes(content.encode())
        assert [row.text for row in read_dataset(tmp_path / name)] == ["good", "bad"]

    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_excels_unicode_text(self, tmp_path: Path, name: str) -> None:
        content = delimited("\t").encode("utf-16")
        assert pairs(read_file(tmp_path, name, content, encoding="utf-16")) == PAIRS
        with pytest.raises(DataError, match=r"is not utf-8 text but UTF-16; .*data\.encoding=utf-16"):
            read_dataset(tmp_path / name)


class TestRecordsOfOtherLengths:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (
                "a.csv",
                "text,n,label\na,1,x\nb,y\n",
                r":3: expected 3 columns, found 2; write the separator of empty fields",
            ),
            (
                "a.csv",
                "text,label\na,b,x\n",
                r":2: expected 2 columns, found 3; quote fields that contain the separator",
            ),
            ("a.csv", "text,label\na,b,\n", r":2: expected 2 columns, found 3; remove the separator at its end"),
            ("a.csv", "text\ngood, cheap\n", r":2: expected 1 column, found 2; quote fields"),
            ("a.tsv", "text\tn\tlabel\na\tx\n", r":2: expected 3 columns, found 2; write the tab of empty fields"),
            ("a.tsv", "text\tlabel\n1\ta\tx\n2\tb\ty\n", r":2: .*found 3; .* write the file with row\.names=FALSE"),
        ],
    )
    def test_message_fits_the_fault(self, tmp_path: Path, name: str, content: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_file(tmp_path, name, content)


class TestQuotedTsv:
    def test_as_excel_writes_it(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.tsv", delimited("\t"))
        assert pairs(rows) == PAIRS
        assert "removes the quotes around cells" in rows.report.notes[0]

    def test_every_cell_quoted(self, tmp_path: Path) -> None:
        plain = '"text"\t"label"\n"good"\t"pos"\n"bad"\t"neg"\n'
        assert pairs(read_file(tmp_path, "a.tsv", plain)) == [("good", "pos"), ("bad", "neg")]
        assert pairs(read_file(tmp_path, "b.tsv", delimited("\t", csv.QUOTE_ALL))) == PAIRS

    def test_tabs_and_line_breaks_that_look_like_records(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.tsv", 'text\tlabel\n"one\ttwo\nthree"\tx\n"four\tfive\nsix"\ty\n')
        assert pairs(rows) == [("one\ttwo\nthree", "x"), ("four\tfive\nsix", "y")]

    @pytest.mark.parametrize(
        "lines",
        [
            ['"Yes," she said.\tx', 'He said "no"\ty'],
            ['"Hello."\tx', "plain\ty"],  # as many natural sentences
            ['""quoted"" twice\tx', '"open\ty'],
            ['"I came.\tx', 'I saw."\ty', "plain\tz", "plain\tz"],  # one quotation, two sentences
        ],
    )
    def test_quotes_that_belong_to_the_text_stay(self, tmp_path: Path, lines: list[str]) -> None:
        rows = read_file(tmp_path, "a.tsv", "\n".join(["text\tlabel", *lines, ""]))
        assert ["\t".join(map(str, pair)) for pair in pairs(rows)] == lines

    def test_commas_in_a_tsv(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"but the header has commas; rename it to \.csv"):
            read_file(tmp_path, "a.tsv", "text,label\nfine,pos\n")


class TestHeader:
    @pytest.mark.parametrize(
        ("content", "suspect"),
        [
            ("good soup,1\ncold soup,0\nhot soup,1\n", '"1" looks like a value'),
            ("1,soup\n0,stew\n", '"1" looks like a value'),
            ("the soup was cold,2\nthe stew was hot,3\n", '"the soup was cold" and "2" look like values'),
            ("4.5,what a great day\n1.0,a bad day it was\n", "look like values"),
        ],
    )
    def test_a_header_that_looks_like_data(self, tmp_path: Path, content: str, suspect: str) -> None:
        rows = read_file(tmp_path, "a.csv", content)
        (warning,) = rows.report.warnings
        assert warning.startswith(f"{tmp_path / 'a.csv'}:1: is read as the header, but ")
        assert suspect in warning
        assert warning.endswith("use data.header=false")
        assert [f.message for f in check_data(rows).findings if f.code == "reading" and f.level == "warning"] == [
            warning
        ]

    @pytest.mark.parametrize(
        "content",
        [
            "text,label\nlabel,x\n",
            "Review Text,Sentiment\na,b\n",
            "customer feedback,stars\na,5\n",
            "comment,1,2\na,0,1\nb,1,1\n",  # a name the user gives is none of a value
        ],
    )
    def test_a_header_that_does_not(self, tmp_path: Path, content: str) -> None:
        label = ColumnNames(label="1") if ",1," in content else None
        assert read_file(tmp_path, "a.csv", content, label).report.warnings == ()

    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_no_header(self, tmp_path: Path, name: str) -> None:
        content = "good,1\nbad,0\n".replace(",", "\t" if name == "a.tsv" else ",")
        rows = read_file(tmp_path, name, content, ColumnNames("0", None, "1", header=False))
        assert pairs(rows) == [("good", "1"), ("bad", "0")]
        assert rows[0].where.endswith(f"{name}:1")
        assert not rows.report.warnings

    def test_columns_are_inferred_without_a_header(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.csv", "1,good\n0,bad\n", ColumnNames(label="0", header=False))
        assert rows.report.inferences() == ["text: inferred to be 1 (data.text=… overrides it)"]

    def test_no_header_is_ignored_where_there_is_none(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.json", json.dumps(OBJECTS), ColumnNames(header=False))
        assert "data.header=false is ignored; a .json file has no header line" in rows.report.notes[0]

    def test_columns_named_by_numbers(self, tmp_path: Path) -> None:
        settings = DataSettings.model_validate({"text": 0, "label": [1, 2], "header": False})
        columns = ColumnNames(settings.text, settings.text_pair, settings.label, settings.id, settings.header)
        rows = read_file(tmp_path, "a.csv", "good,0,1\nbad,1,1\n", columns, kind="multilabel")
        assert pairs(rows) == [("good", ("2",)), ("bad", ("1", "2"))]

    def test_numbers_lead_to_the_setting(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'no column "0"; .*line 1 is read as the header; .*data\.header=false'):
            read_file(tmp_path, "a.csv", "good soup,1\ncold soup,0\n", ColumnNames("0", None, "1"))

    def test_another_file_without_a_header(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'no column "text"; .*line 1 is read as the header'):
            read_file(
                tmp_path, "dev.csv", "what a good soup,1\nwhat a cold soup,0\n", ColumnNames("text", None, "label")
            )

    def test_errors_about_json_name_no_header(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as error:
            read_file(tmp_path, "a.jsonl", '{"a": 1, "b": 2}\n')
        assert "header" not in str(error.value)
        for content in ("a,b\n1,2\n", "soup,pos\nstew,neg\nrice,pos\n", "text,one,two\na,b,c\n"):
            with pytest.raises(DataError, match=r"\(line 1 is read as the header; .* use data\.header=false\)\."):
                read_file(tmp_path, "a.csv", content)


class TestJsonShapes:
    @pytest.mark.parametrize(
        ("value", "note"),
        [
            ({"data": OBJECTS}, 'from the list "data"'),
            ({"version": 2, "examples": OBJECTS}, 'from the list "examples"'),
            ({"data": OBJECTS, "errors": [{"code": 1}]}, 'from the list "data"'),
            ({"reviews": OBJECTS}, 'from the list "reviews"'),
            ({"schema": {"fields": []}, "data": OBJECTS}, 'from the list "data"'),  # orient="table"
            ({name: {str(i): o[name] for i, o in enumerate(OBJECTS)} for name in ("text", "label")}, "by column, as"),
            ({name: {f"r{i}": o[name] for i, o in enumerate(OBJECTS)} for name in ("text", "label")}, "by column, as"),
            ({str(i): row for i, row in enumerate(OBJECTS)}, 'orient="index"'),
            ({"columns": ["text", "label"], "index": [0, 1, 2, 3], "data": [[*p] for p in PAIRS]}, 'orient="split"'),
            ({name: [row[name] for row in OBJECTS] for name in ("text", "label")}, "by column, one list per column"),
        ],
    )
    @pytest.mark.parametrize("indent", [None, 2])
    def test_what_tools_write(self, tmp_path: Path, value: Any, note: str, indent: int | None) -> None:
        rows = read_file(tmp_path, "a.json", json.dumps(value, indent=indent))
        assert pairs(rows) == PAIRS
        assert note in rows.report.notes[0]

    def test_places_name_the_list(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'a\.json:data\[1\]: lacks the column "text"'):
            read_file(tmp_path, "a.json", json.dumps({"data": [OBJECTS[0], {"label": "x"}]}))

    @pytest.mark.parametrize("indent", [None, 2])
    def test_one_object_is_one_row(self, tmp_path: Path, indent: int | None) -> None:
        assert pairs(read_file(tmp_path, "a.json", json.dumps(OBJECTS[0], indent=indent))) == PAIRS[:1]
        row = {"tokens": ["Ann", "left"], "tags": ["B-PER", "O"]}
        rows = read_file(tmp_path, "b.json", json.dumps(row), kind="tagging")
        assert pairs(rows) == [("Ann left", ("B-PER", "O"))]
        spans = {"text": "Ann left", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
        assert pairs(read_file(tmp_path, "c.json", json.dumps(spans), kind="tagging")) == pairs(rows)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("a.json", {"train": OBJECTS, "dev": OBJECTS}, r"has several lists of rows \(train, dev\); save each as"),
            ("a.json", {"text": ["a", "b"], "label": ["x"]}, r"lists differ in length \(text 2, label 1\)"),
            ("a.json", {"text": {"0": "a"}, "label": {"1": "x"}}, r'keys of "label" \(1 value\) differ'),
            ("a.json", {"columns": ["text"], "data": [["a", "b"]]}, r"a\.json:data\[0\]: expected a list of 1 values"),
            ("a.json", [["a", "x"]], r"a\.json\[0\]: expected an object .*orient=\"records\""),
            ("a.jsonl", OBJECTS, r"a\.jsonl:1: .*rename a file that is one JSON list to \.json"),
            (
                "a.json",
                [{"id": 1, "data": {"text": "a"}, "annotations": []}],
                r"Label Studio's full JSON export; .*MIN",
            ),
        ],
    )
    def test_one_sentence_says_what_to_do(self, tmp_path: Path, name: str, value: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_file(tmp_path, name, json.dumps(value))

    def test_a_json_list_over_several_lines_named_jsonl(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.jsonl:1: is a JSON list; .* rename the file to \.json"):
            read_file(tmp_path, "a.jsonl", json.dumps(OBJECTS, indent=1))

    def test_json_lines_of_objects_of_lists_are_rows(self, tmp_path: Path) -> None:
        lines = '{"tokens": ["a"], "tags": ["O"]}\n\n{"tokens": ["b", "c"], "tags": ["O", "O"]}\n'
        rows = read_file(tmp_path, "a.json", lines, kind="tagging")
        assert [row.text for row in rows] == ["a", "b c"]


WORDS = "Sentence #,Word,POS,Tag\nS1,Ann,NNP,B-PER\n{0},left,VBD,O\nS2,Ann,NNP,B-PER\n{1},flew,VBD,O\n{1},home,NN,O\n"
SENTENCES = [("Ann left", ("B-PER", "O")), ("Ann flew home", ("B-PER", "O", "O"))]


class TestWordPerRow:
    @pytest.mark.parametrize("same", [("", ""), ("S1", "S2")])
    def test_kaggles_table(self, tmp_path: Path, same: tuple[str, str]) -> None:
        rows = read_file(tmp_path, "a.csv", WORDS.format(*same), kind="tagging")
        assert pairs(rows) == SENTENCES
        assert [row.id for row in rows] == ["S1", "S2"]
        assert [row.where.rpartition(":")[2] for row in rows] == ["2", "4"]
        assert 'groups 5 rows of one word into 2 sentences by column "Sentence #"' in rows.report.notes[0]

    @pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
    def test_a_tsv_with_a_header_is_no_column_file(self, tmp_path: Path, suffix: str) -> None:
        content = WORDS.format("", "").replace(",", "\t").encode()
        data = gzip.compress(content) if suffix.endswith(".gz") else b"\xef\xbb\xbf" + content
        rows = read_file(tmp_path, f"a{suffix}", data, kind="tagging")
        assert pairs(rows) == SENTENCES
        plain = read_file(tmp_path, "b.tsv", "Word\tO\nran\tO\n\nAnn\tB-PER\n", kind="tagging")
        assert [row.text for row in plain] == ["Word ran", "Ann"]

    def test_another_column_of_tags(self, tmp_path: Path) -> None:
        rows = read_file(tmp_path, "a.csv", WORDS.format("", ""), ColumnNames(label="POS"), kind="tagging")
        assert rows[0].target == ("NNP", "VBD")

    def test_named_columns(self, tmp_path: Path) -> None:
        content = "Satz,Wort,Marke\n1,Ann,B-PER\n1,left,O\n2,Ann,B-PER\n2,flew,O\n2,home,O\n"
        rows = read_file(tmp_path, "a.csv", content, ColumnNames("Wort", None, "Marke", "Satz"), kind="tagging")
        assert pairs(rows) == SENTENCES

    def test_json_lines_and_numbers_that_start_again(self, tmp_path: Path) -> None:
        rows = [{"sentence_id": n, "token": word, "tag": "O"} for n, word in [(0, "a"), (0, "b"), (1, "c"), (0, "d")]]
        found = read_file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), kind="tagging")
        assert [row.text for row in found] == ["a b", "c", "d"]
        assert any("rows are numbered instead" in note for note in found.report.notes)

    def test_rows_in_memory(self) -> None:
        words = [(1, "Ann", "B-PER"), (1, "left", "O"), (2, "Ann", "B-PER"), (2, "flew", "O"), (2, "home", "O")]
        rows = [{"sentence_id": number, "word": word, "tag": tag} for number, word, tag in words]
        assert pairs(read_dataset(rows, kind="tagging", need_target=True)) == SENTENCES
        frame = pd.DataFrame(rows).rename(columns={"sentence_id": "Sentence #"})
        frame.loc[[1, 3, 4], "Sentence #"] = None
        assert pairs(read_dataset(frame, kind="tagging", need_target=True)) == SENTENCES

    def test_no_column_of_sentences(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'a\.csv: has a word per row \("word"\), but no column .* data\.id='):
            read_file(tmp_path, "a.csv", "word,tag\nAnn,B-PER\nleft,O\n", kind="tagging")

    def test_a_sentence_per_row_stays(self, tmp_path: Path) -> None:
        content = "sentence_id,word,tag\n1,\"['Ann', 'left']\",\"['B-PER', 'O']\"\n"
        assert pairs(read_file(tmp_path, "a.csv", content, kind="tagging")) == SENTENCES[:1]


class TestLabelStudio:
    def test_json_min(self, tmp_path: Path) -> None:
        span = {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}
        rows = read_file(
            tmp_path, "a.json", json.dumps([{"text": "Ann left", "id": 7, "label": [span]}]), kind="tagging"
        )
        assert pairs(rows) == SENTENCES[:1]
        assert rows[0].id == "7"
        two = {**span, "labels": ["PER", "ORG"]}
        with pytest.raises(DataError, match=r"a span has 2 labels \(PER, ORG\); use one label per span"):
            read_file(tmp_path, "b.json", json.dumps([{"text": "Ann left", "label": [two]}]), kind="tagging")


class TestPlainText:
    @pytest.mark.parametrize(
        ("content", "suffix"),
        [
            ("text\tlabel\ngood\tpos\nbad\tneg\n", ".tsv"),
            ("good soup\t1\ncold soup\t0\n", ".tsv"),
            ("text,label\ngood,pos\n", ".csv"),
            ("id;review;stars\n1;good;5\n", ".csv"),
        ],
    )
    @pytest.mark.parametrize("kind", ["classification", "regression"])
    def test_a_table_named_txt(self, tmp_path: Path, content: str, suffix: str, kind: Kind) -> None:
        with pytest.raises(DataError, match=rf"cannot infer which column holds the label .*; rename it to {suffix}\)"):
            read_file(tmp_path, "a.txt", content, kind=kind)
        (warning,) = read_dataset(tmp_path / "a.txt").report.warnings
        assert "but .txt is read as one text per line" in warning
        with pytest.raises(DataError, match=rf'no column "label"; .*rename it to {suffix}\)'):
            read_dataset(tmp_path / "a.txt", ColumnNames(label="label"))

    @pytest.mark.parametrize("content", ["One, two.\nThree, four.\n", "a\n", "text\ngood\n", "a\tb\nc\n"])
    def test_prose(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "a.txt"
        path.write_text(content, encoding="utf-8")
        assert not read_dataset(path).report.warnings


def test_records_keep_their_lines() -> None:
    records = parse_csv('a,b\n"x\ny",1\n\nz,2\n', "f")
    assert (records.cells, records.lines) == ([["a", "b"], ["x\ny", "1"], [], ["z", "2"]], [1, 2, 4, 5])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_of_any_size_give_the_records_of_the_whole(size: int) -> None:
    text = 'a,b\r\n"x\ry",1\r\r"two\nlines",2\r\n\r\nz,3\u2028\x85\n'
    whole = parse_csv(text, "f")
    blocks = parse_csv((text[i : i + size] for i in range(0, len(text), size)), "f")
    assert (blocks.cells, blocks.lines) == (whole.cells, whole.lines)
    assert whole.cells[1] == ["x\ry", "1"]


def test_no_more_records_are_read_than_asked_for() -> None:
    text = 'a,b\n1,2\n\n3,4\n"never closed'
    assert parse_csv(text, "f", limit=2).cells == [["a", "b"], ["1", "2"], [], ["3", "4"]]
    assert parse_csv("1,2\n3,4\n", "f", has_header=False, limit=1).cells == [["1", "2"]]
    with pytest.raises(DataError, match="never closed"):
        parse_csv(text, "f", limit=3)
