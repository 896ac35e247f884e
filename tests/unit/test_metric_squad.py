"""Answers to questions, by the rules of SQuAD's scripts; the values by hand, and a plain reading in tests/oracle."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from bertwright.errors import DataError
from bertwright.metrics import (
    DEFAULT_METRICS,
    METRICS,
    AnswerOutcome,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    describe_collapse,
    list_metrics,
    squad_scores,
)
from bertwright.metrics.squad import exact_match, find_best_threshold, normalize_answer, token_f1
from bertwright.run.report import show


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("The  Eiffel\tTower.", "eiffel tower"),
        ("an A the", ""),
        ("U.S.", "us"),
        ("theory of a man", "theory of man"),
        ("Beyoncé’s", "beyoncé’s"),
        ("the-end", "theend"),
        ("(a)", ""),
        ("", ""),
    ],
)
def test_answers_are_normalised(answer: str, left: str) -> None:
    assert normalize_answer(answer) == left


def test_single_answers() -> None:
    assert exact_match(["Paris", "the city"], "City!") == 1
    assert exact_match(["Paris"], "in Paris") == 0
    assert token_f1(["Paris", "the city of Paris"], "in Paris") == pytest.approx(2 / 3)  # 1 of 2 and 1 of 1
    assert token_f1(["to be to be"], "to to to") == pytest.approx(4 / 7)  # a word counts as often as both have it
    assert token_f1(["Paris"], "London") == token_f1(["Paris"], "") == exact_match(["Paris"], "") == 0
    assert exact_match([], "") == token_f1([], "") == token_f1([], "the") == exact_match([], "the") == 1
    assert exact_match([], "Paris") == token_f1([], "Paris") == 0


def test_version_one() -> None:
    golds, said = [["Paris", "the city"], ["in 1889"], ["a"]], ["city", "1889", "the"]
    # Of the last nothing is left: evaluate-v1.1.py finds it exact, and no common word.
    assert squad_scores(golds, said) == {
        "exact_match": pytest.approx(200 / 3),
        "f1": pytest.approx(100 * (1 + 2 / 3 + 0) / 3),
    }


def test_version_two() -> None:
    golds = [["Paris"], ["in 1889"], [], [], ["a"]]
    said = ["Paris", "1889", "", "London", ""]
    odds = [-3.0, 2.0, 1.0, -1.0, 0.5]
    # The last has no true answer left, which makes an empty prediction right, but it counts among those with one.
    assert squad_scores(golds, said) == {
        "exact": pytest.approx(60),
        "f1": pytest.approx(100 * (1 + 2 / 3 + 1 + 0 + 1) / 5),
        "total": 5,
        "HasAns_exact": pytest.approx(200 / 3),
        "HasAns_f1": pytest.approx(100 * (1 + 2 / 3 + 1) / 3),
        "HasAns_total": 3,
        "NoAns_exact": pytest.approx(50),
        "NoAns_f1": pytest.approx(50),
        "NoAns_total": 2,
    }
    with_odds = squad_scores(golds, said, odds)  # above 1, which is the script's threshold: 1889 is taken back
    assert with_odds["f1"] == pytest.approx(60)
    # From 2 right, answering none, by rising odds: +1 (-3), -1 (-1), +1 (.5), 0 (1), f1 +2/3 and exact 0 (2).
    assert with_odds["best_exact"] == pytest.approx(60)
    assert with_odds["best_exact_thresh"] == -3
    assert with_odds["best_f1"] == pytest.approx(100 * (2 + 1 + 2 / 3) / 5)
    assert with_odds["best_f1_thresh"] == 2


def test_where_answering_nothing_is_best() -> None:
    golds: list[list[str]] = [[], [], ["Paris"]]
    said, odds = ["London", "Rome", "Oslo"], [3.0, 4.0, 5.0]
    found = squad_scores(golds, said, odds)
    assert (found["best_f1"], found["best_f1_thresh"]) == (pytest.approx(200 / 3), 0.0)
    answers = AnswerOutcome.from_answers(golds, said, odds)
    assert find_best_threshold(answers) < 3.0
    tuned = AnswerOutcome.from_answers(golds, said, odds, find_best_threshold(answers))
    assert compute_metrics(["answer_f1"], tuned)["answer_f1"] == pytest.approx(200 / 3)


def test_an_answer_of_articles_to_a_question_without_one_costs_a_point_in_the_sweep() -> None:
    # evaluate-v2.0.py takes 1 off for any text there, even where the text counts as none in the score itself.
    found = squad_scores([[], ["Rome"]], ["the", "Rome"], [-1.0, 0.0])
    assert found["exact"] == 100
    assert (found["best_exact"], found["best_exact_thresh"]) == (50, 0.0)


def test_metrics_have_the_threshold_applied() -> None:
    golds: list[list[str]] = [["Paris"], [], [], ["Rome"]]
    said = ["Paris", "London", "Oslo", "Rome"]
    odds = np.array([-2.0, 1.0, -1.0, 3.0])
    found = compute_metrics(list_metrics("qa"), AnswerOutcome.from_answers(golds, said, odds, threshold=0.0))
    assert found == pytest.approx(
        {
            "exact_match": 50,  # Paris, and London taken back; Rome was taken back too
            "answer_f1": 50,
            "has_answer_exact_match": 50,
            "has_answer_f1": 50,
            "no_answer_accuracy": 50,
            "best_exact_match": 75,
            "best_answer_f1": 75,
        }
    )
    assert find_best_threshold(AnswerOutcome.from_answers(golds, said, odds), "exact") == -2


def test_what_does_not_occur_is_undefined() -> None:
    answered = AnswerOutcome.from_answers([["Paris"]], ["Paris"])
    assert math.isnan(compute_metrics(["no_answer_accuracy"], answered)["no_answer_accuracy"])
    assert METRICS["no_answer_accuracy"].undefined == "every question has an answer"
    assert "NoAns_total" not in squad_scores([["Paris"]], ["Paris"], [0.0])
    assert "HasAns_total" not in squad_scores([[]], ["Paris"])
    assert math.isnan(compute_metrics(["has_answer_f1"], AnswerOutcome.from_answers([[]], [""]))["has_answer_f1"])


def test_intervals_are_those_of_resampled_questions() -> None:
    rng = np.random.default_rng(1)
    golds = [["Paris"] if rng.random() < 0.6 else [] for _ in range(300)]
    said = [str(rng.choice(["Paris", "in Paris", "Rome"])) for _ in golds]
    odds = rng.normal(size=300) - [bool(gold) for gold in golds]
    names = ["answer_f1", "exact_match", "has_answer_f1", "no_answer_accuracy", "best_answer_f1"]
    outcome = AnswerOutcome.from_answers(golds, said, odds, 0.0)
    drawn: dict[str, list[float]] = {name: [] for name in names}
    fields = ("exact", "f1", "has_answer", "answered", "null_odds", "withheld")
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        again = AnswerOutcome(*(getattr(outcome, field)[rows] for field in fields))
        for name, value in compute_metrics(names, again).items():
            drawn[name].append(value)
    for name, interval in bootstrap_intervals(names, outcome).items():
        assert interval == pytest.approx(tuple(np.quantile(drawn[name], (0.025, 0.975))), abs=1.5), name


@pytest.mark.parametrize(
    ("golds", "said", "odds", "message"),
    [
        ([], [], None, "there are no questions; give data"),
        ([["a"]], [], None, "1 question, but 0 predictions; give one each"),
        ([["a"]], ["a"], [1.0, 2.0], "1 question, but 2 null odds; give one each"),
        ([["a"]], ["a"], [float("nan")], "1 null odds are NaN; check whether"),
    ],
)
def test_parts_that_do_not_fit(golds: list[list[str]], said: list[str], odds: list[float] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        AnswerOutcome.from_answers(golds, said, odds)


def test_the_best_threshold_needs_odds() -> None:
    answered = AnswerOutcome.from_answers([["a"]], ["a"])
    with pytest.raises(DataError, match="this metric needs null odds, but the predictions are answers; pass null odds"):
        compute_metrics(["best_answer_f1"], answered)
    with pytest.raises(DataError, match="needs null odds"):
        find_best_threshold(answered)


def test_the_alarm_counts_questions() -> None:
    golds = [["Paris"]] * 20 + [[] for _ in range(20)]
    assert describe_collapse(AnswerOutcome.from_answers(golds, [""] * 40)) == (
        '"no answer" is predicted for 40 of 40 questions, but true for 20'
    )
    assert (
        describe_collapse(AnswerOutcome.from_answers(golds, ["x"] * 40, [1.0] * 40, 0.0)) is not None
    )  # all taken back
    assert describe_collapse(AnswerOutcome.from_answers([["Paris"]] * 20, ["Rome"] * 20)) is None


def test_the_table_knows_questions() -> None:
    assert check_metrics(DEFAULT_METRICS["qa"], "qa") == DEFAULT_METRICS["qa"]
    assert METRICS["answer_f1"].range == (0, 100)
    assert METRICS["answer_f1"].improves(88.52, 88.5)
    assert show("answer_f1", 88.5234) == "88.52"
    assert show("answer_f1", float("nan")) == "–"
    assert (show("mse", 1234.5678), show("accuracy", 0.5), show("of their own", 0.25)) == ("1235", "0.5000", "0.2500")


def test_ten_thousand_questions_are_quick() -> None:
    golds = [["the Denver Broncos", "Denver Broncos", f"the {i} Denver Broncos of 2015"] for i in range(10_000)]
    started = time.perf_counter()
    squad_scores(golds, [f"Denver Broncos {i}" for i in range(10_000)])
    assert time.perf_counter() - started < 3  # 0.7 s on the machine it was written on
