"""How good answers to questions are, in the numbers of SQuAD's own scripts: 0 to 100.

The rules are those of evaluate-v1.1.py (Rajpurkar et al. 2016) and evaluate-v2.0.py (Rajpurkar, Jia and Liang 2018).
B questions, R weightings.
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

Bools = NDArray[np.bool_]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(answer: str) -> str:
    """An answer in lower case, without punctuation, articles and superfluous space, as answers are compared.

    >>> normalize(" The Eiffel-Tower, Paris. ")
    'eiffeltower paris'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(gold_texts: Collection[str], predicted: str) -> float:
    """1 if a prediction is one of the true answers, else 0; without true answers the right prediction is empty."""
    return float(normalize_answer(predicted) in map(normalize_answer, gold_texts or ("",)))


def token_f1(gold_texts: Collection[str], predicted: str) -> float:
    """How well the words of a prediction overlap with those of the true answer that suits it best.

    The harmonic mean of the shares of its words and of the answer's that are common; without true answers 1 if the
    prediction is empty, else 0.
    """
    said = normalize_answer(predicted).split()
    if not gold_texts:
        return float(not said)
    return max(_overlap(normalize_answer(gold).split(), said) for gold in gold_texts)


def _overlap(true: list[str], said: list[str]) -> float:
    common = sum((Counter(true) & Counter(said)).values())
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(true)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class AnswerOutcome:
    """How right the answers to B questions are.

    Attributes:
        exact, f1: (B,), 0 to 1, of the text that was predicted.
        has_answer: (B,), whether the question has a true answer.
        answered: (B,), whether a text was predicted.
        null_odds: (B,), how much more no answer scores than the text; None for a model that always answers.
        withheld: (B,), whether the text is held back because of that, so that the answer is none.
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
        """Compare predictions with true answers.

        The rules are those of version 2.0 as soon as one question has no answer: true answers of which nothing is
        left when normalised then do not count.

        Args:
            golds: the true answers of each question; none if it has no answer.
            predictions: a text for each; empty for no answer.
            null_odds: how much more likely no answer is than that text, in any measure.
            threshold: null odds above it make the answer none.

        Raises:
            DataError: there are no questions, or not as many predictions or odds, or odds that are no numbers.
        """
        if not golds:
            raise DataError("evaluation: there are no questions; give data that holds at least one.")
        odds = None if null_odds is None else np.asarray(null_odds, np.float64)
        for name, values in (("predictions", predictions), ("null odds", odds)):
            if values is not None and len(values) != len(golds):
                raise DataError(f"evaluation: {len(golds)} questions have {len(values)} {name}; give one for each.")
        if odds is not None and np.isnan(odds).any():
            raise DataError(
                f"evaluation: {np.isnan(odds).sum()} null odds are not a number; look for a loss that diverged."
            )
        has_answer = np.array([bool(gold) for gold in golds])
        different = [set(gold) for gold in golds]  # annotators mostly agree
        if not has_answer.all():
            different = [{text for text in gold if normalize_answer(text)} for gold in different]
        pairs = list(zip(different, predictions, strict=True))
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

    def final(self, values: Floats) -> Floats:
        """``exact`` or ``f1`` with the texts held back that the null odds speak against."""
        return np.where(self.withheld, ~self.has_answer, values)

    def given(self) -> Outcome:
        """Whether there is an answer, true and predicted, as two classes."""
        return Outcome(CLASSIFICATION, self.has_answer, self.answered & ~self.withheld, ("no answer", "an answer"))

    def concatenate(self, other: AnswerOutcome) -> AnswerOutcome:
        """The questions of this and then those of another system on the same examples, (2B).

        Raises:
            DataError: the other is about other questions.
        """
        if not np.array_equal(self.has_answer, other.has_answer):
            raise DataError(
                f"comparison: the two do not answer the same questions ({len(self)} and {len(other)}); "
                "evaluate both on the same rows in the same order."
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
    """The mean over all questions."""
    return lambda answers, weights: 100 * mean(weights, answers.final(getattr(answers, which)))


def subset_score(which: Literal["exact", "f1"], has_answer: bool) -> Score:
    """The mean over the questions with, or without, an answer; nan if there are none."""

    def score(answers: AnswerOutcome, weights: Floats) -> Floats:
        there = (answers.has_answer == has_answer).astype(np.float64)
        values = answers.final(getattr(answers, which))
        return 100 * ratio(weights @ (values * there), weights @ there, np.nan)

    return score


def best_score(which: Literal["exact", "f1"]) -> Score:
    """The mean over all questions with the threshold of the null odds that suits it best."""

    def score(answers: AnswerOutcome, weights: Floats) -> Floats:
        order, gains = _gains(answers, which)
        won = (weights[:, order] * gains).cumsum(-1).max(-1).clip(0)
        return 100 * ratio(weights @ ~answers.has_answer + won, weights.sum(-1))

    return score


def find_best_threshold(answers: AnswerOutcome, which: Literal["exact", "f1"] = "f1") -> float:
    """The threshold of the null odds with which answers are best: those with greater odds are held back.

    It is the null odds of an answer that is just still given. Where it is best to answer nothing, it lies below all of
    them (evaluate-v2.0.py says 0 then); equal odds are given or held back together.

    Raises:
        DataError: there are no null odds.
    """
    order, gains = _gains(answers, which)
    odds = _odds(answers)[order]
    won = np.where(np.append(odds[1:] != odds[:-1], True), gains.cumsum(), -np.inf)
    at = int(won.argmax())
    return float(odds[at]) if won[at] > 0 else float(np.nextafter(odds[0], -np.inf))


def squad_scores(
    golds: Sequence[Sequence[str]],
    predictions: Sequence[str],
    null_odds: Sequence[float] | Floats | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """What SQuAD's own script prints, under its names.

    exact_match and f1 (evaluate-v1.1.py) if every question has an answer and there are no null odds; else exact, f1 and
    total, the same of HasAns and NoAns, and, given null odds, best_exact, best_f1 and their thresholds
    (evaluate-v2.0.py).

    Args:
        golds: the true answers of each question, in the order of the data; none if it has no answer.
        predictions: a text for each; empty for no answer.
        null_odds: as the script's ``--na-prob-file``, of every question.
        threshold: as its ``--na-prob-thresh``.

    Raises:
        DataError: as :meth:`AnswerOutcome.of`.
    """
    answers = AnswerOutcome.from_answers(golds, predictions, null_odds, threshold)
    ones = np.ones((1, len(answers)))
    if answers.has_answer.all() and null_odds is None:
        return {
            "exact_match": float(overall_score("exact")(answers, ones)[0]),
            "f1": float(overall_score("f1")(answers, ones)[0]),
        }
    found: dict[str, float] = {}
    for prefix, there in (
        ("", np.ones(len(answers), bool)),
        ("HasAns_", answers.has_answer),
        ("NoAns_", ~answers.has_answer),
    ):
        if there.any():
            found |= {
                f"{prefix}exact": 100 * float(answers.final(answers.exact)[there].mean()),
                f"{prefix}f1": 100 * float(answers.final(answers.f1)[there].mean()),
                f"{prefix}total": int(there.sum()),
            }
    if null_odds is not None:
        for which in ("exact", "f1"):
            order, gains = _gains(answers, which)
            # Summed as the script sums, from answering nothing on: of scores equal but for rounding it takes the same.
            right = np.append(float((~answers.has_answer).sum()), gains).cumsum()
            at = int(right.argmax())
            found[f"best_{which}"] = 100 * float(right[at]) / len(answers)
            found[f"best_{which}_thresh"] = float(_odds(answers)[order][at - 1]) if at else 0.0
    return found


def _odds(answers: AnswerOutcome) -> Floats:
    if answers.null_odds is None:
        raise DataError("evaluation: this metric needs null odds, but there are only answers; pass null odds.")
    return answers.null_odds


def _gains(answers: AnswerOutcome, which: Literal["exact", "f1"]) -> tuple[NDArray[np.intp], Floats]:
    """The questions from the least null odds to the greatest, and what giving each answer wins over giving none."""
    order = np.argsort(_odds(answers), kind="stable")
    gains = np.where(answers.has_answer, getattr(answers, which), -answers.answered.astype(np.float64))
    return order, gains[order]
