"""One row as the world wrote it, before any tokenizer or model has touched it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Answer(NamedTuple):
    """An answer that stands in a text.

    Attributes:
        text: the answer itself.
        start: the character of the text it begins with, counted from 0.
    """

    text: str
    start: int


Span = tuple[int, int]
"""The first character of a piece of text and the one after its last."""

Target = str | float | tuple[str, ...] | tuple[Answer, ...]
"""A label (classification), a number (regression), the labels that hold (multi-label), the tag of every word
(tagging), the answers that count as right (question answering; none where the text does not answer), or the position
of the right choice, counted from 0 and written as a label (multiple choice)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set.

    Attributes:
        id: the row's own identifier, or its number counted from 0; unique within one source.
        text: the text, the first text of a pair, the question, or the context of a multiple choice.
        text_pair: the second text of a pair, the text that answers the question, or the question of a multiple choice.
        target: what is to be predicted, in words or numbers; None where it is not known.
        where: where the row stands, for messages, such as ``train.csv:12``.
        words: where the words stand in ``text``, for tagging: in order, none overlapping; None for other tasks.
        choices: the texts to choose from, for multiple choice; None for other tasks.
    """

    id: str
    text: str
    text_pair: str | None = None
    target: Target | None = None
    where: str = ""
    words: tuple[Span, ...] | None = None
    choices: tuple[str, ...] | None = None
