"""Tags of words and the spans that they mark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bertwright.data.conll import append_column, is_column_file_format
from bertwright.data.dataset import Dataset
from bertwright.data.example import Example
from bertwright.data.words import words_of
from bertwright.errors import DataError
from bertwright.tasks.formats.spec import (
    CONLL,
    UNCERTAINTY,
    Columns,
    PredictionFormat,
    PredictionTable,
    to_one_line,
    uncertainty_cells,
)

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction


class TagFormat(PredictionFormat):
    """Each text with its spans; of plain tags, each word with its tag.

    Args:
        plain: whether the tags mark no spans.
    """

    own_format = CONLL

    def __init__(self, plain: bool) -> None:
        self.plain = plain

    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """A row for each span: number of the text, first character, the one after the last, label, score and text.

        A terminal shows each text with its spans below it. For plain tags a row is a word and its tag, with an empty
        line after each text. With ``uncertainty``, entropy and margin of the text follow the score of a span, or the
        tag of a word, and texts without spans have a row too.
        """
        cells = [uncertainty_cells(prediction, uncertainty) for prediction in predictions]
        if self.plain:
            return PredictionTable(list(_word_rows(_column_lines(examples, predictions), cells)))
        rows = [
            (number, *place, *more, text)
            for number, (prediction, more) in enumerate(zip(predictions, cells, strict=True), first)
            for place, text in _span_cells(prediction, bool(more))
        ]
        return PredictionTable(rows, lines=list(_span_lines(predictions, examples, cells)))

    def write_own_format(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        source: Path | None = None,
        encoding: str = "utf-8",
    ) -> Iterator[bytes]:
        """A column file with the predicted tags as its last column: the source if it is one, else a new file."""
        if source is not None and _is_column_file(source, examples):
            lines = append_column(source, [*chain.from_iterable(p.tags or () for p in predictions)], encoding)
        else:
            lines = _column_lines(examples, predictions)
        # half of a surrogate pair, which JSON can spell and UTF-8 cannot, is written as its escape
        return (f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)

    def text_columns(self, examples: Sequence[Example]) -> Columns:
        """The texts, in whose characters spans are counted, and their words."""
        words = [[example.text[start:end] for start, end in words_of(example)] for example in examples]
        return {"text": [example.text for example in examples], "words": words}

    def source_columns(self, file_columns: Columns, dataset: Dataset) -> Columns:
        """The columns of a table, and texts and words under the names that it does not have."""
        return file_columns | {
            name: column for name, column in self.text_columns(dataset).items() if name not in file_columns
        }


def _word_rows(lines: Iterable[str], cells: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The lines of a column file as rows, each word with the values of its text."""
    number = 0
    for line in lines:
        if not line:
            number += 1
            yield [line]
        elif cells[number] and "\t" not in line:
            yield [*line.split(" "), *cells[number]]
        else:
            yield [*line.split("\t"), *cells[number]]


def _span_cells(prediction: Prediction, keep_empty: bool) -> Iterator[tuple[tuple[object, ...], str]]:
    """First character, the one after the last, label and score of each span, and its text."""
    for span in prediction.spans:
        yield (span.start, span.end, span.label, f"{span.score:.4f}"), to_one_line(span.text)
    if keep_empty and not prediction.spans:
        yield ("", "", "", ""), ""


def _span_lines(
    predictions: Sequence[Prediction], examples: Sequence[Example], cells: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str | None]]:
    for prediction, example, values in zip(predictions, examples, cells, strict=True):
        yield example.text, None
        if values:
            yield "  " + "  ".join(f"{name} {value}" for name, value in zip(UNCERTAINTY, values, strict=True)), "dim"
        width = max((len(span.label) for span in prediction.spans), default=0)
        for span in prediction.spans:
            place = f"{span.start}–{span.end}"
            yield f"  {span.label:<{width}}  {span.score:.4f}  {place:>9}  {to_one_line(span.text)}", "bold"
        if not prediction.spans:
            yield "  –", "dim"


def _is_column_file(path: Path, examples: Sequence[Example]) -> bool:
    """Whether rows were read from a column file, not from a table or from plain text."""
    is_text = isinstance(examples, Dataset) and examples.report.columns.text == "text"
    return path.is_file() and is_column_file_format(path) and not is_text


def _column_lines(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Iterator[str]:
    words = [[example.text[start:end] for start, end in words_of(example)] for example in examples]
    for example, row in zip(examples, words, strict=True):
        for word in row:
            if not word or any(mark in word for mark in "\t\n\r"):
                raise DataError(
                    f"{example.where or example.id}: a word is empty or holds a tab or a line break, which a column "
                    "file cannot; write .jsonl."
                )
    # a word may hold spaces if it was given as one word
    separator = "\t" if any(len(word.split()) != 1 for row in words for word in row) else " "
    for row, prediction in zip(words, predictions, strict=True):
        yield from (f"{word}{separator}{tag}" for word, tag in zip(row, prediction.tags or (), strict=True))
        yield ""
