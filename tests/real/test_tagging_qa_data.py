"""The published data sets of tagged words and of questions read to their last row."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from bertwright.data.data_checks import check_data
from bertwright.data.dataset import answers_of, labels_of
from bertwright.data.example import Answer
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.data.words import split_words
from bertwright.metrics.spans import detect_scheme, spans_from_tags
from bertwright.run.splits import load_splits

pytestmark = pytest.mark.real

TYPES = ("LOC", "MISC", "ORG", "PER")


def conll(real_data: Path, name: str, columns: ColumnNames = ColumnNames(label="-1")) -> Dataset:  # noqa: B008
    path = real_data / "conll2003" / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"real data: {path} is absent")
    return read_dataset(path, columns, kind="tagging", need_target=columns.label != ())


def squad(real_data: Path, name: str) -> Dataset:
    path = real_data / "squad" / name
    if not path.is_file():
        pytest.skip(f"real data: {path} is absent")
    return read_dataset(path, kind="qa", need_target=True)


# sentences, words and entities as Tjong Kim Sang and De Meulder 2003 count them, tables 1 and 2
@pytest.mark.parametrize(
    ("name", "sentences", "words", "entities"),
    [
        ("train", 14041, 203621, (7140, 3438, 6321, 6600)),
        ("valid", 3250, 51362, (1837, 922, 1341, 1842)),
        ("test", 3453, 46435, (1668, 702, 1661, 1617)),
    ],
)
def test_conll_2003(real_data: Path, name: str, sentences: int, words: int, entities: tuple[int, ...]) -> None:
    rows = conll(real_data, name)
    assert len(rows) == sentences
    assert sum(len(row.words or ()) for row in rows) == words
    assert all(row.words is not None and len(row.words) == len(labels_of(row.target)) for row in rows)
    assert rows.report.skipped == {}
    assert len(rows.report.notes) == 1
    assert "-DOCSTART- line" in rows.report.notes[0]
    tags = [labels_of(target) for target in rows.targets]
    assert detect_scheme(tags) == "BIO"
    found = Counter(span.type for one in tags for span in spans_from_tags(one, "BIO", strict=True))
    assert tuple(found[type_] for type_ in TYPES) == entities


def test_conll_2003_to_predict_and_its_other_columns(real_data: Path) -> None:
    plain, tagged = conll(real_data, "test", ColumnNames(label=())), conll(real_data, "test")
    assert [row.words for row in plain] == [row.words for row in tagged]
    assert set(plain.targets) == {None}
    assert {"NNP", "VBD", "''", "$"} <= set(conll(real_data, "test", ColumnNames(label="1")).label_names())


def test_words_are_split_as_the_corpus_has_them(real_data: Path) -> None:
    """Its own words as raw text are found again, but for those that only a knowledge of English tells."""
    rows = conll(real_data, "valid")
    same = sum(set(split_words(row.text)) == set(row.words or ()) for row in rows)
    assert same / len(rows) > 0.8


def test_the_doctor_on_conll_2003(real_data: Path) -> None:
    found = check_data(conll(real_data, "train"), conll(real_data, "valid"), kind="tagging")
    codes = {finding.code for finding in found.findings}
    assert not found.errors
    assert not codes & {"scheme_broken", "scheme_differs", "unknown_label", "rare_label"}
    assert found.n_counted == 203621
    assert 0.93 < found.baselines["word_tag"]["token_accuracy"] < 0.95
    assert 0.6 < found.baselines["word_tag"]["span_f1"] < 0.75


@pytest.mark.parametrize(
    ("name", "questions", "contexts", "unanswered"),
    [
        ("train-v1.1.json", 87599, 18891, 0),
        ("dev-v1.1.json", 10570, 2067, 0),
        ("squad2_dev_articles_train.json", 7572, 753, 3823),
        ("squad2_dev_articles_eval.json", 4301, 451, 2122),
    ],
)
def test_squad(real_data: Path, name: str, questions: int, contexts: int, unanswered: int) -> None:
    start = time.process_time()
    rows = squad(real_data, name)
    seconds = time.process_time() - start
    assert len(rows) == questions
    assert len({id(row.text_pair) for row in rows}) == len({row.text_pair for row in rows}) == contexts
    assert sum(row.target == () for row in rows) == unanswered
    assert rows.report.notes == ()
    assert rows.report.skipped == {}
    for row in rows:
        for answer in answers_of(row.target):
            assert (row.text_pair or "")[answer.start : answer.start + len(answer.text)] == answer.text
    assert seconds < 6  # 1.7 for the longest


def test_squad_with_wrong_offsets(real_data: Path) -> None:
    rows = squad(real_data, "dev-v1.1.json")
    wrong = [
        (row.text, row.text_pair, [Answer(answer.text, answer.start + 2) for answer in answers_of(row.target)])
        for row in rows
    ]
    again = read_dataset(wrong, kind="qa", need_target=True)
    n = sum(len(answers_of(target)) for target in rows.targets)
    same = sum(
        a == b for row, other in zip(rows, again, strict=True)
        for a, b in zip(answers_of(row.target), answers_of(other.target), strict=True)
    )  # fmt: skip
    assert same / n > 0.999
    assert re.search(r"corrected the wrong offset of [\d,]+ answers?$", again.report.notes[0])


def test_questions_held_out_share_no_context(real_data: Path) -> None:
    path = real_data / "squad" / "squad2_dev_articles_train.json"
    if not path.is_file():
        pytest.skip(f"real data: {path} is absent")
    splits = load_splits(DataSettings(train=str(path)), "qa")
    train, dev = splits.train, splits.dev["dev"]
    assert {row.text_pair for row in train}.isdisjoint({row.text_pair for row in dev})
    assert 0.18 < len(dev) / 7572 < 0.22
    found = {finding.code for finding in check_data(train, dev, kind="qa").findings}
    assert "leakage" not in found
    assert "unanswerable" in found
