"""Rows without targets, read from the parts of a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from bertwright.data.cell_values import describe_missing_texts, fill_missing_texts
from bertwright.data.column_inference import check_header
from bertwright.data.dataset import ColumnNames, ReadReport
from bertwright.data.example import Example
from bertwright.data.normalize import NormalizationSettings, Normalizer
from bertwright.data.table_files import Table


class TextReader:
    """Reads the texts of each row and counts what it changes; memory does not grow with the number of rows.

    Args:
        first: the first part of the table.
        columns: those that hold the texts.
        inferred: the fields of ``columns`` that were inferred.
        normalization: how texts are normalized.

    Attributes:
        n_rows: the number of rows so far.
    """

    def __init__(
        self, first: Table, columns: ColumnNames, inferred: tuple[str, ...], normalization: NormalizationSettings
    ) -> None:
        # rows are numbered: an id would have to be compared with those of all other rows
        self._columns = replace(columns, id=None)
        self._inferred = tuple(name for name in inferred if name != "id")
        self._names = [name for name in (columns.text, columns.text_pair) if name is not None]
        self._normalization = normalization
        self._normalizer = Normalizer(normalization)
        self.n_rows = 0
        self._missing: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._notes, self._source = tuple(first.notes), first.source
        self._warnings = (*first.warnings, *check_header(first, self._columns, self._inferred))

    def check(self, part: Table) -> None:
        """Count the rows of the next part, without their examples.

        Raises:
            DataError: a value is no text, or no valid Unicode.
        """
        if self._normalization.is_active:
            self.read(part)
        else:
            self._read_texts(part)

    def read(self, part: Table) -> list[Example]:
        """The rows of the next part as examples, whose ids are their numbers from 0.

        Raises:
            DataError: a value is no text, or no valid Unicode.
        """
        start = self.n_rows
        texts, *more = self._read_texts(part)
        pairs = more[0] if more else [None] * len(texts)
        return [
            self._normalizer.normalize(Example(str(start + i), text, pair, None, part.where(i)))
            for i, (text, pair) in enumerate(zip(texts, pairs, strict=True))
        ]

    def report(self) -> ReadReport:
        """How the parts so far were read."""
        counts = [
            note for name in self._names for note in describe_missing_texts(self._source, name, self._missing[name])
        ]
        changes = self._normalizer.notes(self._source) if self.n_rows else []
        return ReadReport(
            self._source,
            self.n_rows,
            dict(self._skipped),
            self._columns,
            self._inferred,
            (*self._notes, *counts, *changes),
            warnings=self._warnings,
        )

    def _read_texts(self, part: Table) -> list[list[str]]:
        columns = []
        for name in self._names:
            texts, n_missing = fill_missing_texts(part, name)
            self._missing[name] += n_missing
            columns.append(texts)
        self._skipped.update(part.skipped)
        self.n_rows += part.n_rows
        return columns
