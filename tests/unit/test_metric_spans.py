"""Spans of tagged words: schemes, reading and writing tags, scores; against seqeval in tests/oracle."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bertwright.errors import DataError, RecipeError
from bertwright.metrics import (
    DEFAULT_METRICS,
    METRICS,
    Scheme,
    TaggingOutcome,
    WordSpan,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    confusion_matrix,
    describe_collapse,
    list_metrics,
    per_class_metrics,
)
from bertwright.metrics.spans import convert_scheme, detect_scheme, spans_from_tags, split_tag, tags_from_spans
from bertwright.run.report import show


def of(*texts: str) -> list[list[str]]:
    return [text.split() for text in texts]


# --- schemes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "scheme"),
    [
        (["O B-PER I-PER O", "B-LOC B-LOC"], "BIO"),
        (["I-PER I-PER O", "I-LOC B-LOC O"], "IOB1"),
        (["I-PER I-PER O I-LOC"], "IOB1"),
        (["I-PER O", "B-LOC O"], "BIO"),  # a B that IOB1 would not write: BIO with a slip
        (["B-PER", "B-PER I-LOC B-LOC"], "BIO"),
        (["B-PER E-PER O S-LOC"], "BIOES"),
        (["B-PER L-PER O U-LOC"], "BIOES"),
        (["DT NN VBZ", "NN ."], "none"),
        (["O B-PER NN"], "none"),
        (["B-NP I-NP O-NP"], "none"),
        (["B I O", "B O"], "BIO"),
        (["O O", "O"], "BIO"),
        ([""], "BIO"),
    ],
)
def test_the_scheme_is_recognised(texts: list[str], scheme: Scheme) -> None:
    assert detect_scheme(of(*texts)) == scheme


def test_a_text_begins_no_span_for_the_next() -> None:
    assert detect_scheme(of("I-PER", "B-PER O")) == "BIO"  # B-PER would follow its like, were it one text
    assert compute_metrics(["span_recall"], TaggingOutcome(of("B-X", "I-X"), of("B-X", "I-X")))["span_recall"] == 1
    assert per_class_metrics(TaggingOutcome(of("B-X", "I-X"), of("B-X", "I-X")))["X"]["support"] == 2


@pytest.mark.parametrize(
    ("written", "scheme", "strict", "found"),
    [
        ("O B-PER I-PER O B-LOC", "BIO", False, [("PER", 1, 3), ("LOC", 4, 5)]),
        ("I-PER I-LOC I-LOC", "BIO", False, [("PER", 0, 1), ("LOC", 1, 3)]),
        ("I-PER I-LOC I-LOC", "BIO", True, []),
        ("I-PER B-PER I-PER", "IOB1", True, [("PER", 0, 1), ("PER", 1, 3)]),
        ("B-X I-X", "IOB1", True, [("X", 1, 2)]),
        ("B-X I-X E-X S-Y", "BIOES", True, [("X", 0, 3), ("Y", 3, 4)]),
        ("B-X I-X L-X U-Y", "BIOES", True, [("X", 0, 3), ("Y", 3, 4)]),
        ("B-X I-X O E-X", "BIOES", True, []),
        ("B-X I-X O E-X", "BIOES", False, [("X", 0, 2), ("X", 3, 4)]),
        ("B I O B-", "BIO", False, [("_", 0, 2), ("_", 3, 4)]),
        ("B-A-1 I-A-1", "BIO", False, [("A-1", 0, 2)]),
        ("DT NN O", "none", False, [("DT", 0, 1), ("NN", 1, 2), ("O", 2, 3)]),
        ("DT NN O", "none", True, [("DT", 0, 1), ("NN", 1, 2), ("O", 2, 3)]),
        ("", "BIO", False, []),
    ],
)
def test_tags_are_read(written: str, scheme: Scheme, strict: bool, found: list[tuple[str, int, int]]) -> None:
    assert spans_from_tags(written.split(), scheme, strict) == found
    assert all(isinstance(span, WordSpan) for span in spans_from_tags(written.split(), scheme, strict))


@pytest.mark.parametrize(
    ("scheme", "written"),
    [
        ("BIO", "B-X I-X B-X B-Y O B-Y"),
        ("IOB1", "I-X I-X B-X I-Y O I-Y"),
        ("BIOES", "B-X E-X S-X S-Y O S-Y"),
        ("none", "X X X Y O Y"),
    ],
)
def test_tags_are_written(scheme: Scheme, written: str) -> None:
    marked = [WordSpan("Y", 5, 6), WordSpan("X", 0, 2), WordSpan("X", 2, 3), WordSpan("Y", 3, 4)]
    assert tags_from_spans(marked, 6, scheme) == written.split()
    assert convert_scheme(tags_from_spans(marked, 6, "BIO"), "BIO", scheme) == written.split()
    if scheme != "none":
        assert spans_from_tags(written.split(), scheme) == sorted(marked, key=lambda span: span.start)


@pytest.mark.parametrize("wrong", [[("X", 0, 2), ("Y", 1, 3)], [("X", 2, 4)], [("X", 1, 1)], [("X", -1, 1)]])
def test_spans_that_cannot_be_written(wrong: list[tuple[str, int, int]]) -> None:
    with pytest.raises(
        DataError, match=r"tags: span . of words .* overlaps the previous span or exceeds the text of 3 words; give"
    ):
        tags_from_spans(wrong, 3, "BIO")


def test_tags_of_another_scheme_are_named() -> None:
    assert split_tag("L-PER") == split_tag("E-PER")
    with pytest.raises(DataError, match=r'"NN" is not valid in BIO; use O, or B, I and a type as in "B-PER", or set'):
        spans_from_tags(["O", "NN"], "BIO")
    with pytest.raises(DataError, match='"O-PER" is not valid in IOB1'):
        TaggingOutcome(of("O"), of("O-PER"), "IOB1")
    with pytest.raises(DataError, match=r'"E-PER" is not a strict BIO tag \(O and B, I\); do not use strict, or set'):
        spans_from_tags(["B-PER", "E-PER"], "BIO", strict=True)
    assert spans_from_tags(["B-PER", "E-PER"], "BIO") == [("PER", 0, 2)]


# --- scores --------------------------------------------------------------------------------------

GOLD = of("B-PER I-PER O B-LOC", "O O B-ORG", "O")
PREDICTED = of("B-PER I-PER O O", "B-LOC O B-PER", "O")


def test_scores_by_hand() -> None:
    found = compute_metrics(list_metrics("tagging"), TaggingOutcome(GOLD, PREDICTED))
    assert found["span_precision"] == pytest.approx(1 / 3)  # PER; wrong are LOC of word 0 and PER of word 2
    assert found["span_recall"] == pytest.approx(1 / 3)
    assert found["span_f1"] == pytest.approx(1 / 3)
    assert found["span_f1_macro"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert found["token_accuracy"] == pytest.approx(5 / 8)
    assert per_class_metrics(TaggingOutcome(GOLD, PREDICTED)) == {
        "LOC": {"precision": 0, "recall": 0, "f1": 0, "support": 1, "predicted": 1},
        "ORG": {"precision": 0, "recall": 0, "f1": 0, "support": 1, "predicted": 0},
        "PER": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1, "predicted": 2},
    }


def test_a_span_must_have_type_and_both_ends_right() -> None:
    gold = of("B-X I-X O O")
    for wrong in ("B-Y I-Y O O", "B-X I-X I-X O", "B-X O O O", "O B-X O O"):
        assert compute_metrics(["span_f1"], TaggingOutcome(gold, of(wrong)))["span_f1"] == 0
    assert compute_metrics(["span_f1"], TaggingOutcome(gold, of("I-X I-X O O")))["span_f1"] == 1
    assert compute_metrics(["span_f1_strict"], TaggingOutcome(gold, of("I-X I-X O O")))["span_f1_strict"] == 0


def test_where_there_is_nothing_all_is_zero_without_a_warning() -> None:
    for gold, predicted in (("O O", "O O"), ("B-X", "O"), ("O", "B-X")):
        found = compute_metrics(list_metrics("tagging"), TaggingOutcome(of(gold), of(predicted)))
        assert {name: value for name, value in found.items() if name.startswith("span")} == dict.fromkeys(
            (name for name in found if name.startswith("span")), 0.0
        )
    assert compute_metrics(["token_accuracy"], TaggingOutcome(of("", "O"), of("", "O")))["token_accuracy"] == 1
    assert bootstrap_intervals(["span_f1"], TaggingOutcome(of("O"), of("O")))["span_f1"] == (0, 0)
    assert per_class_metrics(TaggingOutcome(of("O"), of("O"))) == {}


def test_with_plain_tags_each_word_is_a_span() -> None:
    outcome = TaggingOutcome(of("DT NN VB", "NN O"), of("DT NN NN", "NN O"), "none")
    assert outcome.labels == ("DT", "NN", "O", "VB")
    found = compute_metrics(["span_f1", "span_f1_strict", "token_accuracy", "span_f1_macro"], outcome)
    assert found["span_f1"] == found["span_f1_strict"] == found["token_accuracy"] == pytest.approx(4 / 5)
    assert found["span_f1_macro"] == pytest.approx((1 + 4 / 5 + 1 + 0) / 4)


def test_words_are_an_outcome_of_their_own() -> None:
    words = TaggingOutcome(GOLD, PREDICTED).words()
    assert words.labels == ("B-LOC", "B-ORG", "B-PER", "I-PER", "O")
    assert compute_metrics(["accuracy"], words)["accuracy"] == pytest.approx(5 / 8)
    assert confusion_matrix(words)[words.labels.index("B-ORG"), words.labels.index("B-PER")] == 1


def test_intervals_are_those_of_resampled_texts() -> None:
    rng = np.random.default_rng(3)
    known = ["O", "O", "B-X", "I-X", "B-Y"]
    gold = [[str(tag) for tag in rng.choice(known, n)] for n in rng.integers(1, 12, 150)]
    predicted = [[tag if rng.random() < 0.8 else "O" for tag in text] for text in gold]
    outcome, names = TaggingOutcome(gold, predicted), ["span_f1", "span_recall_macro", "token_accuracy"]
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(400):
        rows = rng.integers(0, len(gold), len(gold))
        found = compute_metrics(names, TaggingOutcome([gold[i] for i in rows], [predicted[i] for i in rows]))
        for name in names:
            drawn[name].append(found[name])
    intervals = bootstrap_intervals(names, outcome, resamples=2000)
    assert intervals == bootstrap_intervals(names, outcome, resamples=2000)
    for name in names:
        assert intervals[name] == pytest.approx(tuple(np.quantile(drawn[name], (0.025, 0.975))), abs=0.012), name


def test_a_corpus_is_quick() -> None:
    rng = np.random.default_rng(0)
    known = ["O"] * 8 + ["B-X", "I-X", "B-Y", "I-Y"]
    gold = [[str(tag) for tag in rng.choice(known, 14)] for _ in range(3300)]
    predicted = [text[::-1] for text in gold]
    started = time.perf_counter()
    compute_metrics(list_metrics("tagging"), TaggingOutcome(gold, predicted))
    assert time.perf_counter() - started < 0.5  # 0.06 s on the machine it was written on


@pytest.mark.parametrize(
    ("gold", "predicted", "said"),
    [
        ([], [], "there are no examples"),
        (["O"], [], "gold tags for 1 text, but predictions for 0; predict every text once"),
        (["O", "O O"], ["O", "O"], "text 2 has 2 gold and 1 predicted tags; give one of each per word"),
    ],
)
def test_texts_that_do_not_fit(gold: list[str], predicted: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        TaggingOutcome(of(*gold), of(*predicted))


def test_the_alarm_counts_words() -> None:
    gold = of(*["B-X O O O"] * 50)
    assert describe_collapse(TaggingOutcome(gold, of(*["O O O O"] * 50))) == (
        '"O" is predicted for 200 of 200 words, but true for 150'
    )
    assert describe_collapse(TaggingOutcome(gold, gold)) is None


def test_the_table_knows_tagging() -> None:
    assert check_metrics(DEFAULT_METRICS["tagging"], "tagging") == DEFAULT_METRICS["tagging"]
    assert METRICS["span_f1"].improves(0.9, 0.8)
    assert show("span_f1", 0.91234) == "0.9123"
    with pytest.raises(RecipeError, match='"f1" does not apply to tagging; available: span_f1, span_f1_macro'):
        check_metrics(["f1"], "tagging")
    with pytest.raises(RecipeError, match=r'unknown metric "span_f"; did you mean "span_f1"\?'):
        check_metrics(["span_f"], "tagging")
    with pytest.raises(RecipeError, match="known: answer_f1, best_answer_f1"):
        check_metrics(["xyz"], "qa")
