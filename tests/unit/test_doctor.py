"""The doctor: each complaint where it is due, none where it is not, and baselines that are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bertwright.data import baselines as baselines_module
from bertwright.data.data_checks import Diagnosis, Finding, check_data
from bertwright.data.example import Example
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.data.targets.lookup import Kind, target_spec

GOOD = [(f"good film number {i}", "positive") for i in range(30)] + [
    (f"bad play number {i}", "negative") for i in range(20)
]
DEV = [("good again", "positive"), ("bad again", "negative"), ("good one", "positive")]


def score_baselines(
    train: Sequence[Example], dev: Sequence[Example] | None, kind: Kind
) -> tuple[dict[str, Any], list[str]]:
    return target_spec(kind).score_baselines(train, dev)


def codes(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {finding.code: finding for finding in diagnosis.findings}


def test_good_data_has_no_findings() -> None:
    found = check_data(read_dataset(GOOD), read_dataset(DEV))
    assert found.findings == ()
    assert found.label_counts == {"positive": 30, "negative": 20}
    assert found.baselines == {
        "scored_on": "dev",
        "majority": {"accuracy": pytest.approx(2 / 3), "f1_macro": pytest.approx(0.4)},
        "majority_label": "positive",
        "tfidf": {"accuracy": 1.0, "f1_macro": 1.0},
    }
    assert found.lines() == [
        "to beat: majority-class baseline: accuracy 0.667, f1_macro 0.400 (on dev)",
        "to beat: TF-IDF and a linear model: accuracy 1.000, f1_macro 1.000 (on dev)",
    ]


def test_texts() -> None:
    rows = [*GOOD, (" ", "positive"), GOOD[0], GOOD[0], ("good film number 1", "negative")]
    found = codes(check_data(read_dataset(rows), read_dataset([*DEV, GOOD[3]]), with_baselines=False))
    assert found["empty_text"] == Finding("warning", "empty_text", "train: 1 row with an empty text", 1, ("list[50]",))
    assert found["duplicate"].message == "train: 2 rows (3.7%) repeat an earlier one exactly"
    assert found["duplicate"].where == ("list[51]", "list[52]")
    assert found["conflict"].message == "train: conflicting labels: 1 texts have different targets, in 2 rows"
    assert found["conflict"].where == ("list[1]", "list[53]")
    assert found["leakage"].message.startswith("dev: data leakage: 1 row (25.0%) have a text that also")
    assert found["leakage"].where == ("list[3]",)
    assert found.keys() == {"empty_text", "duplicate", "conflict", "leakage"}


def test_a_pair_is_one_text() -> None:
    pairs = [("a", "b", "x"), ("a", "c", "x"), ("b", "a", "y")] * 1
    found = codes(check_data(read_dataset(pairs), read_dataset([("a", "d", "x")]), with_baselines=False))
    assert not found.keys() & {"duplicate", "conflict", "leakage"}
    assert "empty_text" in codes(check_data(read_dataset([("a", " ", "x")]), with_baselines=False))


def test_labels() -> None:
    train = read_dataset([*GOOD, ("meh", "neutral")])
    found = check_data(train, read_dataset([*DEV, ("x", "mixed"), ("y", "mixed")]), with_baselines=False)
    assert codes(found)["unknown_label"] == Finding(
        "error",
        "unknown_label",
        'dev: 2 rows with the label "mixed", which no row of train has',
        2,
        ("list[3]", "list[4]"),
    )
    assert codes(found)["rare_label"].message == "train: 1 label has under 10 rows: neutral (1)"
    assert [finding.code for finding in found.errors] == ["unknown_label"]
    assert found.findings[0].level == "error"
    one = codes(check_data(read_dataset([("a", "x"), ("b", "x")]), with_baselines=False))
    assert one["one_label"].message == 'train: every row has the label "x"'
    missing = codes(check_data(read_dataset([("a", "x"), ("b", None), ("c", "y")]), with_baselines=False))
    assert missing["no_target"] == Finding("error", "no_target", "train: 1 row without a target", 1, ("list[1]",))


def test_many_labels_that_train_lacks_are_counted() -> None:
    dev = read_dataset([(f"text {i}", f"label {i % 3000:04}") for i in range(6000)])
    findings = [
        f for f in check_data(read_dataset(GOOD), dev, with_baselines=False).errors if f.code == "unknown_label"
    ]
    assert len(findings) == 21
    assert findings[0].message == 'dev: 2 rows with the label "label 0000", which no row of train has'
    assert findings[-1].message.startswith("dev: 2,980 more labels that no row of train has: label 0020, label 0021")


def test_labels_that_hold_together() -> None:
    columns = ColumnNames("text", label=("rude", "loud", "odd"))
    train = read_dataset(
        [{"text": f"t{i}", "rude": i % 2, "loud": 1, "odd": 0} for i in range(40)], columns, kind="multilabel"
    )
    dev = read_dataset([{"text": "d", "rude": 0, "loud": 0, "odd": 1}], columns, kind="multilabel")
    found = codes(check_data(train, dev, kind="multilabel", with_baselines=False))
    assert found["unused_label"].message == "train: no row has the label odd"
    assert found["unknown_label"].message == 'dev: 1 row with the label "odd", which no row of train has'
    assert found.keys() == {"unused_label", "unknown_label"}


def test_numbers() -> None:
    rows = read_dataset([(f"t{i}", 2.5) for i in range(3)], kind="regression")
    found = check_data(rows, kind="regression", with_baselines=False)
    assert codes(found)["one_label"].message == "train: every target is 2.5"
    assert found.label_counts == {}


def test_lengths() -> None:
    rows = read_dataset(GOOD)
    lengths = np.full(50, 8)
    lengths[:2] = 20
    found = check_data(rows, lengths=lengths, max_length=10, with_baselines=False)
    assert found.lengths == {"min": 8, "median": 8, "90 %": 8, "99 %": 20, "max": 20}
    cut = codes(found)["truncation"]
    assert cut.message == "train: 2 rows (4.0%) are truncated to 10 tokens, which drops 4.7% of all tokens"
    assert (cut.level, cut.where) == ("note", ("list[0]", "list[1]"))
    assert (
        codes(check_data(rows, lengths=list(lengths), max_length=7, with_baselines=False))["truncation"].level
        == "warning"
    )
    assert "truncation" not in codes(check_data(rows, lengths=lengths, max_length=20, with_baselines=False))


def test_what_the_reader_did_is_repeated(tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("text;label\n\na;1\nb;2\n")
    found = check_data(read_dataset(tmp_path / "a.csv"), with_baselines=False)
    assert [finding.message.partition(": ")[2] for finding in found.findings if finding.code == "reading"] == [
        "1 rows skipped: blank line",
        "columns are separated by semicolons (inferred from the header)",
    ]


def test_as_lines_and_values() -> None:
    rows = [("a", "x")] * 6 + [("b", "y")] * 6
    found = check_data(read_dataset(rows))
    assert found.lines()[0] == "warning: train: 2 labels have under 10 rows: x (6), y (6)"
    assert (
        found.lines()[1] == "note: train: 10 rows (83.3%) repeat an earlier one exactly (list[1], list[2], list[3], …)"
    )
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["findings"][0]["code"] == "rare_label"
    assert plain["baselines"]["scored_on"] == "train, 5-fold"


class TestBaselines:
    @pytest.mark.parametrize("kind", ["classification", "multilabel"])
    def test_too_many_labels_for_a_model_of_each(self, kind: Any) -> None:
        n = baselines_module.MAX_LABELS + 1
        pairs = [(f"text {i}", f"label {i % n}" if kind == "classification" else (f"label {i % n}",)) for i in range(n)]
        train = [Example(str(i), text, None, target) for i, (text, target) in enumerate(pairs)]
        scores, notes = score_baselines(train, train[:50], kind)
        assert ("majority" in scores, "tfidf" in scores) == (kind == "classification", False)
        assert notes[0].endswith("1,001 labels, more than 1,000")

    def test_cross_validation(self) -> None:
        scores, notes = score_baselines(read_dataset(sorted(GOOD)).examples, None, "classification")
        assert scores["majority"]["accuracy"] == pytest.approx(0.6)
        assert scores["tfidf"]["accuracy"] == 1.0
        assert notes == []

    def test_three_classes(self) -> None:
        rows = read_dataset([(f"{word} {i}", word) for i in range(20) for word in ("sun", "rain", "snow")])
        scores, _ = score_baselines(rows.examples, None, "classification")
        assert scores["majority"]["accuracy"] == pytest.approx(1 / 3)
        assert scores["tfidf"]["accuracy"] == 1.0

    def test_numbers(self) -> None:
        rows = read_dataset(
            [(f"{'high' if i % 2 else 'low'} {i}", 4.0 * (i % 2)) for i in range(40)], kind="regression"
        )
        scores, _ = score_baselines(rows.examples, None, "regression")
        assert scores["majority"]["mean_absolute_error"] == pytest.approx(2, abs=0.1)
        assert scores["tfidf"]["pearson"] > 0.8
        assert scores["tfidf"]["mean_absolute_error"] < 1

    def test_several_labels(self) -> None:
        def rows(n: int) -> Dataset:
            made: list[Any] = [{"text": f"{'rude' * (i % 2)} {'loud' * (i % 3 == 0)} w{i}"} for i in range(n)]
            for i, row in enumerate(made):
                row["tags"] = ["rude"] * (i % 2) + ["loud"] * (i % 3 == 0) + ["always"]
            return read_dataset(made, kind="multilabel")

        scores, _ = score_baselines(rows(200).examples, rows(50).examples, "multilabel")
        assert scores["tfidf"] == {"accuracy": 1.0, "f1_micro": 1.0, "f1_macro": 1.0}
        assert scores["majority"]["f1_micro"] == pytest.approx(0.7, abs=0.1)

    def test_nothing_to_learn_from(self) -> None:
        scores, notes = score_baselines(read_dataset([("!", "a"), ("?", "b")] * 10).examples, None, "classification")
        assert scores["majority"]["accuracy"] == 0.5
        assert "tfidf" not in scores
        assert notes == ["no TF-IDF baseline: the texts hold no words"]
        assert score_baselines(read_dataset([("a", "x")]).examples, None, "classification") == (
            {},
            ["no baselines: 1 rows with a target are too few"],
        )
        scores, _ = score_baselines(read_dataset([("word", "a")] * 20).examples, None, "classification")
        assert "tfidf" not in scores

    def test_a_sample_of_many_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines_module, "MAX_ROWS", 20)
        scores, notes = score_baselines(read_dataset(GOOD).examples, read_dataset(DEV).examples, "classification")
        assert notes == ["baselines use 20 of the 50 rows of train, chosen at random"]
        assert scores["tfidf"]["accuracy"] == 1.0


def tagged(*sentences: str) -> Dataset:
    """Sentences such as ``Peter/B-PER sleeps/O``."""
    pairs = [[word.split("/") for word in sentence.split()] for sentence in sentences]
    return read_dataset(
        [([w for w, _ in rows], [t for _, t in rows]) for rows in pairs], kind="tagging", need_target=True
    )


def test_tags_and_what_a_model_of_them_must_beat() -> None:
    train = tagged(*[f"Peter/B-PER sees/O Oslo/B-LOC {i}/O" for i in range(12)], "Oslo/B-ORG Oslo/B-ORG")
    dev = tagged("Peter/B-PER sees/O York/B-LOC", "Oslo/B-LOC !/O", "Peter/B-PER sees/O Oslo/B-LOC 3/O")
    found = check_data(train, dev, kind="tagging", lengths=[9] * 12 + [30], max_length=20)
    assert found.label_counts == {"O": 24, "B-PER": 12, "B-LOC": 12, "B-ORG": 2}
    assert found.n_counted == 50
    # of the dev words York alone is unknown
    assert found.baselines["scored_on"] == "dev"
    assert found.baselines["majority"] == {"token_accuracy": pytest.approx(4 / 9), "span_f1": 0.0}
    assert found.baselines["word_tag"] == {"token_accuracy": pytest.approx(8 / 9), "span_f1": pytest.approx(8 / 9)}
    assert (
        found.lines()[-1]
        == "to beat: each word's most common tag in train: token_accuracy 0.889, span_f1 0.889 (on dev)"
    )
    said = codes(found)
    assert said.keys() == {"rare_label", "leakage", "scheme", "lengths", "windows"}
    assert said["rare_label"].message == "train: 1 tag has under 10 words: B-ORG (2)"
    assert said["scheme"].message == "train: tags write spans as BIO, of the types LOC, ORG, PER"
    assert said["leakage"].where == ("list[2]",)
    assert said["windows"] == Finding(
        "note", "windows", "train: 1 row (7.7%) are longer than 20 tokens and are read in windows", 1, ("list[12]",)
    )
    assert check_data(train, None, kind="tagging").baselines == {}


def test_tags_that_cannot_be() -> None:
    train = tagged(*["a/B-X b/I-X c/O"] * 11, "a/O b/I-X c/I-X", "a/B-X b/I-Y")
    found = codes(check_data(train, tagged("a/B-X b/B-Z"), kind="tagging"))
    assert found["scheme_broken"] == Finding(
        "warning",
        "scheme_broken",
        "train: 2 tags in 2 rows break the rules of BIO, such as an I- tag that does not continue a span of its type",
        2,
        ("list[11]", "list[12]"),
    )
    assert found["unknown_label"].message == 'dev: 1 row with the tag "B-Z", which no word of train has'
    assert (
        codes(check_data(tagged("a/O b/O"), kind="tagging"))["one_label"].message == 'train: every word has the tag "O"'
    )


@pytest.mark.parametrize(
    ("good", "bad", "broken"),
    [("a/S-X b/B-X c/I-X d/E-X e/O", "a/B-X b/O c/E-X d/B-X", 3), ("a/I-X b/O c/I-Y d/I-X e/B-X", "a/B-X", 0)],
)
def test_other_schemes(good: str, bad: str, broken: int) -> None:
    found = codes(check_data(tagged(*[good] * 11, bad), kind="tagging", with_baselines=False))
    assert (found["scheme_broken"].count if broken else "scheme_broken" not in found and broken) == broken
    found = codes(check_data(tagged(good), tagged("a/B-X b/I-X b/B-X", "c/O"), kind="tagging", with_baselines=False))
    assert found["scheme_differs"].message.startswith("dev: tags look like BIO, those of train like ")


def test_plain_tags() -> None:
    found = check_data(tagged("a/DET dog/NOUN"), tagged("a/DET cat/NOUN"), kind="tagging")
    assert codes(found)["scheme"].message == "train: tags are plain tags, such as parts of speech, and write no spans"
    assert found.baselines["word_tag"] == {"token_accuracy": 0.5}


def test_questions() -> None:
    def row(question: str, context: str, *answers: str) -> tuple[str, str, list[dict[str, Any]]]:
        return question, context, [{"text": answer, "answer_start": 0} for answer in answers]

    train = read_dataset(
        [row("a", "x y", "x", "x y"), row("a", "x y", "y"), row("b", "x y", "z"), row("b", " ", "x")], kind="qa"
    )
    dev = read_dataset([row("c", "x y", "x"), row("c", "x"), row("c", "x", "x")], kind="qa")
    found = check_data(train, dev, kind="qa")
    said = codes(found)
    assert (found.label_counts, found.baselines) == ({}, {})
    assert said.keys() == {
        *("reading", "empty_text", "duplicate", "conflict", "leakage", "unanswerable", "never_unanswerable"),
        *("lost_answer", "answer_lengths"),
    }
    assert said["duplicate"].message == "train: 1 row (25.0%) repeat an earlier one exactly"
    assert said["conflict"].where == ("list[1]", "list[2]")
    assert (
        said["leakage"].message
        == "dev: data leakage: 1 row (33.3%) have a context that also occurs in train; scores will be optimistic"
    )
    assert said["unanswerable"].message == "dev: 1 of 3 questions (33.3%) have no answer in their context"
    assert said["never_unanswerable"].level == "warning"
    assert said["lost_answer"].message == (
        "train: 2 rows whose answers do not occur in their context; the model cannot learn them"
    )
    assert said["answer_lengths"].message == "train: words per answer: median 1, 99 % 2, max 2"
    both = read_dataset([row("a", "x", "x"), row("b", "x")], kind="qa")
    assert "never_unanswerable" not in codes(check_data(both, dev, kind="qa"))
