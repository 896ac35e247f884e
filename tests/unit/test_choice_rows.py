"""Reading multiple choice: column inference, lists and numbered columns of choices, and every way to write labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from bertwright.data.augment import AugmentationSettings, augment
from bertwright.data.data_checks import check_data
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.reader import read_dataset
from bertwright.errors import DataError

SWAG = (
    "video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
    "v1,1,A man sits. He,A man sits.,He,gold,sings.,eats.,stands up.,flies.,2\n"
    "v2,2,A dog runs. It,A dog runs.,It,gold,barks.,reads.,writes.,cooks.,0\n"
)
RACE = [
    {
        "example_id": "h1.txt",
        "article": "Tom is tall.",
        "question": "Tom is _ .",
        "options": list("wxyz"),
        "answer": "D",
    },
    {"example_id": "h1.txt", "article": "Tom is tall.", "question": "Who?", "options": list("wxyz"), "answer": "A"},
]
COPA = [
    {
        "premise": "It rained.",
        "choice1": "He got wet.",
        "choice2": "He slept.",
        "question": "effect",
        "label": 0,
        "idx": 0,
    },
    {"premise": "He fell.", "choice1": "Ice.", "choice2": "Sun.", "question": "cause", "label": 1, "idx": 1},
]


def read_lines(folder: Path, rows: list[dict[str, Any]], columns: ColumnNames | None = None, **options: Any) -> Dataset:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_dataset(file, columns or ColumnNames(), kind="multiple_choice", **options)


def made(labels: list[Any], n_choices: int = 3) -> list[dict[str, Any]]:
    """Dataset whose choices are called no, yes, maybe, …"""
    choices = ["no", "yes", "maybe", "never"][:n_choices]
    return [{"context": f"text {i}", "choices": choices, "label": label} for i, label in enumerate(labels)]


def test_the_documented_json_lines(tmp_path: Path) -> None:
    rows = read_lines(
        tmp_path,
        [
            {"context": "a", "choices": ["x", "y"], "label": 1},
            {"context": "b", "question": "why?", "choices": ["x", "y", "z"], "label": 0},
        ],
    )
    assert [(e.text, e.text_pair, e.choices, e.target) for e in rows] == [
        ("a", None, ("x", "y"), "1"),
        ("b", "why?", ("x", "y", "z"), "0"),
    ]
    assert rows.report.inferred == ("choices", "text_pair", "text", "label")
    assert rows[0].where.endswith("rows.jsonl:1")


def test_swag(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text(SWAG)
    rows = read_dataset(file, kind="multiple_choice", need_target=True)
    assert (rows[0].text, rows[0].text_pair, rows[0].target) == ("A man sits.", "He", "2")
    assert rows[0].choices == ("sings.", "eats.", "stands up.", "flies.")
    lines = " ".join(rows.lines())
    assert "choices: inferred to be ending0, ending1, ending2, ending3" in lines
    assert "text: inferred to be sent1" in lines


def test_race(tmp_path: Path) -> None:
    rows = read_lines(tmp_path, RACE, need_target=True)
    assert [(e.text_pair, e.target) for e in rows] == [("Tom is _ .", "3"), ("Who?", "0")]


def test_copa(tmp_path: Path) -> None:
    rows = read_lines(tmp_path, COPA, need_target=True)
    assert [(e.id, e.text, e.text_pair, e.choices, e.target) for e in rows] == [
        ("0", "It rained.", "What happened as a result?", ("He got wet.", "He slept."), "0"),
        ("1", "He fell.", "What was the cause of this?", ("Ice.", "Sun."), "1"),
    ]
    assert any('"cause" and "effect" in "question" are read as' in line for line in rows.lines())


@pytest.mark.parametrize(
    "names", [["choice0", "choice1"], ["choice_1", "choice_2"], ["option_a", "option_b"], ["A", "B"]]
)
def test_numbered_columns_in_their_order(names: list[str]) -> None:
    frame = pandas.DataFrame({names[1]: ["second"], "context": ["a"], names[0]: ["first"], "label": ["second"]})
    rows = read_dataset(frame, kind="multiple_choice")
    assert rows[0].choices == ("first", "second")
    assert rows[0].target == "1"


def test_rows_may_have_fewer_choices_in_numbered_columns(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("context,choice0,choice1,choice2,label\na,x,y,z,2\nb,x,y,,1\n")
    assert [e.choices for e in read_dataset(file, kind="multiple_choice")] == [("x", "y", "z"), ("x", "y")]
    file.write_text("context,choice0,choice1,choice2,label\na,x,,z,2\n")
    with pytest.raises(DataError, match=r'rows.csv:2: the choice in "choice1" is empty, but "choice2" is not'):
        read_dataset(file, kind="multiple_choice")


@pytest.mark.parametrize(
    ("labels", "positions"),
    [
        ([0, 2, 1], "021"),
        (["0", "2", "1"], "021"),
        ([1.0, 0.0, 2.0], "102"),
        ([1, 2, 3], "012"),
        (["1", "3"], "02"),
        (["A", "C"], "02"),
        (["b", "a"], "10"),
        (["maybe", " no "], "20"),
        ([None, "yes"], "?1"),
    ],
    ids=str,
)
def test_labels(tmp_path: Path, labels: list[Any], positions: str) -> None:
    rows = read_lines(tmp_path, made(labels))
    assert "".join("?" if target is None else str(target) for target in rows.targets) == positions


def test_positions_from_one_are_reported_and_can_be_set(tmp_path: Path) -> None:
    rows = read_lines(tmp_path, made([1, 2, 3]))
    assert any("are positions counted from 1 (inferred; data.first_choice=0 overrides it)" in n for n in rows.lines())
    assert rows.report.columns.first_choice == 1
    ambiguous = read_lines(tmp_path, made([1, 2]))
    assert ambiguous.targets == ["1", "2"]
    assert any("counted from 0, although none is 0" in line for line in ambiguous.lines())
    assert read_lines(tmp_path, made([1, 2]), ColumnNames(first_choice=1)).targets == ["0", "1"]
    with pytest.raises(DataError, match=r'jsonl:3: the label "3" in "label" is none of the 3 choices'):
        read_lines(tmp_path, made([1, 2, 3]), ColumnNames(first_choice=0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1, 7],
            r'jsonl:3: the label "7" in "label" is none of the 3 choices; expected a position from 0 to 2, a le',
        ),
        (["yes", "no", "yse"], r'jsonl:3: the label "yse" in "label" is none of the 3 choices'),
        (["A", "D"], r'jsonl:2: the label "D" in "label" is none of the 3 choices; .* letter from A to C'),
        ([0, 1, 3], r'jsonl:3: the label "3" in "label" is none'),
        ([0, -1], r'jsonl:2: the label "-1" in "label" is none'),
        ([["no"]], r'jsonl:1: label column "label": \[\'no\'\] is not a label; expected the position'),
    ],
    ids=str,
)
def test_a_label_that_is_no_choice_is_named_with_its_line(tmp_path: Path, labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_lines(tmp_path, made(labels))


def test_a_text_that_two_choices_have_is_refused(tmp_path: Path) -> None:
    row = {"context": "a", "choices": ["x", "x", "y"], "label": "x"}
    with pytest.raises(DataError, match=r'the label "x" in "label" is the text of 2 choices; give the position of one'):
        read_lines(tmp_path, [row])


def test_hidden_labels_are_no_labels(tmp_path: Path) -> None:
    assert read_lines(tmp_path, made([-1, -1])).targets == [None, None]
    with pytest.raises(DataError, match=r'label column "label" is empty; every row needs a target here'):
        read_lines(tmp_path, made([0, None]), need_target=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"context": "a", "choices": ["x"], "label": 0}, r"jsonl:1: has 1 choices; expected at least 2"),
        (
            {"context": "a", "choices": "x, y", "label": 0},
            r'column "choices": x, y is not a list of choices \(write a J',
        ),
        ({"context": "a", "choices": ["x", None], "label": 0}, "a choice in it is empty"),
        ({"context": "a", "choices": ["x", ["y"]], "label": 0}, "is not a list of choices"),
        ({"context": "a", "label": 0}, r"cannot infer the columns of the choices \(columns: context, label\)"),
        ({"choices": ["x", "y"], "label": 0}, "cannot infer which column holds the context"),
        ({"context": "a", "choices": ["x", "y"], "options": ["x", "y"], "choice0": "x"}, None),
    ],
    ids=str,
)
def test_rows_that_are_no_multiple_choice(tmp_path: Path, row: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert read_lines(tmp_path, [row])[0].choices == ("x", "y")
        return
    with pytest.raises(DataError, match=message):
        read_lines(tmp_path, [row], need_target=True)


def test_lists_written_in_cells_and_columns_named_by_the_user(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('body,why,first,other,right\na,q,x,"y, z",other\n')
    columns = ColumnNames("body", "why", (), choices=("first", "other"))
    assert read_dataset(file, columns, kind="multiple_choice")[0].choices == ("x", "y, z")
    file.write_text('context,choices,label\na,"[""x"", ""y, z""]",1\n')
    assert read_dataset(file, kind="multiple_choice")[0].choices == ("x", "y, z")
    with pytest.raises(DataError, match='there is no column "frist"'):
        read_dataset(file, ColumnNames(choices=("frist", "other")), kind="multiple_choice")


def test_a_question_without_context_takes_its_place(tmp_path: Path) -> None:
    example = read_lines(tmp_path, [{"question": "why?", "choices": ["x", "y"], "answer": "B"}])[0]
    assert (example.text, example.text_pair, example.target) == ("why?", None, "1")


def test_rows_in_memory() -> None:
    examples = [Example("7", "a", "q", "1", choices=("x", "y"))]
    again = read_dataset(examples, kind="multiple_choice")[0]
    assert (again.id, again.text, again.text_pair, again.target, again.choices) == ("7", "a", "q", "1", ("x", "y"))
    for source in ([("a", ["x", "y"], "y")], [{"context": "a", "choices": ["x", "y"], "label": "y"}]):
        example = read_dataset(source, kind="multiple_choice")[0]
        assert (example.text, example.choices, example.target) == ("a", ("x", "y"), "1")
    assert read_dataset([("a", ["x", "y"])], kind="multiple_choice")[0].target is None


def test_equal_rows_have_equal_fingerprints_and_choices_count(tmp_path: Path) -> None:
    rows = read_lines(tmp_path, made([0, 1]))
    assert rows.report.fingerprint == read_lines(tmp_path, made(["no", "yes"])).report.fingerprint
    assert rows.report.fingerprint != read_lines(tmp_path, made([0, 1], 2)).report.fingerprint


def findings_of(train: Dataset, dev: Dataset | None = None) -> dict[str, str]:
    return {f.code: str(f) for f in check_data(train, dev, kind="multiple_choice").findings if f.level != "note"}


def test_a_position_that_is_right_too_often_is_a_warning(tmp_path: Path) -> None:
    skewed = read_lines(
        tmp_path, [{**row, "context": f"nr {i}"} for i, row in enumerate(made([0, 0, 0, 0, 1, 2] * 10))]
    )
    assert findings_of(skewed) == {
        "position_balance": "warning: train: the choice at position 0 is right in 66.7% of the rows (33.3% expected by "
        "chance); compare results with that baseline"
    }
    assert findings_of(read_lines(tmp_path, made([0, 1, 2] * 20))) == {}
    assert findings_of(read_lines(tmp_path, made([0, 0, 1]))) == {}  # too few rows


def test_choices_are_part_of_what_duplicates_and_leakage_compare(tmp_path: Path) -> None:
    rows = [
        {"context": "a", "choices": ["x", "y"], "label": 0},
        {"context": "a", "choices": ["x", "z"], "label": 1},
        {"context": "a", "choices": ["x", "y"], "label": 1},
        {"context": "b", "choices": ["x", "x"], "label": 1},
        {"context": "c", "choices": ["x", " "], "label": 0},
    ]
    train = read_lines(tmp_path, rows)
    findings = findings_of(train, read_lines(tmp_path, rows[1:2]))
    assert findings.keys() == {"conflict", "equal_choices", "empty_choice", "leakage"}
    assert "1 texts have different targets, in 2 rows" in findings["conflict"]
    assert "1 row (100.0%) have a context with the same choices that also occurs in train" in findings["leakage"]


def test_baselines(tmp_path: Path) -> None:
    train = read_lines(tmp_path, made([2, 2, 1]))
    dev = read_lines(tmp_path, made([2, 0, 0, 0], 4))
    baselines = check_data(train, dev, kind="multiple_choice").baselines
    assert baselines == {
        "scored_on": "dev",
        "majority": {"accuracy": 0.25},
        "random": {"accuracy": 0.25},
        "longest_choice": {"accuracy": 0.25},  # "maybe", the first of the longest
    }
    assert check_data(train, kind="multiple_choice").baselines["majority"]["accuracy"] == pytest.approx(2 / 3)


def test_normalization_reaches_choices_and_augmentation_contexts_alone(tmp_path: Path) -> None:
    row = {"context": "THE good film was fun", "question": "WHY was it", "choices": ["NO way at all", "YES it was"]}
    dataset = read_lines(tmp_path, [{**row, "label": 1}])
    cleaned = NormalizationSettings(lowercase=True).apply(dataset)[0]
    assert (cleaned.text_pair, cleaned.choices) == ("why was it", ("no way at all", "yes it was"))
    copies, _ = augment(dataset, AugmentationSettings(word_dropout=0.5, swap=0.5, copies=3), 0)
    assert len(copies) > 1
    assert {(copy.text_pair, copy.choices, copy.target) for copy in copies} == {
        (row["question"], tuple(row["choices"]), "1")
    }
    assert len({copy.text for copy in copies}) == len(copies)
