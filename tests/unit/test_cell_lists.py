"""Lists in cells, in every spelling that common tools write, through the reader."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertwright.data.cell_lists import infer_separator, parse_list, parse_records
from bertwright.data.reader import ColumnNames, read_dataset
from bertwright.errors import DataError


def write_table(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("{'a'}", ["a"]),
        (str(np.array(["a", "it's", 'say "x"'], dtype=object)), ["a", "it's", 'say "x"']),
        (str(np.array([f"label {i}" for i in range(30)])), [f"label {i}" for i in range(30)]),
        (repr(np.array(["a", "b"], dtype=object)), ["a", "b"]),
        (str([np.str_("a"), np.str_("b")]), ["a", "b"]),
        (repr([np.int64(3), np.int64(1)]), [3, 1]),
        (str(np.array([1, -2, 30])), [1, -2, 30]),
        (str(np.array([True, False])), [True, False]),
        ("tensor([0, 1])", [0, 1]),
        ("frozenset({'a'})", ["a"]),
        ("Index(['a', 'b'], dtype='object')", ["a", "b"]),
        ("[food, New York]", ["food", " New York"]),
        ("[]", []),
        ("a", ["a"]),
        ("(sic) a, b", ["(sic) a", " b"]),
        ("(a note)", ["(a note)"]),
    ],
)
def test_spellings_of_a_list(cell: Any, items: list[Any]) -> None:
    assert parse_list(cell) == items


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (str(np.array(["a"] * 2000)), r'was shortened by numpy with "\.\.\."'),
        ("['a' 'b'", r'begins with "\[" but does not end with "\]"'),
        ("[open('x')]", "neither JSON nor a Python list"),
        ("['a' for b in c]", "neither JSON nor a Python list"),
        ("['a\0']", "neither JSON nor a Python list"),
        ("[" * 3000 + "]", "neither JSON nor a Python list"),
        ("{'food': 1}", "is a mapping; write a list of labels"),
    ],
)
def test_what_is_not_a_list(cell: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_list(cell)


def test_records_written_by_numpy() -> None:
    records = [{"start": 0, "end": 4, "label": "PER"}, {"start": 5, "end": 9, "label": "LOC"}]
    assert parse_records(str(np.array(records, dtype=object))) == records
    assert parse_records("{'text': array(['x'], dtype=object), 'answer_start': array([5], dtype=int32)}") == [
        {"text": "x", "answer_start": 5}
    ]


@pytest.mark.parametrize("separator", ["|", ";", ",", "\t", "\n", " | "])
def test_delimited_labels(tmp_path: Path, separator: str) -> None:
    path = write_table(
        tmp_path / "a.csv",
        ("text", "labels"),
        ("x", f"price{separator}staff"),
        ("y", "food"),
        ("z", f"new york{separator}food"),
    )
    rows = read_dataset(path, kind="multilabel")
    assert rows.targets == [("price", "staff"), ("food",), ("new york", "food")]
    assert any("split into labels at" in note and "data.label_separator" in note for note in rows.report.notes)


def test_blanks_split_labels_only_on_request(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "a.csv", ("text", "labels"), ("x", "price staff"), ("y", "price"), ("z", "food staff"), ("w", "food")
    )
    with pytest.raises(DataError, match=r'joined by blanks, such as "food staff"; set \'data.label_separator=" "\''):
        read_dataset(path, kind="multilabel")
    rows = read_dataset(path, ColumnNames(label_separator=" "), kind="multilabel")
    assert rows.targets == [("price", "staff"), ("price",), ("food", "staff"), ("food",)]
    rows = read_dataset(path, ColumnNames(label_separator=","), kind="multilabel")
    assert rows.targets[0] == ("price staff",)


def test_blanks_within_labels() -> None:
    assert infer_separator("f", "l", ["very good", "very bad", "new york"]) is None


def test_several_separators_are_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", ("text", "labels"), ("x", "Paris, Texas|drama"), ("y", "drama"))
    with pytest.raises(DataError, match=r"contain a comma and a vertical bar; set data.label_separator"):
        read_dataset(path, kind="multilabel")
    assert read_dataset(path, ColumnNames(label_separator="|"), kind="multilabel").targets[0] == (
        "Paris, Texas",
        "drama",
    )


def test_indicator_vectors(tmp_path: Path) -> None:
    rows = read_dataset(
        write_table(tmp_path / "a.csv", ("text", "labels"), ("x", "[0, 1, 1]"), ("y", "[0. 0. 0.]")), kind="multilabel"
    )
    assert rows.targets == [("1", "2"), ()]
    assert "read as 0/1 vectors, one number for each of the 3 labels 0, 1, 2" in rows.report.notes[0]
    # lists of label numbers repeat none, so these are not vectors
    rows = read_dataset([{"text": "x", "labels": [0, 1]}, {"text": "y", "labels": [1, 0]}], kind="multilabel")
    assert rows.targets == [("0", "1"), ("1", "0")]


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ("['Anna' 'left' \"O'Hare\"]", "['B-PER' 'O' 'B-LOC']"),
        ("['Anna', 'left', \"O'Hare\"]", "['B-PER', 'O', 'B-LOC']"),
        ("array(['Anna', 'left', \"O'Hare\"], dtype=object)", "array(['B-PER', 'O', 'B-LOC'], dtype=object)"),
        ('["Anna", "left", "O\'Hare"]', '["B-PER", "O", "B-LOC"]'),
        ("Anna left O'Hare", "B-PER O B-LOC"),
        ("Anna left O'Hare", "B-PER,O,B-LOC"),
    ],
)
def test_words_and_tags_in_cells(tmp_path: Path, words: str, tags: str) -> None:
    rows = read_dataset(
        write_table(tmp_path / "a.csv", ("tokens" if words[0] in "[a" else "text", "tags"), (words, tags)),
        ColumnNames(label="tags"),
        kind="tagging",
    )
    assert rows[0].text == "Anna left O'Hare"
    assert rows[0].target == ("B-PER", "O", "B-LOC")


def test_tags_that_do_not_fit_the_words(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", ("text", "tags"), ("Anna left Bonn", "B-PER O"))
    with pytest.raises(DataError, match=r'a.csv:2: column "tags": 2 tags for 3 words'):
        read_dataset(path, ColumnNames(label="tags"), kind="tagging")


class TestRowsWithoutLabel:
    def test_gold_label_of_snli(self) -> None:
        rows = read_dataset(
            [
                {"sentence1": "a", "sentence2": "b", "gold_label": label}
                for label in ("neutral", "-", "entailment", "-")
            ],
            need_target=True,
        )
        assert rows.targets == ["neutral", "entailment"]
        assert [row.id for row in rows] == ["0", "2"]
        assert rows.report.skipped == {'no label ("-")': 2}

    def test_listed_values(self) -> None:
        data = [{"text": str(i), "label": label} for i, label in enumerate((0, -1, "1", "?", 2))]
        rows = read_dataset(data, ColumnNames(skip_labels=("-1", "?")), need_target=True)
        assert rows.targets == ["0", "1", "2"]
        assert rows.report.skipped == {'no label ("-1")': 1, 'no label ("?")': 1}

    def test_numbers(self) -> None:
        data = [{"text": "a", "score": 2.5}, {"text": "b", "score": "N/A"}]
        assert read_dataset(data, ColumnNames(skip_labels=("N/A",)), kind="regression", need_target=True).targets == [
            2.5
        ]

    def test_flags_of_jigsaws_test_set(self) -> None:
        data = [{"text": "a", "x": 1, "y": 0}, {"text": "b", "x": -1, "y": -1}]
        rows = read_dataset(
            data, ColumnNames(label=("x", "y"), skip_labels=("-1",)), kind="multilabel", need_target=True
        )
        assert rows.targets == [("x",)]

    def test_a_hidden_test_set_keeps_its_rows(self) -> None:
        rows = read_dataset(
            [{"text": "a", "label": "-1"}, {"text": "b", "label": "-1"}], ColumnNames(skip_labels=("-1",))
        )
        assert rows.targets == [None, None]
        assert not rows.report.skipped
