"""Words with tags: column files, CoNLL-U, lists of words, raw texts with spans, and every way they can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertwright.data.conll import append_column
from bertwright.data.dataset import INFER_COLUMNS
from bertwright.data.example import Example
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.data.table_files import Table
from bertwright.data.tagged_rows import build_tagged_dataset
from bertwright.errors import DataError, RecipeError
from bertwright.run.splits import load_splits

EU = (("EU", "rejects", "German", "call"), ("B-ORG", "O", "B-MISC", "O"))
PETER = (("Peter", "Blackburn"), ("B-PER", "I-PER"))
BRUSSELS = (("BRUSSELS", "1996-08-22"), ("B-LOC", "O"))

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

BRUSSELS NNP B-NP B-LOC
1996-08-22 CD I-NP O
"""

CONLLU = """# newdoc
# sent_id = first-1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tVV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tPP\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tIN\t_\t5\tcase\t_\t_
4\tel\tel\tDET\tDT\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tNN\t_\t1\tobl\t_\t_
5.1\tva\tir\tVERB\tVV\t_\t_\t_\t_\t_

# sent_id = first-2
1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\t_
"""


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tagging(source: Any, columns: ColumnNames = INFER_COLUMNS, **options: Any) -> Dataset:
    return read_dataset(source, columns, kind="tagging", **({"need_target": columns.label != ()} | options))


def words(example: Example) -> tuple[str, ...]:
    assert example.words is not None
    return tuple(example.text[start:end] for start, end in example.words)


def sentences(rows: Dataset) -> list[tuple[tuple[str, ...], Any]]:
    return [(words(row), row.target) for row in rows]


class TestColumnFiles:
    def test_conll_2003(self, tmp_path: Path) -> None:
        rows = tagging(write(tmp_path / "train.txt", CONLL))
        assert sentences(rows) == [EU, PETER, BRUSSELS]
        assert rows[0].text == "EU rejects German call"
        assert rows[0].words == ((0, 2), (3, 10), (11, 17), (18, 22))
        assert [row.where.rpartition(":")[2] for row in rows] == ["3", "8", "11"]
        assert [row.id for row in rows] == ["0", "1", "2"]
        assert "skipped 1 -DOCSTART- line" in rows.report.notes[0]
        assert rows.report.columns == ColumnNames("0", None, "-1")
        assert rows.report.inferred == ("text", "label")
        assert "label: inferred to be -1 (data.label=… overrides it)" in rows.report.lines()
        assert rows.labels is None
        assert rows.label_names() == ("B-LOC", "B-MISC", "B-ORG", "B-PER", "I-PER", "O")

    @pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("separator", ["\t", " ", "  ", " \t"])
    @pytest.mark.parametrize("name", ["a.conll", "a.bio.gz", "a.tsv", "eng.train"])
    def test_marks_ends_and_separators(
        self, tmp_path: Path, prefix: bytes, end: str, separator: str, name: str
    ) -> None:
        lines = ["", "EU", "is", " ", "", "Peter"]
        text = end.join(f"{line}{separator}X" if line.strip() else line for line in lines)
        data = prefix + text.encode()  # without a line feed at the end
        rows = tagging(write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))
        assert sentences(rows) == [(("EU", "is"), ("X", "X")), (("Peter",), ("X",))]
        assert [row.where.rpartition(":")[2] for row in rows] == ["2", "6"]

    def test_words_hold_any_character_but_the_separator(self, tmp_path: Path) -> None:
        spaced = write(tmp_path / "a.conll", "a\u00a0b O\n\u3000 O\n# O\n\x85 O\n")
        assert words(tagging(spaced)[0]) == ("a\u00a0b", "\u3000", "#", "\x85")
        assert tagging(spaced).report.notes == (f"{spaced}: 2 empty words",)
        tabbed = write(tmp_path / "b.conll", "New York\tB-LOC\n#\tO\n")
        assert words(tagging(tabbed)[0]) == ("New York", "#")

    @pytest.mark.parametrize(
        ("text", "label", "expected"),
        [
            (None, "1", (("EU", "rejects", "German", "call"), ("NNP", "VBZ", "JJ", "NN"))),
            ("0", "-2", (("EU", "rejects", "German", "call"), ("B-NP", "B-VP", "B-NP", "I-NP"))),
            ("-3", None, (("NNP", "VBZ", "JJ", "NN"), ("B-ORG", "O", "B-MISC", "O"))),
        ],
    )
    def test_which_columns(self, tmp_path: Path, text: str | None, label: str | None, expected: Any) -> None:
        assert sentences(tagging(write(tmp_path / "a.txt", CONLL), ColumnNames(text, label=label)))[0] == expected

    def test_settings_take_numbers_of_columns(self, tmp_path: Path) -> None:
        settings = DataSettings(train=str(write(tmp_path / "a.txt", CONLL * 2)), text=0, label=1)  # type: ignore[arg-type]
        assert (settings.text, settings.label) == ("0", "1")
        assert DataSettings.model_validate(settings.model_dump()) == settings
        assert "NNP" in load_splits(settings, "tagging").train.label_names()
        with pytest.raises(RecipeError, match=r"label must be .* found true"):
            DataSettings(label=True)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "comment",
        ["#\thttp://a.b/c [2009]", "# id 5239d808-4ec6 domain=en", "# id 52\tdomain=en", "# a", "# sent_id = 1"],
    )
    def test_comments_stand_before_sentences(self, tmp_path: Path, comment: str) -> None:
        rows = tagging(write(tmp_path / "a.conll", f"{comment}\na _ _ O\n# _ _ X\n\n{comment}\nb _ _ O\n"))
        assert sentences(rows) == [(("a", "#"), ("O", "X")), (("b",), ("O",))]
        assert "skipped 2 comment lines" in rows.report.notes[0]

    def test_predicting_takes_one_column_or_more(self, tmp_path: Path) -> None:
        nothing = ColumnNames(label=())
        assert sentences(tagging(write(tmp_path / "a.txt", CONLL), nothing))[1] == (PETER[0], None)
        one = tagging(write(tmp_path / "b.conll", "Peter\nBlackburn\n\nEU\n"), nothing)
        assert [words(row) for row in one] == [("Peter", "Blackburn"), ("EU",)]
        assert [words(row) for row in tagging(write(tmp_path / "c.txt", "Peter\nBlackburn\n\nEU\n"), nothing)] == [
            ("Peter", "Blackburn"),
            ("EU",),
        ]

    @pytest.mark.parametrize(
        "text", ["Peter lives.\nHe's in the U.S.\n", "Peter lives.\n\nHe's in the U.S.\n", "One\n"]
    )
    def test_predicting_takes_plain_text(self, tmp_path: Path, text: str) -> None:
        rows = tagging(write(tmp_path / "a.txt", text), ColumnNames(label=()))
        assert [row.text for row in rows] == text.split("\n")[:-1]
        assert rows.report.notes[0].endswith(
            "a.txt: read as one text per line; rename it to .conll if it has one word per line"
        )
        assert words(rows[-1]) in [("He", "'s", "in", "the", "U.S."), ("One",)]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a O\n" * 2001, r"a\.conll: 2,001 lines without an empty line; check that it is a column file"),
            ("a O\nb\n", r"a\.conll:2: expected 2 columns, found 1; sentences are separated by an empty line\."),
            ("a O\n\nb O O\n", r"a\.conll:3: expected 2 columns, found 3"),
            ("a\nb c\n", r"a\.conll:2: expected 1 column, found 2"),
            ("-DOCSTART- O\n\n# x\n", "has no sentences"),
            ("a\nb\n", r"cannot infer which column holds the tags \(columns: 0\); name it with data\.label"),
            ("a\tO\nb\t\n", r"a\.conll:1: column \"-1\": a tag is empty"),
        ],
    )
    def test_wrong_lines(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging(write(tmp_path / "a.conll", text))

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (ColumnNames(label="5"), r'there is no column "5"; known: -1, -2, -3, -4, 0, 1, 2, 3'),
            (ColumnNames(label="ner"), 'there is no column "ner"'),
            (ColumnNames("3", label="-1"), '"3" and "-1" are the same column; set data.label to the tags'),
            (ColumnNames("0", "1", "2"), "tagging does not use a second text, found 1"),
            (ColumnNames("0", label=("1", "2")), "expected one column of tags, found 1, 2"),
        ],
    )
    def test_wrong_columns(self, tmp_path: Path, columns: ColumnNames, message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging(write(tmp_path / "a.txt", CONLL), columns)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (CONLL.encode("utf-16"), "UTF-16; set data.encoding=utf-16"),
            (b"a O\nb\0 O\n", ":2: contains a NUL byte"),
            (b"M\xfcller O\n", "byte 0xfc at offset 1 is not utf-8"),
            (b" \n", "is empty"),
            (b"PK\x03\x04\xff", "a ZIP archive"),
        ],
    )
    def test_other_files(self, tmp_path: Path, data: bytes, message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging(write(tmp_path / "a.conll", data))


class TestUniversal:
    def test_words_tags_and_ids(self, tmp_path: Path) -> None:
        path = write(tmp_path / "es.conllu", CONLLU)
        rows = tagging(path)
        assert sentences(rows) == [
            (("Vamos", "nos", "a", "el", "mar"), ("VERB", "PRON", "ADP", "DET", "NOUN")),
            (("New York",), ("PROPN",)),
        ]
        assert [row.id for row in rows] == ["first-1", "first-2"]
        assert [row.where for row in rows] == [f"{path}:5", f"{path}:14"]
        assert rows.report.columns == ColumnNames("form", None, "upos", "sent_id")
        assert rows.report.notes == (
            f"{path}: 2 multiword tokens (lines such as 1-2) read as separate words",
            f"{path}: skipped 1 empty node (lines such as 1.1)",
        )
        assert tagging(path, ColumnNames(label="deprel"))[1].target == ("root",)
        assert tagging(path, ColumnNames("lemma", label="4"))[0].target == ("VV", "PP", "IN", "DT", "NN")

    def test_without_ids(self, tmp_path: Path) -> None:
        text = CONLLU.replace("# sent_id = first-2\n", "")
        rows = tagging(write(tmp_path / "es.conllu", text))
        assert [row.id for row in rows] == ["0", "1"]
        assert rows.report.notes[-1].endswith('the id in "sent_id" is empty, so rows are numbered instead')
        assert [row.id for row in tagging(write(tmp_path / "b.conllu", text.replace("# sent_id", "#")))] == ["0", "1"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1\ta\tO\n", r":1: expected 10 columns separated by tabs, found 3; sentences are"),
            ("a\tb\tc\td\te\tf\tg\th\ti\tj\n", ':1: expected a word number, found "a"; check that it is CoNLL-U'),
            ("# only\n\n# comments\n", "has no sentences"),
        ],
    )
    def test_wrong(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging(write(tmp_path / "a.conllu", text))


class TestLists:
    @pytest.mark.parametrize(
        ("names", "label"),
        [(("tokens", "ner_tags"), "ner_tags"), (("words", "labels"), "labels"), (("tokens", "upos"), "upos")],
    )
    def test_json(self, tmp_path: Path, names: tuple[str, str], label: str) -> None:
        objects = [{"id": f"s{i}", names[0]: w, names[1]: t, "text": "-"} for i, (w, t) in enumerate([EU, PETER])]
        lines = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, objects)))
        whole = write(tmp_path / "a.json", json.dumps(objects))
        for rows in (tagging(lines), tagging(whole), tagging(objects)):
            assert sentences(rows) == [EU, PETER]
            assert [row.id for row in rows] == ["s0", "s1"]
            assert rows.report.columns == ColumnNames(names[0], None, label, "id")
        assert tagging(lines)[1].where == f"{lines}:2"
        assert sentences(tagging(lines, ColumnNames(names[0], label=())))[0] == (EU[0], None)

    def test_csv_as_pandas_writes_it(self, tmp_path: Path) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"tokens": [list(EU[0]), list(PETER[0])], "tags": [list(EU[1]), list(PETER[1])]})
        frame.to_csv(tmp_path / "a.csv", index=False)
        assert sentences(tagging(tmp_path / "a.csv")) == sentences(tagging(frame)) == [EU, PETER]

    def test_numbers_of_classes(self, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        names = ["O", "B-PER", "I-PER"]
        features = datasets.Features(
            {"tokens": datasets.Sequence(datasets.Value("string")),
             "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names)),
             "pos_tags": datasets.Sequence(datasets.Value("int64"))}
        )  # fmt: skip
        row = {"tokens": ["Peter", "Blackburn", "."], "ner_tags": [1, 2, 0], "pos_tags": [5, 5, 7]}
        data = datasets.Dataset.from_list([row], features=features)
        data.to_parquet(tmp_path / "a.parquet")
        data.save_to_disk(tmp_path / "saved")
        for source in (data, tmp_path / "a.parquet", tmp_path / "saved"):
            rows = tagging(source)
            assert sentences(rows) == [(("Peter", "Blackburn", "."), ("B-PER", "I-PER", "O"))]
            assert rows.labels == rows.label_names() == tuple(names)
        other = tagging(data, ColumnNames(label="pos_tags"))
        assert (other[0].target, other.labels) == (("5", "5", "7"), None)
        values = {"tokens": [["a"]], "tags": [[9]]}
        table = Table("hub:a", list(values), 1, values.__getitem__, lambda i: f"hub:a[{i}]", {"tags": tuple(names)})
        with pytest.raises(DataError, match=r'hub:a\[0\]: column "tags": 9 is none of the 3 classes O, B-PER, I-PER'):
            build_tagged_dataset(table, ColumnNames(), True)

    def test_memory(self) -> None:
        expected = [EU, PETER]
        assert sentences(tagging([EU, PETER])) == expected
        assert sentences(tagging([(list(w), list(t)) for w, t in expected])) == expected
        assert sentences(tagging([[list(w), list(t)] for w, t in expected])) == expected
        plain = [list(EU[0]), list(PETER[0])]
        nothing = ColumnNames(label=())
        assert sentences(tagging(plain, nothing)) == sentences(tagging([EU, PETER], nothing)) == [
            (EU[0], None), (PETER[0], None)
        ]  # fmt: skip
        assert [words(row) for row in tagging(["Peter's.", ""], nothing)] == [("Peter", "'s", "."), ()]
        assert sentences(tagging([([], []), PETER])) == [((), ()), PETER]
        assert words(tagging(['["No", he said'], nothing)[0]) == ("[", '"', "No", '"', ",", "he", "said")

    def test_examples_keep_their_words(self) -> None:
        given = [Example("x", "Peter's", None, ("B-PER", "O"), "here", ((0, 5), (5, 7))), Example("y", "U.S.")]
        rows = tagging(given, ColumnNames(), need_target=False)
        assert list(rows) == [given[0], Example("y", "U.S.", None, None, "list[1]", ((0, 4),))]

    def test_equal_sentences_have_equal_fingerprints(self, tmp_path: Path) -> None:
        file, memory = tagging(write(tmp_path / "a.txt", CONLL)), tagging([EU, PETER, BRUSSELS])
        assert file.report.fingerprint == memory.report.fingerprint
        split = [Example("0", "ab", None, ("X",), words=((0, 2),)), Example("0", "ab", None, ("X",), words=((0, 1),))]
        assert len({tagging([example]).report.fingerprint for example in split}) == 2

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                {"tokens": ["a", "b"], "tags": ["O"]},
                r'list\[0\]: column "tags": 1 tag for 2 words; write one tag per word',
            ),
            ({"tokens": ["a"], "tags": None}, r'list\[0\]: the column "tags" is empty; .*\(1 row without tags\)'),
            ({"tokens": ["a"], "tags": [None]}, r'column "tags": a tag is empty \(None\)'),
            ({"tokens": ["a"], "tags": "O"}, 'column "tags": O is not a list of tags, one for each word'),
            ({"tokens": ["a"], "tags": [["O"]]}, r'column "tags": (unhashable|list is no label)'),
            ({"tokens": ["a", 7], "tags": ["O", "O"]}, r"must contain words, found 7 \(int\)"),
            ({"tokens": 7, "tags": ["O"]}, r"must contain words, found 7 \(int\)"),
            ({"tokens": None, "tags": ["O"]}, 'the column "tokens" is empty; expected a list of words'),
            (
                {"tokens": ["a"], "words": ["b"], "tags": ["O"]},
                "tokens or words could be the words; set data.text",
            ),
            (
                {"tokens": ["a"], "tags": ["O"], "labels": ["O"]},
                "tags or labels could be the tags; set data.label",
            ),
            ({"tokens": ["a"], "kind": ["O"]}, r"cannot infer which column holds the tags \(columns: tokens, kind\)"),
            ({"a": ["a"], "tags": ["O"]}, r"cannot infer which column holds the words \(columns: a, tags\)"),
            ({"tokens": ["\ud83d"], "tags": ["O"]}, "half of a surrogate pair"),
        ],
    )
    def test_wrong_rows(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging([row])

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([["a", "b"], [["a"], ["O"]]], r"list\[1\]: expected \(words, tags\) or a list of words, the same for"),
            ([(["a"], ["O"], 1)], r"list\[0\]: expected \(words, tags\) or a list of words"),
            ([["a"], "b"], r"list\[1\]: expected list, found str"),
        ],
    )
    def test_wrong_memory(self, rows: list[Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            tagging(rows)


class TestSpans:
    TEXT = "Peter Blackburn's in New York."

    @pytest.mark.parametrize(
        ("name", "spans"),
        [
            ("spans", [{"start": 21, "end": 29, "label": "LOC"}, {"start": 0, "end": 15, "label": "PER"}]),
            ("entities", [{"id": 1, "start_offset": 0, "end_offset": 15, "label": "PER"}, [21, 29, "LOC"]]),
            ("label", [[0, 15, "PER"], [21, 29, "LOC"]]),
            ("spans", {"start": [0, 21], "end": [15, 29], "label": ["PER", "LOC"]}),
            ("spans", [(0, 16 - 1, "PER"), (20, 29, "LOC")]),
        ],
    )
    def test_become_tags(self, name: str, spans: Any) -> None:
        rows = tagging([{"text": self.TEXT, name: spans, "tokens": [{"text": "Peter"}]}])
        expected = ("Peter", "Blackburn", "'s", "in", "New", "York", ".")
        assert sentences(rows) == [(expected, ("B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"))]
        assert rows[0].text == self.TEXT
        assert rows.report.columns == ColumnNames("text", None, name)
        assert rows.report.notes == ()

    def test_pairs_in_memory(self) -> None:
        rows = tagging([("In York", [(3, 7, "LOC")]), ("Nothing", [])])
        assert sentences(rows) == [(("In", "York"), ("O", "B-LOC")), (("Nothing",), ("O",))]

    def test_within_words(self) -> None:
        rows = tagging([("Berlin-Paris flights", [(0, 6, "LOC"), (7, 12, "LOC"), (13, 19, "X")])])
        assert sentences(rows) == [(("Berlin-Paris", "flights"), ("B-LOC", "B-X"))]
        assert rows.report.notes == (
            "list: extended 3 spans to entire words",
            "list: ignored 1 span whose only word belongs to the span before",
        )

    @pytest.mark.parametrize(
        ("spans", "message"),
        [
            ([[0, 5, "A"], [4, 9, "B"]], "the spans 0 to 5 and 4 to 9 overlap; remove one of them"),
            ([[0, 99, "A"]], "the span 0 to 99 is outside the text of 30 characters"),
            ([[5, 5, "A"]], "the span 5 to 5 is outside"),
            ([[5, 6, "A"]], "the span 5 to 6 contains no word"),
            ([[0, 5, ""]], "a tag is empty"),
            ([[0, 5]], r'expected a span \{"start": 0, "end": 5, "label": "PER"\} or \[0, 5, "PER"\], found \[0, 5\]'),
            ([{"start": "0", "end": 5, "label": "A"}], "expected a span"),
            ("LOC", "1 tag for 5 words; write one tag per word"),
            ({"start": [0, 1], "end": [5]}, "lists differ in length"),
        ],
    )
    def test_wrong(self, spans: Any, message: str) -> None:
        with pytest.raises(DataError, match=rf'list\[0\]: column "spans": .*{message}'):
            tagging([{"text": self.TEXT, "spans": spans}])


class TestSplits:
    def test_folder_and_mixed_formats(self, tmp_path: Path) -> None:
        write(tmp_path / "train.conll", CONLL * 5)
        write(tmp_path / "valid.jsonl", json.dumps({"tokens": EU[0], "tags": EU[1]}))
        write(tmp_path / "test.txt", CONLL)
        splits = load_splits(DataSettings(path=str(tmp_path), limit=4), "tagging")
        assert {name: len(rows) for name, rows in splits.all().items()} == {"train": 4, "dev": 1, "test": 3}
        assert sentences(splits.dev["dev"]) == [EU]

    def test_held_out(self, tmp_path: Path) -> None:
        train = write(tmp_path / "train.txt", CONLL * 10)
        splits = load_splits(DataSettings(train=str(train)), "tagging")
        assert (len(splits.train), len(splits.dev["dev"])) == (24, 6)
        assert {row.id for row in splits.train}.isdisjoint({row.id for row in splits.dev["dev"]})
        # a rare tag is on both sides
        assert splits.train.label_names() == splits.dev["dev"].label_names()
        assert "6 of the training rows are held out as dev (data.dev_ratio=0.2, stratified, seed 0)" in splits.notes[0]


class TestWordsThatLookLikeComments:
    @pytest.mark.parametrize("word", ["#text", "#id", "#sent_id", "#text:", "#"])
    @pytest.mark.parametrize("separator", [" ", "\t"])
    def test_a_sentence_may_begin_with_them(self, tmp_path: Path, word: str, separator: str) -> None:
        lines = [f"{word}{separator}B-MISC", f"rain{separator}O", "", f"{word}{separator}O", ""]
        rows = tagging(write(tmp_path / "a.conll", "\n".join(lines)))
        assert sentences(rows) == [((word, "rain"), ("B-MISC", "O")), ((word,), ("O",))]
        assert not rows.report.notes
        new = list(append_column(tmp_path / "a.conll", ["X", "Y", "Z"]))
        assert [len(line.split()) for line in new if line] == [3, 3, 3]

    def test_plain_tags_decide_too(self, tmp_path: Path) -> None:
        rows = tagging(write(tmp_path / "a.conll", "#\tid\nsaya\tid\nhi\ten\n\nhi\ten\n"))
        assert sentences(rows)[0] == (("#", "saya", "hi"), ("id", "id", "en"))

    def test_words_without_tags(self, tmp_path: Path) -> None:
        rows = tagging(write(tmp_path / "a.conll", "#text\nrain\n\n# id 7\nsun\n"), ColumnNames(label=()))
        assert [words(row) for row in rows] == [("#text", "rain"), ("sun",)]

    def test_nothing_but_hashtags(self, tmp_path: Path) -> None:
        rows = tagging(write(tmp_path / "a.conll", "#rain O\n#Oslo B-LOC\n\n#sun O\n"))
        assert [words(row) for row in rows] == [("#rain", "#Oslo"), ("#sun",)]

    def test_comments_with_as_many_columns_stay_comments(self, tmp_path: Path) -> None:
        rows = tagging(write(tmp_path / "a.conll", "# id 5d-1\tdomain=en\nOslo _ _ B-LOC\n\n# id 5d-2 x\nit _ _ O\n"))
        assert [words(row) for row in rows] == [("Oslo",), ("it",)]
        assert "skipped 2 comment lines" in rows.report.notes[0]
