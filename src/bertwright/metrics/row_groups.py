"""Groups of rows for which a report shows separate scores: by length, question word and number of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LENGTH_GROUPS: Final = 5
"""Groups by length, of about the same number of rows."""

QUESTION_WORDS: Final = ("what", "which", "who", "whose", "whom", "when", "where", "why", "how many", "how much", "how")
"""In the order in which they are recognized; the first one that occurs earliest in the question counts."""

ANSWER_WORDS: Final = ((1, "1"), (2, "2"), (4, "3–4"), (8, "5–8"))
"""Most words of an answer, and the name of the group; longer answers are in another group."""

_WORDS = [(name, re.compile(rf"\b{name}\b", re.IGNORECASE)) for name in QUESTION_WORDS]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Some rows.

    Attributes:
        name: what they have in common.
        rows: their positions, in order.
    """

    name: str
    rows: NDArray[np.intp]


def group_by_length(lengths: Sequence[int], most: int = LENGTH_GROUPS) -> list[RowGroup]:
    """Group rows by length into at most this many groups of about the same size; equal lengths are in one group.

    >>> [(group.name, len(group.rows)) for group in group_by_length([3, 4, 4, 9, 20, 21], 3)]
    [('3–4', 3), ('9', 1), ('20–21', 2)]
    """
    values = np.asarray(lengths)
    if not len(values):
        return []
    bounds = np.unique(np.quantile(values, np.arange(1, most + 1) / most, method="inverted_cdf"))
    number = np.searchsorted(bounds, values)
    groups = []
    for i in np.unique(number):
        rows = np.flatnonzero(number == i)
        low, high = int(values[rows].min()), int(values[rows].max())
        groups.append(RowGroup(f"{low:,}" if low == high else f"{low:,}–{high:,}", rows))
    return groups


def group_by_question_word(questions: Sequence[str]) -> list[RowGroup]:
    """Group questions by their question word, the largest group first; ``other`` has none.

    >>> [group.name for group in group_by_question_word(["In what year?", "How many men?", "Name a river.", "Which?"])]
    ['what', 'which', 'how many', 'other']
    """
    return _collect([_find_question_word(question) for question in questions], (*QUESTION_WORDS, "other"), by_size=True)


def group_by_answer_length(answers: Sequence[str | None]) -> list[RowGroup]:
    """Group questions by the number of words of an answer; None is no answer.

    >>> [group.name for group in group_by_answer_length(["Paris", None, "in the north of France"])]
    ['1 word', '5–8 words', 'no answer']
    """
    names = [f"{name} {'word' if name == '1' else 'words'}" for _, name in ANSWER_WORDS]
    longest = f"more than {ANSWER_WORDS[-1][0]} words"

    def name_of(answer: str | None) -> str:
        if answer is None:
            return "no answer"
        n_words = max(len(answer.split()), 1)
        return next((name for (most, _), name in zip(ANSWER_WORDS, names, strict=True) if n_words <= most), longest)

    return _collect([name_of(answer) for answer in answers], (*names, longest, "no answer"))


def _find_question_word(question: str) -> str:
    matches = [(match.start(), i) for i, (_, pattern) in enumerate(_WORDS) if (match := pattern.search(question))]
    return _WORDS[min(matches)[1]][0] if matches else "other"


def _collect(names: Sequence[str], order: Sequence[str], by_size: bool = False) -> list[RowGroup]:
    """The groups that have rows, in this order; ``by_size``: the largest first."""
    array = np.array(names)
    groups = [RowGroup(name, rows) for name in order if len(rows := np.flatnonzero(array == name))]
    return sorted(groups, key=lambda group: -len(group.rows)) if by_size else groups
