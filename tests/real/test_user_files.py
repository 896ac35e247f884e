"""Files from users' reports: each is read as it was meant, or refused with one sentence that names the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertwright.data.data_checks import check_data
from bertwright.data.reader import ColumnNames, Dataset, Kind, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.errors import DataError
from bertwright.run.splits import load_splits

pytestmark = pytest.mark.real

SENTIMENT = {"neg", "pos"}
SPANS = {"O", "B-PER", "B-LOC"}
TOPICS = {"food", "price", "staff"}


@pytest.fixture(scope="session")
def cases(real_data: Path) -> Path:
    folder = real_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"files of users' reports: {folder} is absent")
    return folder


def labels(rows: Dataset) -> set[str]:
    return {label for target in rows.targets for label in ((target,) if isinstance(target, str) else target or ())}


@pytest.mark.parametrize(
    ("name", "kind", "n_rows", "names"),
    [
        ("excel_quoted.tsv", "classification", 24, SENTIMENT),
        ("excel_sep_line.csv", "classification", 24, SENTIMENT),
        ("header_with_spaces.csv", "classification", 24, SENTIMENT),
        ("json_wrapped_in_data.json", "classification", 24, SENTIMENT),
        ("pandas_to_json_default.json", "classification", 40, SENTIMENT),
        ("hashtag_first_word.conll", "tagging", 40, {"O", "B-LOC"}),
        ("label_studio_min.json", "tagging", 20, SPANS),
        ("ner_numpy_repr.csv", "tagging", 40, SPANS),
        ("multilabel_numpy_repr.csv", "multilabel", 30, TOPICS),
        ("multilabel_pipe.csv", "multilabel", 30, TOPICS),
        ("multilabel_semicolon.csv", "multilabel", 30, TOPICS),
        ("snli_gold_label_dash.jsonl", "classification", 42, {"entailment", "neutral", "contradiction"}),
    ],
)
def test_is_read_as_it_was_meant(cases: Path, name: str, kind: Kind, n_rows: int, names: set[str]) -> None:
    rows = read_dataset(cases / name, kind=kind, need_target=True)
    assert len(rows) == n_rows
    assert labels(rows) == names
    assert not any(row.text.startswith('"') for row in rows)


def test_what_is_skipped_is_counted(cases: Path) -> None:
    assert read_dataset(cases / "snli_gold_label_dash.jsonl", need_target=True).report.skipped == {'no label ("-")': 6}


def test_words_that_look_like_comments_are_kept(cases: Path) -> None:
    rows = read_dataset(cases / "hashtag_first_word.conll", kind="tagging")
    assert {row.text.split()[0] for row in rows} == {"#text", "#sunset"}


def test_a_test_file_without_labels_is_left_out(cases: Path) -> None:
    splits = load_splits(DataSettings(path=str(cases / "kaggle_folder_unlabelled_test")), "classification")
    assert (len(splits.train), splits.test) == (32, {})
    assert any("have no labels, so the test split is ignored" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("name", "options", "message", "fix"),
    [
        ("multilabel_space.csv", {"kind": "multilabel"}, "data.label_separator", {"label_separator": " "}),
        ("kaggle_ner_word_per_row.csv", {"kind": "tagging"}, "data.encoding=cp1252", {"encoding": "cp1252"}),
    ],
)
def test_is_refused_with_the_fix(
    cases: Path, name: str, options: dict[str, Any], message: str, fix: dict[str, str]
) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(cases / name, need_target=True, **options)
    columns = ColumnNames(label_separator=fix.pop("label_separator", None))
    assert len(labels(read_dataset(cases / name, columns, need_target=True, **options, **fix))) == 3


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("label_minus_one.csv", "classification", 'the label "-1"'),
        ("labels_differ_by_case.csv", "classification", "differ only by case"),
        ("tags_with_underscore.conll", "tagging", '"B_PER"'),
    ],
)
def test_causes_a_warning(cases: Path, name: str, kind: Kind, message: str) -> None:
    findings = check_data(
        read_dataset(cases / name, kind=kind, need_target=True), kind=kind, with_baselines=False
    ).findings
    assert any(finding.level == "warning" and message in finding.message for finding in findings)
