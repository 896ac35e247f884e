"""Label names that reveal placeholders, spellings of one label, and joined or encoded lists; and the data checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bertwright.data.data_checks import Finding, check_data
from bertwright.data.label_names import (
    find_joined,
    find_placeholder_number,
    find_placeholders,
    find_vectors,
    find_written_lists,
    group_spellings,
    quote_label,
    spelling_key,
)
from bertwright.data.reader import Kind, read_dataset
from bertwright.metrics.spans import correct_tag, find_odd_tags


def check(labels: Sequence[Any], kind: Kind = "classification", dev: Sequence[Any] = ()) -> dict[str, Finding]:
    """The findings about texts with these labels, by code."""
    train, others = [[(f"{name} {i}", label) for i, label in enumerate(rows)] for name, rows in
                     (("text", labels), ("dev", dev))]  # fmt: skip
    diagnosis = check_data(
        read_dataset(train, kind=kind),
        read_dataset(others, kind=kind) if dev else None,
        kind=kind,
        with_baselines=False,
    )
    return {finding.code: finding for finding in diagnosis.findings}


def check_tags(*sentences: str, dev: str | None = None) -> dict[str, Finding]:
    """The findings about sentences of tags; words are numbered."""
    train, others = [[([f"w{i}" for i, _ in enumerate(tags.split())], tags.split()) for tags in rows] for rows in
                     (sentences, [dev] if dev else [])]  # fmt: skip
    rows, dev_rows = read_dataset(train, kind="tagging"), read_dataset(others, kind="tagging") if dev else None
    findings = check_data(rows, dev_rows, kind="tagging", with_baselines=False).findings
    return {finding.code: finding for finding in findings}


@pytest.mark.parametrize(
    ("labels", "placeholders"),
    [
        (["entailment", "neutral", "-"], ["-"]),
        (["a", "b", "N/A", "?"], ["?", "N/A"]),
        (["a", "b", "nan", "NULL", "<NA>"], ["<NA>", "NULL", "nan"]),
        (["0", "1", "-1"], ["-1"]),
        (["0", "1", "2", "3", "-100"], ["-100"]),
        (["0", "1", "-1", "N/A"], ["N/A", "-1"]),
        (["-1", "1"], []),
        (["-2", "-1", "0", "1", "2"], []),
        (["0", "1", "2"], []),
        (["-1", "0", "good"], []),
        (["neutral", "other", "unknown"], []),
    ],
)
def test_placeholders_are_found(labels: list[str], placeholders: list[str]) -> None:
    assert find_placeholders(labels) == placeholders


def test_punctuation_among_tags_is_no_placeholder() -> None:
    assert find_placeholders(["NN", ".", "-", "--", "_"], tags=True) == ["_"]


def test_placeholder_numbers_are_found() -> None:
    assert find_placeholder_number([0.0, 2.5, -1.0]) == -1
    assert find_placeholder_number([0.5, -999.0]) == -999
    assert find_placeholder_number([0.0, -1.0, -0.5]) is None
    assert find_placeholder_number([0.0, -2.5]) is None


def test_spellings_are_grouped() -> None:
    labels = ["neg", "NEG", "Neg ", "po s", "pos", "p\u200bos", "caf\u00e9", "cafe\u0301", "ok", "A", "A-"]
    assert {frozenset(group) for group in group_spellings(labels)} == {
        frozenset({"cafe\u0301", "caf\u00e9"}),
        frozenset({"neg", "NEG", "Neg "}),
        frozenset({"po s", "pos", "p\u200bos"}),
    }
    assert spelling_key("Stra\u00dfe") == spelling_key("STRASSE")
    assert quote_label("a\u00a0b\ufeff") == '"a\\xa0b\\ufeff"'


@pytest.mark.parametrize(
    ("labels", "joined"),
    [
        (["food|staff", "food", "staff|price", "price"], ("|", ["food|staff", "staff|price"])),
        (["a; b", "b; a", "c"], (";", ["a; b", "b; a"])),
        (["food", "staff", "food & staff"], ("&", ["food & staff"])),
        (["good", "staff", "good staff"], (" ", ["good staff"])),
        (["good", "bad", "very good", "very bad"], None),
        (["n/a", "yes", "no"], None),
        (["a|b", "c"], None),
    ],
)
def test_joined_labels_are_found(labels: list[str], joined: tuple[str, list[str]] | None) -> None:
    assert find_joined(labels) == joined


@pytest.mark.parametrize("vectors", [["1 0 1", "0 0 1"], ["101", "110"], ["1;0", "0;0", "1;1"]])
def test_vectors_of_flags_are_found(vectors: list[str]) -> None:
    assert find_vectors(vectors) == sorted(vectors)
    assert find_vectors([*vectors, "2"]) == []
    assert find_vectors([*vectors, "1"]) == []
    assert "vector_label" in check(vectors * 20)


def test_rows_with_none_of_the_labels_are_counted() -> None:
    finding = check([["a"], [], ["b", "a"], []] * 10, "multilabel")["none_of_the_labels"]
    assert (finding.level, finding.count) == ("note", 20)
    assert finding.message == "train: 20 rows (50.0%) with none of the labels"


def test_written_lists_are_found() -> None:
    lists = ["['a' 'b']", '["a"]', "{a,b}", "('a', 'b')", "array(['a'], dtype=object)", "set()"]
    assert find_written_lists([*lists, "a", "(other)", "a [b]"]) == sorted(lists)


def test_the_data_checks_warn_of_placeholders_however_many_rows() -> None:
    finding = check(["yes", "no", "?", "?"] * 40)["placeholder_label"]
    assert finding.level == "warning"
    assert finding.count == 80
    assert finding.message.startswith('train: 80 rows with the label "?", which often means "no label"')
    assert finding.message.endswith("skip its rows with 'data.skip_labels=[\"?\"]' if it means that")
    assert finding.where == ("list[2]", "list[3]", "list[6]")
    assert check([1.5, 2.0, -1.0] * 20, "regression")["placeholder_target"].message.startswith(
        "train: 20 rows with the target -1,"
    )
    assert "placeholder_target" not in check([1.5, 2.0, -1.0, -0.5] * 20, "regression")


def test_the_data_checks_name_labels_that_differ_in_spelling_only() -> None:
    findings = check(["TRUE", "true", "no"] * 20, dev=["No", "true"])
    assert '"TRUE" (20) and "true" (20)' in findings["label_spellings"].message
    assert findings["unknown_label"].message.endswith('"No", which no row of train has; train has "no"')
    assert not check(["yes", "no"] * 20).keys() & {"label_spellings", "placeholder_label", "joined_label"}


def test_the_data_checks_name_joined_and_encoded_labels() -> None:
    joined = check(["food|staff", "food", "staff"] * 20)["joined_label"].message
    assert joined.startswith('train: 1 labels look like several labels joined by "|": "food|staff"')
    assert joined.endswith("set task.kind=multilabel 'data.label_separator=\"|\"' to split them")
    encoded = check(["['a' 'b']", "['b']", "['a']"] * 20)
    assert "set task.kind=multilabel" in encoded["list_label"].message
    assert "joined_label" not in encoded


@pytest.mark.parametrize(
    ("tags", "odd"),
    [
        (["O", "B-LOC", "I-LOC", "B_LOC"], ["B_LOC"]),
        (["O", "B-LOC", "LOC-B"], ["LOC-B"]),
        (["O", "B-LOC", "o", "0"], ["0", "o"]),
        (["O", "B-LOC", "LOC"], ["LOC"]),
        (["O", "B_LOC", "I_LOC"], ["B_LOC", "I_LOC"]),
        (["O", "PER-B", "PER-I"], ["PER-B", "PER-I"]),
        (["o", "b-per", "i-per"], ["b-per", "i-per", "o"]),
        (["O", "B\u2013PER"], ["B\u2013PER"]),
        (["O", "B-LOC", "S-PER"], []),
        (["NN", "VB_S", "E", "B"], []),
        (["O", "PER", "LOC"], []),
        (["N:B", "V"], []),
    ],
)
def test_odd_tags_are_found(tags: list[str], odd: list[str]) -> None:
    assert find_odd_tags(tags) == odd


def test_odd_tags_are_corrected() -> None:
    assert [correct_tag(tag) for tag in ("B_PER", "PER-I", "b:per", "0", "NN")] == [
        "B-PER",
        "I-PER",
        "B-per",
        "O",
        None,
    ]


def test_the_data_checks_name_odd_tags() -> None:
    findings = check_tags(*["B-PER I-PER O B-LOC"] * 12, "B_PER O O O")
    message = findings["odd_tag"].message
    assert message.startswith('train: 1 tag does not fit the BIO and BIOES schemes: "B_PER" (1);')
    assert 'write "B_PER" as "B-PER"' in message
    assert findings["odd_tag"].where == ("list[12]",)
    assert "scheme" not in findings
    clean = check_tags(*["B-PER I-PER O B-LOC"] * 12)
    assert "odd_tag" not in clean


def test_the_data_checks_warn_of_span_types_without_letters() -> None:
    assert "(LOC, PER)" in check_tags(*["PER O O LOC O"] * 12)["io_tags"].message
    assert not check_tags(*["NN DT NN"] * 12).keys() & {"io_tags", "odd_tag"}
