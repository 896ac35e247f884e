"""One row as the world wrote it, before any tokenizer or model has touched it."""

from __future__ import annotations

from dataclasses import dataclass

Target = str | float | tuple[str, ...]
"""A label (classification), a number (regression) or the labels that hold (multi-label)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set.

    Attributes:
        id: the row's own identifier, or its number counted from 0; unique within one source.
        text: the text, or the first text of a pair.
        text_pair: the second text of a pair.
        target: what is to be predicted, in words or numbers; None where it is not known.
        where: where the row stands, for messages, such as ``train.csv:12``.
    """

    id: str
    text: str
    text_pair: str | None = None
    target: Target | None = None
    where: str = ""
