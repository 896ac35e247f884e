"""Choices: which of several texts goes with a context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from bertwright.data.choice_rows import build_choices, choice_text
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.data.findings import Finding, count_rows, name_splits, places_of
from bertwright.data.table_files import Table
from bertwright.data.targets.spec import TargetSpec

_UNBALANCED: Final = 4.0
"""Standard deviations between how often a position is right and how often chance makes it right."""

_NOTABLE: Final = 1.25
"""A share of at least this many times the expected one is worth a warning, however many rows there are."""


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

    def sequence_texts(self, example: Example) -> list[tuple[str, str | None]]:
        """The context with each choice, behind the question or in its gap."""
        return [(example.text, choice_text(example.text_pair, choice)) for choice in example.choices or ()]

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check for empty and equal choices, and for a position that is right too often."""
        findings = []
        for name, rows in name_splits(train, dev):
            empty = [e for e in rows if any(not choice.strip() for choice in e.choices or ())]
            equal = [e for e in rows if len(set(e.choices or ())) < len(e.choices or ())]
            for code, examples, what in (
                ("empty_choice", empty, "an empty choice"),
                ("equal_choices", equal, "equal choices"),
            ):
                if examples:
                    message = f"{name}: {count_rows(len(examples))} with {what}"
                    findings.append(Finding("warning", code, message, len(examples), places_of(examples)))
        return findings + _check_positions(train)

    def text_key(self, example: Example) -> Hashable:
        """The context, the question and the choices."""
        return example.text, example.text_pair, example.choices

    def score_baselines(
        self, train: Sequence[Example], dev: Sequence[Example] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """The accuracy of the position that is most often right in train, of a random and of the longest choice."""
        labeled = [example for example in train if example.target is not None]
        test = [example for example in dev or () if example.target is not None]
        scored = test or labeled
        if not labeled:
            return {}, []
        common = Counter(str(example.target) for example in labeled).most_common(1)[0][0]
        longest = [str(int(np.argmax([len(choice) for choice in e.choices or ()]))) for e in scored]
        return {
            "scored_on": "dev" if test else "train",
            "majority": {"accuracy": float(np.mean([example.target == common for example in scored]))},
            "random": {"accuracy": float(np.mean([1 / len(example.choices or ()) for example in scored]))},
            "longest_choice": {
                "accuracy": float(np.mean([e.target == choice for e, choice in zip(scored, longest, strict=True)]))
            },
        }, []

    def groups_of(self, examples: Sequence[Example]) -> list[str]:
        """The contexts, because one passage may have many questions."""
        return [example.text for example in examples]


def _check_positions(train: Dataset) -> list[Finding]:
    """A position that is right far more often than chance would have it.

    A model scores each choice alone and cannot learn positions, but the majority baseline profits from them.
    """
    labeled = [example for example in train if example.target is not None]
    counts = Counter(str(example.target) for example in labeled)
    findings = []
    for position, count in counts.most_common(1):
        chances = np.array([1 / len(e.choices or ()) for e in labeled if len(e.choices or ()) > int(position)])
        expected, deviation = float(chances.sum()), float(np.sqrt((chances * (1 - chances)).sum()))
        if count > _NOTABLE * expected and count - expected > _UNBALANCED * deviation:
            message = (
                f"train: the choice at position {position} is right in {count / len(labeled):.1%} of the rows "
                f"({expected / len(labeled):.1%} expected by chance); compare results with that baseline"
            )
            findings.append(Finding("warning", "position_balance", message, count))
    return findings


CHOICES = ChoiceTarget()
