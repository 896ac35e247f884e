"""What the rest of the package needs to know about one kind of target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example, Target
from bertwright.data.findings import Finding
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.table_files import Table, read_table
from bertwright.data.text_reader import TextReader
from bertwright.errors import DataError


class TargetSpec(ABC):
    """How rows with one kind of target are read, checked, scored by a baseline and split.

    There is one stateless instance per kind; :func:`~bertwright.data.targets.lookup.target_spec` finds it by name. The
    defaults fit rows with one or two texts and one target each.
    """

    name: ClassVar[str]
    """What ``kind`` and ``task.kind`` call it."""

    has_published_layouts: ClassVar[bool] = True
    """Whether folders in a published layout, such as GLUE's, are recognized if no column is named."""

    shares_columns: ClassVar[bool] = True
    """Whether the columns inferred from the training rows are also those of the other splits. False where formats have
    columns with fixed names, so that the splits may be in different formats."""

    reads_windows: ClassVar[bool] = False
    """Whether long texts are read in overlapping windows, so that none is truncated."""

    is_corpus: ClassVar[bool] = False
    """Whether runs read a corpus of documents instead of rows with targets."""

    # Reading ---------------------------------------------------------------------------------------------------------

    def read_file(self, path: Path, encoding: str, columns: ColumnNames, limit: int | None) -> Table:
        """Read a file as a table; with a limit, no more than that many rows of a CSV file.

        Raises:
            DataError: the file is missing, damaged or empty.
        """
        return read_table(path, encoding, columns.header, limit)

    def file_columns(self, path: Path, encoding: str, columns: ColumnNames, n_rows: int) -> dict[str, Sequence[Any]]:
        """The columns of a file, to be written next to predictions; empty if it is no table of this many rows.

        Args:
            path: the file.
            encoding: of the file.
            columns: those that were read.
            n_rows: the number of rows that were read.
        """
        try:
            table = self.group_rows(self.read_file(path, encoding, columns, None), columns)
        except DataError:  # a folder, or a row that the reader of a benchmark skipped and reported
            return {}
        return {name: table.column(name) for name in table.names} if table.n_rows == n_rows else {}

    def group_rows(self, table: Table, columns: ColumnNames) -> Table:
        """The table with one row per example; formats with a row per word need this."""
        return table

    def prepare_items(self, items: list[Any], where: Callable[[int], str]) -> list[Any]:
        """Tuples or lists in memory as tuples of the values that :meth:`tuple_columns` names.

        Raises:
            DataError: an item has another shape than the others.
        """
        return items

    @abstractmethod
    def tuple_columns(self, width: int, labeled: bool) -> tuple[list[str], str]:
        """The columns that the values of a tuple in memory are, and how a message describes such tuples.

        Args:
            width: the number of values; if no tuple has this many, the list of columns is of another length.
            labeled: whether tuples hold targets, where that is not clear from their width.
        """

    def example_columns(self, examples: Sequence[Example]) -> dict[str, list[Any]]:
        """Examples in memory as columns, without ids and second texts."""
        return {"text": [example.text for example in examples], "label": [example.target for example in examples]}

    @abstractmethod
    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The examples of a table.

        Args:
            table: with a row per example.
            columns: those that the user names; the others are inferred.
            need_target: whether a row without a target is an error.

        Raises:
            DataError: a column is missing or cannot be inferred, or a cell does not fit its column.
        """

    def text_reader(
        self, first: Table, columns: ColumnNames, normalization: NormalizationSettings
    ) -> TextReader | None:
        """A reader of rows without targets that takes a table in parts; None: rows need the entire table.

        Args:
            first: the first part of the table.
            columns: those that the user names; the others are inferred.
            normalization: how texts are normalized.

        Raises:
            DataError: a column is missing or cannot be inferred.
        """
        return None

    def sequence_texts(self, example: Example) -> list[tuple[str, str | None]]:
        """The text, or the two texts, of each sequence that an example becomes before truncation and windows."""
        return [(example.text, example.text_pair)]

    # Checks and baselines --------------------------------------------------------------------------------------------

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Findings about the targets; missing ones are already reported."""
        return []

    def count_units(self, train: Dataset) -> int:
        """The number of rows, or of words, that the label counts of a diagnosis refer to."""
        return len(train)

    def conflict_key(self, target: Target | None) -> Hashable:
        """Equal for targets that do not contradict each other if two rows have the same text."""
        return target

    def text_key(self, example: Example) -> Hashable:
        """Equal for examples with the same texts."""
        return example.text, example.text_pair

    def leakage_key(self, example: Example) -> Hashable:
        """Equal for examples that train and dev should not have in common."""
        return self.text_key(example)

    leakage_noun: ClassVar[str] = "text"
    """What a message calls that which train and dev have in common."""

    def score_baselines(
        self, train: Sequence[Example], dev: Sequence[Example] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """The scores that a model must beat, and what a user should know about them.

        They are scored on ``dev`` if it has targets, else by cross-validation on ``train``.

        Returns:
            ``{"scored_on": …, "majority": {metric: value}, "tfidf": {metric: value}}``, without the entries that do not
            apply, or empty; and notes, as sentences.
        """
        return {}, []

    def describe_scale(self, examples: Sequence[Example]) -> str | None:
        """What to do about targets that are far from 0, where an untrained head starts; None if none are."""
        return None

    def describe_imbalance(self, examples: Sequence[Example]) -> str | None:
        """What to do about labels that are much more common than others; None if none are."""
        return None

    # Splitting -------------------------------------------------------------------------------------------------------

    def groups_of(self, examples: Sequence[Example]) -> list[str] | None:
        """The group of each example; hold-out splits keep a group together. None: the examples are independent."""
        return None
