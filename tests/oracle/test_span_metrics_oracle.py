"""Spans against seqeval, answers against torchmetrics and a plain reading of SQuAD's scripts."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Tokens
from torchmetrics.functional.text.squad import squad as torchmetrics_squad

from bertwright.metrics import AnswerOutcome, Scheme, TaggingOutcome, compute_metrics, per_class_metrics, squad_scores
from bertwright.metrics.spans import convert_scheme, spans_from_tags, tags_from_spans
from bertwright.metrics.squad import find_best_threshold, normalize_answer

CLASSES = {"BIO": IOB2, "IOB1": IOB1, "BIOES": IOBES}
ALPHABETS: dict[Scheme, list[str]] = {
    scheme: ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("X", "Y-Z"))]
    for scheme, letters in (("BIO", "BI"), ("IOB1", "BI"), ("BIOES", "BIES"))
}  # type: ignore[assignment]  # the keys are schemes

# --- spans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "length"), [("BIO", 5), ("IOB1", 5), ("BIOES", 3)])
def test_every_short_sequence_reads_as_seqeval_reads_it(scheme: Scheme, length: int) -> None:
    for n in range(length + 1):
        for sequence in map(list, itertools.product(ALPHABETS[scheme], repeat=n)):
            default = [(kind, first, last + 1) for kind, first, last in get_entities(sequence)]
            assert spans_from_tags(sequence, scheme) == default
            strict = [(e.tag, e.start, e.end) for e in Tokens(sequence, CLASSES[scheme]).entities]
            assert spans_from_tags(sequence, scheme, strict=True) == strict


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Scheme, list[list[str]], list[list[str]]]:
    scheme = draw(st.sampled_from(sorted(ALPHABETS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    outside, wrong = draw(st.sampled_from((0.0, 0.5, 1.0))), draw(st.sampled_from((0.0, 0.2, 1.0)))

    def some(n: int) -> list[str]:
        return [str(tag) for tag in np.where(rng.random(n) < outside, "O", rng.choice(ALPHABETS[scheme], n))]

    gold = [some(int(n)) for n in rng.integers(1, 9, draw(st.integers(1, 6)))]
    predicted = [
        [a if rng.random() >= wrong else b for a, b in zip(text, some(len(text)), strict=True)] for text in gold
    ]
    return scheme, gold, predicted


@given(corpora())
@settings(max_examples=100, deadline=None)
def test_scores_are_those_of_seqeval(drawn: tuple[Scheme, list[list[str]], list[list[str]]]) -> None:
    scheme, gold, predicted = drawn
    outcome = TaggingOutcome(gold, predicted, scheme)
    scores = {
        "f1": seqeval.f1_score,
        "precision": seqeval.precision_score,
        "recall": seqeval.recall_score,
    }
    expected: dict[str, float] = {"token_accuracy": seqeval.accuracy_score(gold, predicted)}
    strict = {"mode": "strict", "scheme": CLASSES[scheme]}
    for name, score in scores.items():
        expected[f"span_{name}"] = score(gold, predicted, zero_division=0)
        expected[f"span_{name}_strict"] = score(gold, predicted, zero_division=0, **strict)
        if outcome.labels:  # else seqeval takes the mean of nothing
            expected[f"span_{name}_macro"] = score(gold, predicted, average="macro", zero_division=0)
    assert compute_metrics(expected, outcome) == pytest.approx(expected)
    columns = seqeval.sequence_labeling.precision_recall_fscore_support(gold, predicted, zero_division=0)
    table = per_class_metrics(outcome)
    for i, row in enumerate(table.values()):
        found = tuple(row[key] for key in ("precision", "recall", "f1", "support"))
        assert found == pytest.approx(tuple(column[i] for column in columns))


@given(corpora(), st.sampled_from(("BIO", "IOB1", "BIOES")))
@settings(max_examples=100, deadline=None)
def test_spans_survive_being_written_in_any_scheme(drawn: Any, scheme: Scheme) -> None:
    old, gold, _ = drawn
    for text in gold:
        found = spans_from_tags(text, old)
        written = tags_from_spans(found, len(text), scheme)
        assert spans_from_tags(written, scheme) == found
        assert convert_scheme(text, old, scheme) == written
        assert convert_scheme(written, scheme, scheme) == written
        if scheme != "IOB1":  # which seqeval reads strictly in a way of its own where two spans of two types touch
            assert spans_from_tags(written, scheme, strict=True) == found


@pytest.mark.real
def test_conll_is_read_as_seqeval_reads_it(real_data: Any) -> None:
    blocks = (real_data / "conll2003" / "valid.txt").read_text(encoding="utf-8").split("\n\n")
    gold = [[line.split()[-1] for line in block.splitlines()] for block in blocks if block.strip()]
    known = sorted(set(itertools.chain.from_iterable(gold)))
    rng = np.random.default_rng(0)
    predicted = [[tag if rng.random() < 0.95 else str(rng.choice(known)) for tag in text] for text in gold]
    found = compute_metrics(["span_f1", "span_f1_strict"], TaggingOutcome(gold, predicted))
    assert found["span_f1"] == pytest.approx(seqeval.f1_score(gold, predicted))
    assert found["span_f1_strict"] == pytest.approx(seqeval.f1_score(gold, predicted, mode="strict", scheme=IOB2))


# --- answers -------------------------------------------------------------------------------------

WORDS = ("the", "a", "Paris", "paris.", "an", "blue", "Eiffel", "tower", "!", "tower,", "1889", "")
texts = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map(" ".join)
# Of some texts nothing is left when normalised. There the scripts have their own ways (tests/unit/test_metric_squad.py)
# and torchmetrics is unlike evaluate-v1.1.py.
telling = texts.filter(lambda text: bool(normalize_answer(text)))


@given(st.lists(st.tuples(st.lists(telling, min_size=1, max_size=3), texts), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_answers_are_scored_as_by_torchmetrics(questions: list[tuple[list[str], str]]) -> None:
    golds, predictions = zip(*questions, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torchmetrics_squad(
            [{"id": str(i), "prediction_text": text} for i, text in enumerate(predictions)],
            [
                {"id": str(i), "answers": {"text": gold, "answer_start": [0] * len(gold)}}
                for i, gold in enumerate(golds)
            ],
        )
    found = squad_scores(golds, predictions)
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-6)
    assert compute_metrics(
        ["exact_match", "answer_f1"], AnswerOutcome.from_answers(golds, predictions)
    ) == pytest.approx({"exact_match": found["exact_match"], "answer_f1": found["f1"]})


def scored_plainly(answers: AnswerOutcome, which: str, threshold: float) -> float:
    """The score if every answer whose null odds pass the threshold is taken back, one question after the other."""
    total = 0.0
    for i in range(len(answers)):
        taken_back = answers.null_odds is not None and answers.null_odds[i] > threshold
        total += (not answers.has_answer[i]) if taken_back else getattr(answers, which)[i]
    return 100 * total / len(answers)


@st.composite
def unanswerable(draw: st.DrawFn, distinct: bool = True) -> tuple[list[list[str]], list[str], list[float]]:
    rows = draw(st.lists(st.tuples(st.lists(telling, max_size=2), telling | st.just("")), min_size=1, max_size=10))
    odds = st.integers(-8, 8).map(lambda n: n / 2)
    drawn = draw(st.lists(odds, min_size=len(rows), max_size=len(rows), unique=distinct))
    return [gold for gold, _ in rows], [text for _, text in rows], drawn


@given(unanswerable(), st.sampled_from((-1.0, 0.0, 1.0)))
@settings(max_examples=100, deadline=None)
def test_the_best_threshold_is_the_best_of_all(
    rows: tuple[list[list[str]], list[str], list[float]], threshold: float
) -> None:
    golds, predictions, odds = rows
    answers = AnswerOutcome.from_answers(golds, predictions, odds, threshold)
    found = squad_scores(golds, predictions, odds, threshold)
    for name, which in (("best_exact_match", "exact"), ("best_answer_f1", "f1")):
        every = [scored_plainly(answers, which, at) for at in (-math.inf, *odds)]
        assert (
            compute_metrics([name], answers)[name] == pytest.approx(found[f"best_{which}"]) == pytest.approx(max(every))
        )
        assert scored_plainly(answers, which, find_best_threshold(answers, which)) == pytest.approx(max(every))  # type: ignore[arg-type]
        assert found[which] == pytest.approx(scored_plainly(answers, which, threshold))
        if found[f"best_{which}_thresh"] != 0.0:
            assert scored_plainly(answers, which, found[f"best_{which}_thresh"]) == pytest.approx(max(every))


@given(unanswerable(distinct=False))
@settings(max_examples=100, deadline=None)
def test_equal_odds_are_taken_back_together(rows: tuple[list[list[str]], list[str], list[float]]) -> None:
    answers = AnswerOutcome.from_answers(*rows)
    for which in ("exact", "f1"):
        reachable = max(scored_plainly(answers, which, at) for at in (-math.inf, *rows[2]))
        assert scored_plainly(answers, which, find_best_threshold(answers, which)) == pytest.approx(reachable)  # type: ignore[arg-type]
