"""Question-answering metrics of the official SQuAD scripts, 0 to 100.

The rules are those of evaluate-v1.1.py (Rajpurkar et al. 2016) and evaluate-v2.0.py (Rajpurkar, Jia and Liang 2018).
Letters: B questions, R weightings.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.formulas import mean, ratio
from bertwright.metrics.label_counts import Floats
from bertwright.metrics.outcome import CLASSIFICATION, QA, Outcome
from bertwright.output.plurals import pluralize

Bools = NDArray[np.bool_]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(answer: str) -> str:
    """Lowercase an answer and remove punctuation, articles and extra whitespace.

    >>> normalize_answer(" The Eiffel-Tower, Paris. ")
    'eiffeltower paris'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(gold_texts: Collection[str], predicted: str) -> float:
    """Return 1 if the prediction equals a gold answer, else 0; without gold answers an empty prediction is correct."""
    return float(normalize_answer(predicted) in map(normalize_answer, gold_texts or ("",)))


def token_f1(gold_texts: Collection[str], predicted: str) -> float:
    """Return the token F1 with the best-matching gold answer.

    Without gold answers the value is 1 for an empty prediction and 0 otherwise.
    """
    tokens = normalize_answer(predicted).split()
    if not gold_texts:
        return float(not tokens)
    return max(_overlap(normalize_answer(gold).split(), tokens) for gold in gold_texts)


def _overlap(gold: list[str], predicted: list[str]) -> float:
    common = sum((Counter(gold) & Counter(predicted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class AnswerOutcome:
    """Scores of the answers to B questions.

    Attributes:
        exact, f1: (B,), 0 to 1, of the predicted text.
        has_answer: (B,), whether the question has a gold answer.
        answered: (B,), whether a text was predicted.
        null_odds: (B,), score of no answer minus that of the text; None for a model that always answers.
        withheld: (B,), whether the null odds exceed the threshold, so that the prediction is no answer.
    """

    exact: Floats
    f1: Floats
    has_answer: Bools
    answered: Bools
    null_odds: Floats | None
    withheld: Bools

    kind: ClassVar[Literal["qa"]] = QA
    labels: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_answers(
        cls,
        golds: Sequence[Sequence[str]],
        predictions: Sequence[str],
        null_odds: Sequence[float] | Floats | None = None,
        threshold: float = np.inf,
    ) -> AnswerOutcome:
        """Compare predictions with gold answers.

        If any question has no answer, the rules of version 2.0 apply: gold answers that are empty after normalization
        are ignored.

        Args:
            golds: the gold answers of each question; empty if it has no answer.
            predictions: one text each; empty for no answer.
            null_odds: how much more likely no answer is than the text, in any unit.
            threshold: null odds above it turn the prediction into no answer.

        Raises:
            DataError: there are no questions, the numbers of predictions or odds differ, or odds are NaN.
        """
        if not golds:
            raise DataError("evaluation: there are no questions; give data with at least one question.")
        odds = None if null_odds is None else np.asarray(null_odds, np.float64)
        for name, values in (("predictions", predictions), ("null odds", odds)):
            if values is not None and len(values) != len(golds):
                raise DataError(
                    f"evaluation: {pluralize(len(golds), 'question')}, but {len(values)} {name}; give one each."
                )
        if odds is not None and np.isnan(odds).any():
            raise DataError(
                f"evaluation: {np.isnan(odds).sum()} null odds are NaN; check whether the training loss diverged."
            )
        has_answer = np.array([bool(gold) for gold in golds])
        distinct = [set(gold) for gold in golds]  # annotators mostly agree
        if not has_answer.all():
            distinct = [{text for text in gold if normalize_answer(text)} for gold in distinct]
        pairs = list(zip(distinct, predictions, strict=True))
        return cls(
            np.array([exact_match(gold, predicted) for gold, predicted in pairs]),
            np.array([token_f1(gold, predicted) for gold, predicted in pairs]),
            has_answer,
            np.array([bool(predicted) for predicted in predictions]),
            odds,
            np.zeros(len(golds), bool) if odds is None else odds > threshold,
        )

    def __len__(self) -> int:
        return len(self.exact)

    def apply_threshold(self, values: Floats) -> Floats:
        """Return ``exact`` or ``f1`` with withheld texts scored as no answer."""
        return np.where(self.withheld, ~self.has_answer, values)

    def to_answerability(self) -> Outcome:
        """Return whether there is an answer, gold and predicted, as two classes."""
        return Outcome(CLASSIFICATION, self.has_answer, self.answered & ~self.withheld, ("no answer", "an answer"))

    def concatenate(self, other: AnswerOutcome) -> AnswerOutcome:
        """Append the questions of another system for the same examples, (2B).

        Raises:
            DataError: the other outcome has other questions.
        """
        if not np.array_equal(self.has_answer, other.has_answer):
            raise DataError(
                f"comparison: the questions differ ({len(self)} and {len(other)}); "
                "evaluate both systems on the same rows in the same order."
            )
        odds = None
        if self.null_odds is not None and other.null_odds is not None:
            odds = np.concatenate((self.null_odds, other.null_odds))
        exact, f1, has_answer, answered, withheld = (
            np.concatenate((getattr(self, name), getattr(other, name)))
            for name in ("exact", "f1", "has_answer", "answered", "withheld")
        )
        return AnswerOutcome(exact, f1, has_answer, answered, odds, withheld)


Score = Callable[[AnswerOutcome, Floats], Floats]
"""(answers, row weights (R, B)) to (R,)."""


def overall_score(which: Literal["exact", "f1"]) -> Score:
    """Return a score function: the mean over all questions."""
    return lambda answers, weights: 100 * mean(weights, answers.apply_threshold(getattr(answers, which)))


def subset_score(which: Literal["exact", "f1"], has_answer: bool) -> Score:
    """Return a score function: the mean over questions with, or without, an answer; nan if there are none."""

    def score(answers: AnswerOutcome, weights: Floats) -> Floats:
        selected = (answers.has_answer == has_answer).astype(np.float64)
        values = answers.apply_threshold(getattr(answers, which))
        return 100 * ratio(weights @ (values * selected), weights @ selected, np.nan)

    return score


def best_score(which: Literal["exact", "f1"]) -> Score:
    """Return a score function: the mean over all questions with the best threshold of the null odds."""

    def score(answers: AnswerOutcome, weights: Floats) -> Floats:
        order, gains = _gains(answers, which)
        best_gain = (weights[:, order] * gains).cumsum(-1).max(-1).clip(0)
        return 100 * ratio(weights @ ~answers.has_answer + best_gain, weights.sum(-1))

    return score


def find_best_threshold(answers: AnswerOutcome, which: Literal["exact", "f1"] = "f1") -> float:
    """Return the threshold of the null odds with the best score; answers with greater odds are withheld.

    The threshold equals the null odds of the last answer that is still given. If it is best to answer nothing, it is
    below all odds (evaluate-v2.0.py returns 0 then). Answers with equal odds are given or withheld together.

    Raises:
        DataError: there are no null odds.
    """
    order, gains = _gains(answers, which)
    odds = _odds(answers)[order]
    best_gain = np.where(np.append(odds[1:] != odds[:-1], True), gains.cumsum(), -np.inf)
    at = int(best_gain.argmax())
    return float(odds[at]) if best_gain[at] > 0 else float(np.nextafter(odds[0], -np.inf))


def squad_scores(
    golds: Sequence[Sequence[str]],
    predictions: Sequence[str],
    null_odds: Sequence[float] | Floats | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Return the output of the official SQuAD script under its names.

    If every question has an answer and there are no null odds: exact_match and f1 (evaluate-v1.1.py). Otherwise exact,
    f1 and total, the same for HasAns and NoAns, and with null odds best_exact, best_f1 and their thresholds
    (evaluate-v2.0.py).

    Args:
        golds: the gold answers of each question in the order of the data; empty if it has no answer.
        predictions: one text each; empty for no answer.
        null_odds: of every question, as in the script's ``--na-prob-file``.
        threshold: as in its ``--na-prob-thresh``.

    Raises:
        DataError: as for :meth:`AnswerOutcome.from_answers`.
    """
    answers = AnswerOutcome.from_answers(golds, predictions, null_odds, threshold)
    ones = np.ones((1, len(answers)))
    if answers.has_answer.all() and null_odds is None:
        return {
            "exact_match": float(overall_score("exact")(answers, ones)[0]),
            "f1": float(overall_score("f1")(answers, ones)[0]),
        }
    results: dict[str, float] = {}
    for prefix, selected in (
        ("", np.ones(len(answers), bool)),
        ("HasAns_", answers.has_answer),
        ("NoAns_", ~answers.has_answer),
    ):
        if selected.any():
            results |= {
                f"{prefix}exact": 100 * float(answers.apply_threshold(answers.exact)[selected].mean()),
                f"{prefix}f1": 100 * float(answers.apply_threshold(answers.f1)[selected].mean()),
                f"{prefix}total": int(selected.sum()),
            }
    if null_odds is not None:
        for which in ("exact", "f1"):
            order, gains = _gains(answers, which)
            # Sum in the order of the script, so that rounding selects the same threshold among equal scores.
            right = np.append(float((~answers.has_answer).sum()), gains).cumsum()
            at = int(right.argmax())
            results[f"best_{which}"] = 100 * float(right[at]) / len(answers)
            results[f"best_{which}_thresh"] = float(_odds(answers)[order][at - 1]) if at else 0.0
    return results


def _odds(answers: AnswerOutcome) -> Floats:
    if answers.null_odds is None:
        raise DataError("evaluation: this metric needs null odds, but the predictions are answers; pass null odds.")
    return answers.null_odds


def _gains(answers: AnswerOutcome, which: Literal["exact", "f1"]) -> tuple[NDArray[np.intp], Floats]:
    """Return the questions by increasing null odds, and the gain of giving each answer over giving none."""
    order = np.argsort(_odds(answers), kind="stable")
    gains = np.where(answers.has_answer, getattr(answers, which), -answers.answered.astype(np.float64))
    return order, gains[order]
