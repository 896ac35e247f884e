"""Extractive question answering data: SQuAD's own JSON, v1.1 and v2.0, and tables with the same columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bertwright.data.cell_lists import parse_records
from bertwright.data.cell_values import read_ids, read_texts, shorten, whole_number
from bertwright.data.column_inference import by_name, check_column_names, infer_id, make_report, require_one
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Answer, Example
from bertwright.data.table_files import ABSENT, Table, read_table, table_of_dicts
from bertwright.data.text_files import format_suffix, load_text
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

NOT_IN_CONTEXT: Final = -1
"""The start of an answer that does not occur in its context; it is used in evaluation but not in training."""

MAX_OFFSET_ERROR: Final = 20
"""Maximum distance, in characters, between a wrong offset and an answer that occurs more than once.

Offsets are usually wrong by a few characters, when white space is stripped or bytes are counted. Of the 87,599 answers
of SQuAD v1.1's training set only 249 occur a second time so near, so the nearest occurrence is nearly always right."""

_QUESTIONS: Final = (("question",), ("query",))
_CONTEXTS: Final = (("context",), ("passage", "paragraph"), ("document", "text"))
_ANSWERS: Final = (("answers",), ("answer",))
_IMPOSSIBLE: Final = "is_impossible"
_OFFICIAL: Final = ColumnNames("question", "context", "answers", "id")  # not reported as inferred


def read_squad(path: Path, encoding: str = "utf-8", has_header: bool = True) -> Table:
    """Read the questions of a file as the rows of a table: SQuAD's JSON, or any table with one question per row.

    Raises:
        DataError: the file is missing, damaged, empty or not in SQuAD's format; the message names the position.
    """
    if format_suffix(path) != ".json":
        return read_table(path, encoding, has_header)
    text, source = load_text(path, encoding), str(path)
    if not text.lstrip().startswith("{"):
        return read_table(path, encoding, has_header)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object per line
            return read_table(path, encoding, has_header)
        raise DataError(
            f"{source}:{error.lineno}: is not valid JSON ({error.msg}); check that the file is complete."
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: cannot be read as JSON ({error}); check that the file is complete.") from None
    if "data" not in content:
        return read_table(path, encoding, has_header)
    return _parse_official(content["data"], source)


def _parse_official(data: Any, source: str) -> Table:
    """The table of ``data[].paragraphs[].qas[]``, or of ``data[]`` if its items are questions."""
    root = f"{source}:data"
    if isinstance(data, list) and data and isinstance(data[0], dict) and "question" in data[0]:
        return table_of_dicts(data, source, lambda i: f"{root}[{i}]")
    rows: list[dict[str, Any]] = []
    places: list[tuple[int, int, int]] = []
    for a, article in enumerate(_list(data, root)):
        for p, paragraph in enumerate(_list(_get(article, "paragraphs", f"{root}[{a}]"), f"{root}[{a}].paragraphs")):
            where = f"{root}[{a}].paragraphs[{p}]"
            context = _get(paragraph, "context", where)
            for q, question in enumerate(_list(_get(paragraph, "qas", where), f"{where}.qas")):
                _get(question, "question", f"{where}.qas[{q}]")
                rows.append({**question, "context": context})
                places.append((a, p, q))
    if not rows:
        raise DataError(f"{source}: has no questions; check that it is the right file.")

    def where_is(i: int) -> str:
        a, p, q = places[i]
        return f"{root}[{a}].paragraphs[{p}].qas[{q}]"

    return table_of_dicts(rows, source, where_is)


def _get(item: Any, key: str, where: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        actual = ", ".join(item) if isinstance(item, dict) else type(item).__name__
        raise DataError(f'{where}: expected an object with "{key}", as in SQuAD\'s format, found {actual}.')
    return item[key]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, as in SQuAD's format, found {type(value).__name__}.")
    return value


def build_answer_dataset(table: Table, requested: ColumnNames, need_target: bool) -> Dataset:
    """Build the examples of a table of questions, contexts and answers (``{"text": […], "answer_start": […]}``).

    An unanswerable question has an empty list of answers. An answer with a wrong offset is moved to its text in the
    context, if the text occurs once or within ``MAX_OFFSET_ERROR`` characters; otherwise it keeps its text and starts
    at
    ``NOT_IN_CONTEXT``. The report counts both. Examples with the same context share its string.

    Raises:
        DataError: a column does not exist or cannot be inferred, an id is not unique, or answers are invalid or
            missing.
    """
    columns, inferred = _resolve(table, requested, need_target)
    notes = list(table.notes)
    questions = read_texts(table, columns.text or "", notes)
    contexts = read_texts(table, columns.text_pair or "", notes)
    interned: dict[str, str] = {}
    contexts = [interned.setdefault(context, context) for context in contexts]
    targets: list[tuple[Answer, ...] | None] = [None] * len(questions)
    if isinstance(columns.label, str):
        reader = _AnswerReader()
        impossible: Sequence[Any] = [ABSENT] * len(questions)
        if _IMPOSSIBLE in table.names:
            impossible = table.column(_IMPOSSIBLE)
        for i, cell in enumerate(table.column(columns.label)):
            try:
                targets[i] = reader.read(cell, contexts[i], impossible[i])
            except (TypeError, ValueError) as error:
                raise DataError(f'{table.where(i)}: column "{columns.label}": {error}.') from None
        notes += [f"{table.source}: {note}" for note in reader.notes()]
    if need_target and None in targets:
        i, n = targets.index(None), targets.count(None)
        raise DataError(
            f"{table.where(i)}: has no answers; add answers or mark the question as is_impossible "
            f"({pluralize(n, 'question')} without answers)."
        )
    ids = _ids(table, columns, notes)
    examples = [Example(ids[i], questions[i], contexts[i], targets[i], table.where(i)) for i in range(table.n_rows)]
    used = tuple(key for key in inferred if getattr(columns, key) not in (None, getattr(_OFFICIAL, key)))
    report = make_report(table, examples, columns, used, notes)
    return Dataset(examples, report)


def _resolve(table: Table, requested: ColumnNames, need_target: bool) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were inferred."""
    label = check_column_names(table, requested)
    if len(label) > 1:
        raise DataError(f"{table.source}: expected one column of answers, found {', '.join(label)}; name one of them.")
    columns, inferred = replace(requested, label=label[0] if label else None), []
    taken = {columns.text, columns.text_pair, *label}
    if columns.text is None:
        columns = replace(columns, text=require_one(table, by_name(table, _QUESTIONS, taken), "question", "text"))
        inferred.append("text")
    if columns.text_pair is None:
        matches = by_name(table, _CONTEXTS, {*taken, columns.text})
        columns = replace(columns, text_pair=require_one(table, matches, "context", "text_pair"))
        inferred.append("text_pair")
    if requested.label is None and ((matches := by_name(table, _ANSWERS, taken)) or need_target):
        columns = replace(columns, label=require_one(table, matches, "answers", "label"))
        inferred.append("label")
    if columns.id is None and (key := infer_id(table, columns, ("qid", "question_id"))):
        columns = replace(columns, id=key)
        inferred.append("id")
    return columns, tuple(inferred)


def _ids(table: Table, columns: ColumnNames, notes: list[str]) -> list[str]:
    """The ids of the questions, which must be unique because predictions are written by id."""
    try:
        return read_ids(table, columns, False, notes)[0]
    except DataError as error:
        first = str(error).partition(";")[0]
        raise DataError(f"{first}; question ids must be unique, because predictions are written by id.") from None


@dataclass
class _AnswerReader:
    """Reads the answers of questions, and counts corrections."""

    moved: int = 0
    missing: int = 0
    ignored: int = 0

    def read(self, cell: Any, context: str, impossible: Any) -> tuple[Answer, ...] | None:
        """The answers in a cell: () if the question is unanswerable, None if that is unknown."""
        items = None if cell is None or cell is ABSENT else parse_records(cell)
        if impossible is not None and impossible is not ABSENT:
            if not isinstance(impossible, (bool, np.bool_)):
                raise ValueError(f"{_IMPOSSIBLE} must be true or false, found {shorten(impossible)}")
            if impossible:
                self.ignored += bool(items)
                return ()
            items = items or None
        return None if items is None else tuple(self._answer(item, context) for item in items)

    def _answer(self, item: Any, context: str) -> Answer:
        if isinstance(item, dict):
            item = (item.get("text"), item.get("answer_start"))
        text, offset = item if isinstance(item, (list, tuple)) and len(item) == 2 else (None, None)
        start = whole_number(offset)
        if not isinstance(text, str) or (start is None and offset is not None and offset == offset):
            raise ValueError(f'expected an answer {{"text": "…", "answer_start": 0}}, found {shorten(item)}')
        if not text.strip():
            raise ValueError("the text of an answer is empty; a question without an answer has an empty list")
        if start is not None and start < 0:
            start = None
        if start is not None and context.startswith(text, start):
            return Answer(text, start)
        located = _locate(text, context, start)
        self.moved += located != NOT_IN_CONTEXT and start is not None and start != located
        self.missing += located == NOT_IN_CONTEXT
        return Answer(text, located)

    def notes(self) -> list[str]:
        """Describe the corrections in sentences."""
        notes = []
        if self.moved:
            notes.append(f"corrected the wrong offset of {pluralize(self.moved, 'answer')}")
        if self.missing:
            notes.append(
                f"{pluralize(self.missing, 'answer')} not found in the context; used in evaluation, but not in training"
            )
        if self.ignored:
            notes.append(f"ignored the answers of {pluralize(self.ignored, 'question')} marked {_IMPOSSIBLE}")
        return notes


def _locate(text: str, context: str, start: int | None) -> int:
    """Find the start of an answer whose offset is wrong."""
    first = context.find(text)
    if first < 0 or first == context.rfind(text):
        return first
    if start is None:
        return NOT_IN_CONTEXT
    before = context.rfind(text, max(start - MAX_OFFSET_ERROR, 0), start + len(text))
    after = context.find(text, start, start + MAX_OFFSET_ERROR + len(text))
    near = [place for place in (before, after) if place >= 0]
    return min(near, key=lambda place: abs(place - start), default=NOT_IN_CONTEXT)
