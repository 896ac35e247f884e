"""Predicted tags and the spans they mark, for people and as column files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from bertwright.cli.console import out, write_tsv
from bertwright.data.conll import holds_columns, with_column
from bertwright.data.dataset import Dataset
from bertwright.data.example import Example
from bertwright.errors import DataError
from bertwright.output.terminal import print_line
from bertwright.tasks.spec import Prediction
from bertwright.tasks.tagging import words_of


def show_tags(predictions: Sequence[Prediction], examples: Sequence[Example], first: int, plain: bool) -> None:
    """Print each text with its spans below it on a terminal, else a line a span: number of the text, first character,
    the one after the last, label, score and the span itself, with tabs between. Of plain tags, a word and its tag a
    line, with an empty line after each text.

    Args:
        predictions: of the examples.
        examples: in their order.
        first: the number of the first of them.
        plain: whether the tags mark no spans.
    """
    if plain:
        write_tsv(line.split("\t") for line in _new_columns(examples, predictions))
        return
    console = out()
    if not console.is_terminal:
        write_tsv(
            (number, span.start, span.end, span.label, f"{span.score:.4f}", _one_line(span.text))
            for number, prediction in enumerate(predictions, first)
            for span in prediction.spans
        )
        return
    for prediction, example in zip(predictions, examples, strict=True):
        print_line(console, example.text)
        width = max((len(found.label) for found in prediction.spans), default=0)
        for found in prediction.spans:
            place = f"{found.start}–{found.end}"
            line = f"  {found.label:<{width}}  {found.score:.4f}  {place:>9}  {_one_line(found.text)}"
            print_line(console, line, "bold")
        if not prediction.spans:
            print_line(console, "  –", "dim")


def is_column_file(path: Path, rows: Dataset) -> bool:
    """Whether rows were read from a column file, not from a table or from plain text."""
    return path.is_file() and holds_columns(path) and rows.report.columns.text != "text"


def conll_lines(
    source: Path | None, examples: Sequence[Example], predictions: Sequence[Prediction], encoding: str = "utf-8"
) -> Iterator[bytes]:
    """The lines of a column file with the predicted tags as its last column: those of ``source``, else new ones.

    Raises:
        DataError: a word holds a line break, or a tab.
    """
    if source is None:
        lines = _new_columns(examples, predictions)
    else:
        lines = with_column(source, [*chain.from_iterable(p.tags or () for p in predictions)], encoding)
    # half a surrogate pair, which JSON can spell and UTF-8 cannot, stays spelt
    return (f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)


def _new_columns(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Iterator[str]:
    words = [[example.text[start:end] for start, end in words_of(example)] for example in examples]
    for example, row in zip(examples, words, strict=True):
        for word in row:
            if not word or any(mark in word for mark in "\t\n\r"):
                raise DataError(
                    f"{example.where or example.id}: a word is empty or holds a tab or a line break, which a column "
                    "file cannot; write .jsonl."
                )
    # a word may hold spaces, if it was given as one
    separator = "\t" if any(len(word.split()) != 1 for row in words for word in row) else " "
    for row, prediction in zip(words, predictions, strict=True):
        yield from (f"{word}{separator}{tag}" for word, tag in zip(row, prediction.tags or (), strict=True))
        yield ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
