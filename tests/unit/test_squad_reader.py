"""Questions and the texts that answer them: SQuAD's files, tables of questions, and every way they can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertwright.data.dataset import INFER_COLUMNS
from bertwright.data.example import Answer, Example
from bertwright.data.holdout import hold_out
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.data.squad import MAX_OFFSET_ERROR, NOT_IN_CONTEXT
from bertwright.errors import DataError
from bertwright.run.splits import load_splits

CONTEXT = "Oslo is the capital of Norway. Bergen, west of Oslo, is not."
OTHER = "Pi is 3.14."


def official(*, version: str = "v2.0", **changes: Any) -> dict[str, Any]:
    first = {
        "id": "q1",
        "question": "What is the capital?",
        "answers": [{"text": "Oslo", "answer_start": 0}, {"text": "Norway", "answer_start": 23}],
        "is_impossible": False,
    }
    second = {
        "id": "q2",
        "question": "Who?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [{"text": "?"}],
    }
    third = {"id": "q3", "question": "What is pi?", "answers": [{"answer_start": 6, "text": "3.14"}], **changes}
    paragraphs = [{"context": CONTEXT, "qas": [first, second]}, {"context": OTHER, "qas": [third]}]
    return {
        "version": version,
        "data": [{"title": "Empty", "paragraphs": []}, {"title": "A", "paragraphs": paragraphs}],
    }


EXPECTED = [
    ("q1", "What is the capital?", CONTEXT, (Answer("Oslo", 0), Answer("Norway", 23))),
    ("q2", "Who?", CONTEXT, ()),
    ("q3", "What is pi?", OTHER, (Answer("3.14", 6),)),
]
FLAT = [
    {
        "id": key,
        "title": "A",
        "context": context,
        "question": question,
        "answers": {"text": [a.text for a in answers], "answer_start": [a.start for a in answers]},
    }
    for key, question, context, answers in EXPECTED
]


def write(path: Path, content: Any) -> Path:
    data = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def qa(source: Any, columns: ColumnNames = INFER_COLUMNS, need_target: bool = True) -> Dataset:
    return read_dataset(source, columns, kind="qa", need_target=need_target)


def content(rows: Dataset) -> list[Any]:
    return [(row.id, row.text, row.text_pair, row.target) for row in rows]


class TestSources:
    @pytest.mark.parametrize("indent", [None, 1])
    def test_official(self, tmp_path: Path, indent: int | None) -> None:
        text = json.dumps(official(), indent=indent, ensure_ascii=False)
        path = write(tmp_path / "dev-v2.0.json", text)
        rows = qa(path)
        assert content(rows) == EXPECTED
        assert rows[0].text_pair is rows[1].text_pair
        assert rows[2].where == f"{path}:data[1].paragraphs[1].qas[0]"
        assert rows.report.columns == ColumnNames("question", "context", "answers", "id")
        assert (rows.report.notes, rows.report.skipped, rows.labels) == ((), {}, None)
        assert content(qa(write(tmp_path / "a.json.gz", gzip.compress(b"\xef\xbb\xbf" + text.encode())))) == EXPECTED

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.jsonl", "\n".join(map(json.dumps, FLAT))),
            ("a.json", "\n".join(map(json.dumps, FLAT))),
            ("a.json", json.dumps(FLAT)),
            ("a.json", json.dumps({"version": "2", "data": FLAT}, indent=2)),
            ("a.jsonl", "\n".join(json.dumps(row | {"answers": [
                {"text": t, "answer_start": s}
                for t, s in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)  # type: ignore[index]
            ]}) for row in FLAT)),
        ],
    )  # fmt: skip
    def test_rows(self, tmp_path: Path, name: str, text: str) -> None:
        rows = qa(write(tmp_path / name, text))
        assert content(rows) == EXPECTED
        assert rows[0].text_pair is rows[1].text_pair
        assert rows.report.fingerprint == qa(write(tmp_path / "b.json", official())).report.fingerprint

    def test_one_object_and_no_data(self, tmp_path: Path) -> None:
        assert content(qa(write(tmp_path / "a.json", FLAT[2]))) == EXPECTED[2:]

    def test_datasets_and_parquet(self, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        data = datasets.Dataset.from_list(FLAT)
        data.to_parquet(tmp_path / "a.parquet")
        assert content(qa(data)) == content(qa(tmp_path / "a.parquet")) == EXPECTED
        assert content(qa(data.to_pandas())) == EXPECTED

    def test_csv_has_questions_alone(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", f'question,context\nWhat?,"{CONTEXT}"\n')
        for columns in (INFER_COLUMNS, ColumnNames(label=())):
            assert content(qa(path, columns, need_target=False)) == [("0", "What?", CONTEXT, None)]

    def test_memory(self) -> None:
        answers = {"text": ["Oslo"], "answer_start": [0]}
        expected = [("0", "What?", CONTEXT, (Answer("Oslo", 0),))]
        assert content(qa([{"question": "What?", "context": CONTEXT, "answers": answers}])) == expected
        assert content(qa([("What?", CONTEXT, answers)])) == expected
        assert content(qa([("What?", CONTEXT, [Answer("Oslo", 0)])])) == expected
        assert content(qa([("What?", CONTEXT, [("Oslo", None)])]))[0][3] == (Answer("Oslo", NOT_IN_CONTEXT),)
        example = Example("x", "What?", CONTEXT, (Answer("Oslo", 0),), "here")
        assert list(qa([example])) == [example]
        for rows in ([("What?", CONTEXT)], [["What?", CONTEXT]], [("What?", CONTEXT, answers)], [example]):
            assert content(qa(rows, ColumnNames(label=()), need_target=False))[0][1:] == ("What?", CONTEXT, None)
        with pytest.raises(
            DataError, match=r"list\[0\]: expected \(question, context\) or \(question, context, answers"
        ):
            qa(["What?"])

    def test_named_columns(self) -> None:
        row = {"q": "What?", "text": CONTEXT, "gold": FLAT[1]["answers"], "question": "-", "nr": 7}
        assert content(qa([row], ColumnNames("q", "text", "gold", "nr"))) == [("7", "What?", CONTEXT, ())]
        assert qa([row], ColumnNames("q", label="gold")).report.inferred == ("text_pair",)
        with pytest.raises(DataError, match="expected one column of answers, found gold, nr"):
            qa([row], ColumnNames("q", "text", ("gold", "nr")))


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "start", "found", "note"),
        [
            ("Oslo", 0, 0, ""),
            ("Oslo", 47, 47, ""),
            ("Oslo", 3, 0, "moved"),
            ("Oslo", 44, 47, "moved"),
            ("Oslo", 47 + MAX_OFFSET_ERROR, 47, "moved"),
            ("Oslo", 47 - MAX_OFFSET_ERROR, 47, "moved"),
            ("Oslo", 47 - MAX_OFFSET_ERROR - 1, NOT_IN_CONTEXT, "missing"),
            ("Oslo", 1000, NOT_IN_CONTEXT, "missing"),
            ("Oslo", None, NOT_IN_CONTEXT, "missing"),
            ("Oslo", -1, NOT_IN_CONTEXT, "missing"),
            ("Bergen", 1000, 31, "moved"),
            ("Bergen", None, 31, ""),
            ("bergen", 31, NOT_IN_CONTEXT, "missing"),
        ],
    )
    def test_wrong_offsets(self, answer: str, start: int | None, found: int, note: str) -> None:
        rows = qa([("What?", CONTEXT, [{"text": answer, "answer_start": start}])])
        assert rows[0].target == (Answer(answer, found),)
        assert rows.report.notes == {
            "": (),
            "moved": ("list: corrected the wrong offset of 1 answer",),
            "missing": (
                "list: 1 answer not found in the context; used in evaluation, but not in training",
            ),
        }[note]  # fmt: skip

    def test_nearest(self) -> None:
        assert qa([("?", "ab ab ab", [{"text": "ab", "answer_start": 5}])])[0].target == (Answer("ab", 6),)
        assert qa([("?", "ab ab ab", [{"text": "ab", "answer_start": 2}])])[0].target == (Answer("ab", 3),)

    def test_impossible(self) -> None:
        row = FLAT[0] | {"is_impossible": True}
        rows = qa([row])
        assert rows[0].target == ()
        assert rows.report.notes == ("list: ignored the answers of 1 question marked is_impossible",)
        unknown = FLAT[1] | {"is_impossible": False}
        assert qa([unknown], need_target=False)[0].target is None
        with pytest.raises(DataError, match=r"list\[0\]: has no answers; .* \(1 question without answers\)"):
            qa([unknown])
        with pytest.raises(DataError, match="is_impossible must be true or false, found yes"):
            qa([FLAT[0] | {"is_impossible": "yes"}])

    @pytest.mark.parametrize(
        ("answers", "message"),
        [
            ("Oslo", r"expected a list of objects, found 'Oslo' \(str\)"),
            (7, r"expected a list of objects, found 7 \(int\)"),
            (["Oslo"], r'expected an answer \{"text": "…", "answer_start": 0\}, found Oslo'),
            ([{"text": "Oslo", "answer_start": "0"}], "expected an answer"),
            ([{"answer_start": 0}], "expected an answer"),
            ([{"text": " ", "answer_start": 0}], "the text of an answer is empty; a question without an answer has an"),
            ({"text": ["a"], "answer_start": []}, "lists differ in length"),
        ],
    )
    def test_wrong_answers(self, answers: Any, message: str) -> None:
        with pytest.raises(DataError, match=rf'list\[0\]: column "answers": .*{message}'):
            qa([{"question": "a", "context": "b", "answers": answers}])


class TestWrong:
    @pytest.mark.parametrize(
        ("whole", "message"),
        [
            ({"data": {}}, r"a\.json:data: expected a list, as in SQuAD's format, found dict"),
            ({"data": []}, r"a\.json: has no questions"),
            ({"data": [{"title": "A"}]}, r'a\.json:data\[0\]: expected an object with "paragraphs".* found title'),
            ({"data": [7]}, r'a\.json:data\[0\]: expected an object with "paragraphs".* found int'),
            (
                {"data": [{"paragraphs": [{"qas": []}]}]},
                r'data\[0\]\.paragraphs\[0\]: expected an object with "context"',
            ),
            ({"data": [{"paragraphs": [{"context": "", "qas": 1}]}]}, r"paragraphs\[0\]\.qas: expected a list"),
            (
                {"data": [{"paragraphs": [{"context": "", "qas": [{}]}]}]},
                r'qas\[0\]: expected an object with "question"',
            ),
            (
                official(id="q1"),
                r'qas\[0\]: the id in "id" "q1" is also that of .*qas\[0\]; question ids must be unique',
            ),
            (official(id=None), r'the id in "id" is empty; question ids must be unique'),
            (official(answers=None), r"qas\[0\]: has no answers; add answers or mark"),
            (official(question=7), r'the column "question" should hold a text, found 7'),
            ('{"data": [\n{"title"', r"a\.json:2: is not valid JSON \(.*\); check that the file is complete"),
            ("{" * 100_000, "a.json:1: is not valid JSON"),
            ('{"data": ' + "[" * 200_000, "a.json: cannot be read as JSON"),
            ([{"query": "a", "question": "b", "answers": []}], "cannot infer which column holds the context"),
            (
                [{"question": "a", "passage": "b", "paragraph": "c"}],
                "passage or paragraph could be the context; set",
            ),
            ([{"question": "a", "context": "b"}], "cannot infer which column holds the answers"),
            (
                [{"title": "a", "context": "b"}],
                r"cannot infer which column holds the question \(columns: title, context\)",
            ),
        ],
    )
    def test_files(self, tmp_path: Path, whole: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            qa(write(tmp_path / "a.json", whole))


class TestSplits:
    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "id": str(i),
                "question": f"q{i}",
                "context": f"c{i % 20} x",
                "answers": {"text": ["x"], "answer_start": [4]},
            }
            for i in range(100)
        ]

    @pytest.mark.parametrize("stratify", [True, False])
    def test_no_context_is_on_both_sides(self, tmp_path: Path, stratify: bool) -> None:
        path = write(tmp_path / "a.json", self.rows())
        splits = load_splits(DataSettings(train=str(path), dev_ratio=0.25, stratify=stratify), "qa")
        train, dev = ({row.text_pair for row in rows} for rows in (splits.train, splits.dev["dev"]))
        assert (len(train), len(dev), train & dev) == (15, 5, set())
        assert (len(splits.train), len(splits.dev["dev"])) == (75, 25)
        assert (
            "25 of the training rows are held out as dev (data.dev_ratio=0.25, by context, seed 0)" in splits.notes[0]
        )
        again = load_splits(DataSettings(train=str(path), dev_ratio=0.25, split_seed=1), "qa")
        assert {row.text_pair for row in again.dev["dev"]} != dev

    def test_limit_and_named_dev(self, tmp_path: Path) -> None:
        path, dev = write(tmp_path / "a.json", self.rows()), write(tmp_path / "dev.json", official())
        splits = load_splits(DataSettings(train=str(path), dev=str(dev), limit=7), "qa")
        assert ([row.id for row in splits.train], content(splits.dev["dev"])) == (list("0123456"), EXPECTED)

    def test_one_group_cannot_be_split(self) -> None:
        with pytest.raises(DataError, match=r"all 3 rows belong to one group, so none can be held out; set data\.dev"):
            hold_out(qa(self.rows()[:3]), 0.5, groups=["a"] * 3)
