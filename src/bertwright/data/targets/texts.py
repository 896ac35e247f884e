"""Texts without targets: corpora to pre-train on, and texts with gaps to fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.table_files import Table
from bertwright.data.targets.rows import ClassTarget


class TextTarget(ClassTarget):
    """No target. Runs read documents; prediction reads rows with one or two texts."""

    name = "pretraining"
    is_corpus = True

    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The texts of a table."""
        return super().build_dataset(table, replace(columns, label=()), need_target=False)

    def describe_imbalance(self, examples: Sequence[Example]) -> None:
        """There are no labels."""
        return


TEXTS = TextTarget()
