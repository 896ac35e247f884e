"""Answers: the pieces of a context that answer a question, or none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from bertwright.data.dataset import ColumnNames, Dataset, answers_of
from bertwright.data.example import Answer, Example, Target
from bertwright.data.findings import Finding, count_rows, name_splits, places_of
from bertwright.data.squad import NOT_IN_CONTEXT, build_answer_dataset, read_squad
from bertwright.data.table_files import Table
from bertwright.data.targets.spec import TargetSpec


class AnswerTarget(TargetSpec):
    """The answers to a question, as pieces of its context; none if the context does not answer it.

    The reader takes SQuAD's JSON, and tables with columns of questions (``text``), contexts (``text_pair``) and answers
    (``label``).
    """

    name = "qa"
    has_published_layouts = False
    shares_columns = False
    reads_windows = True
    leakage_noun: ClassVar[str] = "context"

    def read_file(self, path: Path, encoding: str, columns: ColumnNames, limit: int | None) -> Table:
        """Read SQuAD's JSON, or a table."""
        return read_squad(path, encoding, columns.header)

    def tuple_columns(self, width: int, labeled: bool) -> tuple[list[str], str]:
        """``(question, context)`` or ``(question, context, answers)``."""
        names = ["text", "text_pair", "label"][:width] if width > 1 else []
        return names, "(question, context) or (question, context, answers)"

    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The examples of a table of questions, contexts and answers."""
        return build_answer_dataset(table, columns, need_target)

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check for questions without an answer and answers outside their context, and report how long answers are."""
        findings = []
        without = {name: [e for e in rows if e.target == ()] for name, rows in name_splits(train, dev)}
        for name, rows in name_splits(train, dev):
            if n := len(without[name]):
                message = (
                    f"{name}: {n:,} of {len(rows):,} questions ({n / len(rows):.1%}) have no answer in their context"
                )
                findings.append(Finding("note", "unanswerable", message, n))
        if (unanswerable := without.get("dev")) and not without["train"]:
            message = "dev: some questions have no answer, but none in train, so a model cannot learn to give none"
            finding = Finding("warning", "never_unanswerable", message, len(unanswerable), places_of(unanswerable))
            findings.append(finding)
        return findings + _check_places(train) + _report_lengths(train)

    def conflict_key(self, target: Target | None) -> Hashable:
        """A question may have several answers; only having none contradicts them."""
        return "answered" if target else target

    def leakage_key(self, example: Example) -> Hashable:
        """The context, because one text may have many questions."""
        return example.text_pair

    def groups_of(self, examples: Sequence[Example]) -> list[str]:
        """The contexts, so that no model is evaluated on a text that it was trained on."""
        return [example.text_pair or "" for example in examples]


def _answers(train: Sequence[Example]) -> list[tuple[Answer, ...]]:
    return [answers_of(example.target) for example in train]


def _check_places(train: Dataset) -> list[Finding]:
    lost = [
        example
        for example, answers in zip(train, _answers(train), strict=True)
        if answers and all(answer.start == NOT_IN_CONTEXT for answer in answers)
    ]
    if not lost:
        return []
    message = f"train: {count_rows(len(lost))} whose answers do not occur in their context; the model cannot learn them"
    return [Finding("warning", "lost_answer", message, len(lost), places_of(lost))]


def _report_lengths(train: Dataset) -> list[Finding]:
    words = [len(answer.text.split()) for answers in _answers(train) for answer in answers]
    if not words:
        return []
    median, high, longest = (int(n) for n in np.quantile(words, [0.5, 0.99, 1], method="higher"))
    message = f"train: words per answer: median {median}, 99 % {high}, max {longest}"
    return [Finding("note", "answer_lengths", message, len(words))]


ANSWERS = AnswerTarget()
