"""``Example``: one row of a data set, before tokenization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Answer(NamedTuple):
    """An answer in a text.

    Attributes:
        text: the text of the answer.
        start: index of its first character in the text, from 0.
    """

    text: str
    start: int


Span = tuple[int, int]
"""Start and end (exclusive) of a piece of text, in characters."""

Target = str | float | tuple[str, ...] | tuple[Answer, ...]
"""A label (classification), a number (regression), the labels that apply (multi-label), the tag of every word
(tagging),
the accepted answers (question answering; empty if the text has no answer), or the index of the right choice as a label,
from 0 (multiple choice)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set.

    Attributes:
        id: the row's identifier, or its number from 0; unique within one source.
        text: the text, the first text of a pair, the question, or the context of a multiple choice.
        text_pair: the second text of a pair, the context that answers the question, or the question of a multiple
            choice.
        target: the value to predict; None if unknown.
        where: position of the row in its source, for messages, such as ``train.csv:12``.
        words: the words in ``text``, for tagging: in order, not overlapping; None for other tasks.
        choices: the texts to choose from, for multiple choice; None for other tasks.
    """

    id: str
    text: str
    text_pair: str | None = None
    target: Target | None = None
    where: str = ""
    words: tuple[Span, ...] | None = None
    choices: tuple[str, ...] | None = None
