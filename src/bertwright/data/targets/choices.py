"""Choices: which of several texts goes with a context."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from bertwright.data.choice_rows import build_choices
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.table_files import Table
from bertwright.data.targets.spec import TargetSpec


class ChoiceTarget(TargetSpec):
    """The position of the right choice, counted from 0 and written as a label.

    The reader takes tables and JSON Lines with a column of lists of choices, or with one column per choice.
    """

    name = "multiple_choice"
    has_published_layouts = False
    leakage_noun: ClassVar[str] = "context with the same choices"

    def tuple_columns(self, width: int, labeled: bool) -> tuple[list[str], str]:
        """``(context, choices)`` or ``(context, choices, label)``."""
        names = ["text", "choices", "label"][:width] if width > 1 else []
        return names, "(context, choices) or (context, choices, label)"

    def example_columns(self, examples: Sequence[Example]) -> dict[str, list[Any]]:
        """Also the choices."""
        return {**super().example_columns(examples), "choices": [example.choices for example in examples]}

    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The examples of a table of contexts and choices."""
        return build_choices(table, columns, need_target)

    def text_key(self, example: Example) -> Hashable:
        """The context, the question and the choices."""
        return example.text, example.text_pair, example.choices

    def groups_of(self, examples: Sequence[Example]) -> list[str]:
        """The contexts, because one passage may have many questions."""
        return [example.text for example in examples]


CHOICES = ChoiceTarget()
