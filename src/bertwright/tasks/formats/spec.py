"""What the command line needs to know to show and write the predictions of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from bertwright.data.dataset import Dataset
from bertwright.data.example import Example

if TYPE_CHECKING:
    from bertwright.tasks.spec import Prediction

Columns = dict[str, Sequence[Any]]
"""Name of a column → a value for each row."""


class FileFormat(NamedTuple):
    """A file format that only some tasks can write.

    Attributes:
        name: what ``--format`` calls it.
        contents: what it holds, for messages.
        suffixes: of files in this format.
    """

    name: str
    contents: str
    suffixes: tuple[str, ...]


CONLL: Final = FileFormat("conll", "tagged words", (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".txt"))
SQUAD_JSON: Final = FileFormat("json", "answers to questions", (".json",))
TASK_FORMATS: Final = (CONLL, SQUAD_JSON)


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """Predictions for people.

    Attributes:
        rows: of cells; where output is no terminal, lines with tabs between the cells.
        columns: headings and alignments of a table on a terminal; rows may have fewer cells. Without columns a terminal
            shows ``rows`` as other outputs do.
        shown: the rows of that table, if they differ from ``rows``.
        lines: what a terminal shows instead of a table: lines and their styles.
    """

    rows: Sequence[Sequence[object]]
    columns: Mapping[str, Literal["left", "right"]] = field(default_factory=dict)
    shown: Sequence[Sequence[str]] | None = None
    lines: Sequence[tuple[str, str | None]] = ()


class PredictionFormat(ABC):
    """How the predictions of a task are shown and written."""

    own_format: ClassVar[FileFormat | None] = None
    """The file format that only this kind of prediction can be written in."""

    @abstractmethod
    def make_table(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        first: int = 1,
        uncertainty: bool = False,
    ) -> PredictionTable:
        """Predictions for people.

        Args:
            predictions: of the examples.
            examples: in their order.
            first: the number of the first one.
            uncertainty: whether entropy and margin are shown, if the task defines them.
        """

    def write_own_format(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        source: Path | None = None,
        encoding: str = "utf-8",
    ) -> Iterator[bytes]:
        """The lines of a file in the task's own format.

        Args:
            predictions: of the examples.
            examples: in their order.
            source: the file that the examples were read from; None if they were not read from a file.
            encoding: of that file.

        Raises:
            DataError: the format cannot hold a value.
        """
        raise NotImplementedError

    def text_columns(self, examples: Sequence[Example]) -> Columns:
        """The texts of examples as columns, to be written next to predictions."""
        columns: Columns = {"text": [example.text for example in examples]}
        if examples and examples[0].text_pair is not None:
            columns["text_pair"] = [example.text_pair or "" for example in examples]
        return columns

    def source_columns(self, file_columns: Columns, dataset: Dataset) -> Columns:
        """The columns of a source, to be written next to predictions.

        Args:
            file_columns: the columns of the file; empty if it is no table.
            dataset: the rows that were read from it.
        """
        if file_columns:
            return file_columns
        names = dataset.report.columns
        columns: Columns = {
            names.id or "id": [example.id for example in dataset],
            names.text or "text": [example.text for example in dataset],
        }
        if dataset and dataset[0].text_pair is not None:
            columns[names.text_pair or "text_pair"] = [example.text_pair for example in dataset]
        return columns


UNCERTAINTY: Final = ("entropy", "margin")
"""The names of the two values that ``--uncertainty`` adds."""


def uncertainty_cells(prediction: Prediction, shown: bool) -> tuple[str, ...]:
    """The cells of entropy and margin; none if they are not shown or undefined."""
    if not shown or prediction.entropy is None or prediction.margin is None:
        return ()
    return f"{prediction.entropy:.4f}", f"{prediction.margin:.4f}"


def to_one_line(text: str) -> str:
    """A text with single spaces for all white space."""
    return " ".join(text.split())
