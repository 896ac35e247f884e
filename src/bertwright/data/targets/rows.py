"""Targets of whole rows: a label, several labels or a number for each text or pair of texts."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from bertwright.data.baselines import ClassNumbers, LabelSetNumbers, PlainNumbers, TargetNumbers, score_linear
from bertwright.data.cell_values import (
    find_unlabeled,
    is_flag,
    read_class_targets,
    read_flag_targets,
    read_ids,
    read_list_targets,
    read_number_targets,
    read_texts,
    require_targets,
)
from bertwright.data.column_inference import (
    CLASS_COLUMNS,
    LIST_COLUMNS,
    NUMBER_COLUMNS,
    LabelColumns,
    check_header,
    make_report,
    resolve_columns,
)
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example, Target
from bertwright.data.findings import Finding, count_rows, places_of
from bertwright.data.label_checks import LabelRules, check_combined_labels, check_label_names, check_labels
from bertwright.data.label_names import find_placeholder_number
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.table_files import Table
from bertwright.data.targets.balance import describe_frequent_label, describe_large_numbers, describe_rare_labels
from bertwright.data.targets.spec import TargetSpec
from bertwright.data.text_reader import TextReader

Targets = tuple[list[Target | None], tuple[str, ...] | None]
"""The target of each row, None where it has none, and the labels that the table declares, if it does."""


class RowTarget(TargetSpec):
    """A target that a whole row has, in one column or in several 0/1 columns."""

    label_columns: ClassVar[LabelColumns]
    """How the columns of the target are inferred."""

    numbers: ClassVar[TargetNumbers]
    """How targets become numbers, for the baselines."""

    def tuple_columns(self, width: int, labeled: bool) -> tuple[list[str], str]:
        """``(text, label)`` or ``(text, text_pair, label)``; without targets one or two texts."""
        if not labeled:
            return ["text", "text_pair"][:width], "(text,) or (text, text_pair)"
        names = {1: ["text"], 2: ["text", "label"], 3: ["text", "text_pair", "label"]}.get(width, [])
        return names, "(text, label) or (text, text_pair, label)"

    @abstractmethod
    def read_targets(self, table: Table, columns: ColumnNames, unlabeled: Container[int], notes: list[str]) -> Targets:
        """Read the target of each row.

        Args:
            table: whose rows are read.
            columns: which of its columns hold the target, and how.
            unlabeled: rows whose label means "no label".
            notes: receives what was inferred.

        Raises:
            DataError: a value cannot be a target of this kind.
        """

    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The examples of a table; rows whose label means "no label" are skipped and counted."""
        used, inferred = resolve_columns(table, columns, self.label_columns, need_target)
        notes = list(table.notes)
        texts = read_texts(table, used.text or "", notes)  # resolve_columns always finds a text column
        pairs: Sequence[str | None] = [None] * len(texts)
        if used.text_pair is not None:
            pairs = read_texts(table, used.text_pair, notes)
        labels: tuple[str, ...] | None = None
        targets: Sequence[Target | None] = [None] * len(texts)
        rows: Sequence[int] = range(table.n_rows)
        skipped = Counter(table.skipped)
        if used.label:
            unlabeled = find_unlabeled(table, used)
            targets, labels = self.read_targets(table, used, unlabeled, notes)
            if len(unlabeled) < table.n_rows:  # else a test set without public labels, whose rows are kept
                rows = [i for i in rows if i not in unlabeled]
                skipped.update(f'no label ("{value}")' for value in unlabeled.values())
            if need_target:
                name = used.label if isinstance(used.label, str) else used.label[0]
                require_targets(table, name, rows, [targets[i] for i in rows])
        ids, used = read_ids(table, used, "id" in inferred, notes)
        examples = [Example(ids[i], texts[i], pairs[i], targets[i], table.where(i)) for i in rows]
        inferred = tuple(name for name in inferred if getattr(used, name) is not None)
        warnings = check_header(table, used, inferred)
        report = make_report(table, examples, used, inferred, notes, skipped=skipped, warnings=warnings)
        return Dataset(examples, report, labels)

    def text_reader(self, first: Table, columns: ColumnNames, normalization: NormalizationSettings) -> TextReader:
        """A reader of texts and pairs of texts."""
        used, inferred = resolve_columns(first, replace(columns, label=()), self.label_columns, need_target=False)
        return TextReader(first, used, inferred, normalization)

    def score_baselines(
        self, train: Sequence[Example], dev: Sequence[Example] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """The scores of the most common answer and of a linear model on TF-IDF weights."""
        return score_linear(train, dev, self.numbers)


class ClassTarget(RowTarget):
    """One label per row. Labels are strings: whole numbers become "1", whether the source has 1, "1" or 1.0."""

    name = "classification"
    label_columns = CLASS_COLUMNS
    numbers = ClassNumbers()
    rules: ClassVar[LabelRules] = LabelRules("row", "label", one_is_error=True)

    def read_targets(self, table: Table, columns: ColumnNames, unlabeled: Container[int], notes: list[str]) -> Targets:
        """Read one label from each cell; numbers of declared classes become their names."""
        return read_class_targets(table, _only_column(columns), unlabeled)

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check the labels and their names."""
        findings = check_labels(train, dev, self.rules) + check_label_names(train, self.rules)
        remedy = "set task.kind=multilabel to read lists"
        return findings + check_combined_labels(train, remedy, "task.kind=multilabel ")

    def describe_imbalance(self, examples: Sequence[Example]) -> str | None:
        """What to do about a label that outweighs the others."""
        return describe_frequent_label(examples, "rows", "set task.class_weights=balanced, or train.sampling=balanced")


class LabelSetTarget(RowTarget):
    """Any number of labels per row: in one column of lists, or in several 0/1 columns."""

    name = "multilabel"
    label_columns = LIST_COLUMNS
    numbers = LabelSetNumbers()
    rules: ClassVar[LabelRules] = LabelRules("row", "label", one_is_error=False)

    def read_targets(self, table: Table, columns: ColumnNames, unlabeled: Container[int], notes: list[str]) -> Targets:
        """Read 0/1 columns, or a column of lists, delimited texts or 0/1 vectors."""
        label = columns.label or ()
        if isinstance(label, str):
            if not all(map(is_flag, table.column(label))) or label in table.labels:
                return read_list_targets(table, label, columns.label_separator, unlabeled, notes)
            label = (label,)
        return read_flag_targets(table, label, unlabeled), label

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check the labels and their names."""
        findings = check_labels(train, dev, self.rules) + check_label_names(train, self.rules)
        return findings + check_combined_labels(train, "check how lists are written")

    def describe_imbalance(self, examples: Sequence[Example]) -> str | None:
        """What to do about rare labels."""
        return describe_rare_labels(examples)


class NumberTarget(RowTarget):
    """One number per row."""

    name = "regression"
    label_columns = NUMBER_COLUMNS
    numbers = PlainNumbers()

    def read_targets(self, table: Table, columns: ColumnNames, unlabeled: Container[int], notes: list[str]) -> Targets:
        """Read one number from each cell."""
        return read_number_targets(table, _only_column(columns), unlabeled), None

    def describe_scale(self, examples: Sequence[Example]) -> str | None:
        """What to do about numbers that are far from 0."""
        return describe_large_numbers(examples)

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check for targets that do not vary, and for a number that means "no target"."""
        values = {target for target in train.targets if target is not None}
        findings = []
        if len(values) == 1:
            findings.append(Finding("error", "one_label", f"train: every target is {values.pop()}", len(train)))
        placeholder = find_placeholder_number([target for target in train.targets if isinstance(target, float)])
        if placeholder is not None:
            rows = [example for example in train if example.target == placeholder]
            message = (
                f'train: {count_rows(len(rows))} with the target {placeholder:g}, which often means "no target" where '
                "all others are at least 0; skip these rows with "
                f"data.skip_labels={placeholder:g} if it means that"
            )
            findings.append(Finding("warning", "placeholder_target", message, len(rows), places_of(rows)))
        return findings


def _only_column(columns: ColumnNames) -> str:
    return columns.label if isinstance(columns.label, str) else (columns.label or ("",))[0]


CLASS = ClassTarget()
LABEL_SET = LabelSetTarget()
NUMBER = NumberTarget()
