"""Questions with the texts that answer them: SQuAD's own JSON, v1.1 and v2.0, and tables of the same columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bertwright.data.cell_lists import parse_records
from bertwright.data.cell_values import read_ids, read_texts, shortened, whole_number
from bertwright.data.column_inference import by_name, check_named, guess_id, make_report, the_one
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Answer, Example
from bertwright.data.table_files import ABSENT, Table, load_text, read_table, table_of_dicts
from bertwright.errors import DataError

NOWHERE: Final = -1
"""The start of an answer that does not stand in its context: evaluation reads only its text, nothing learns from it."""

NEAR: Final = 20
"""An answer is looked for within so many characters of a wrong offset, if it occurs more than once.

Offsets go wrong by a few characters, when white space is stripped or bytes are counted. Of the 87,599 answers of SQuAD
v1.1's training set only 249 stand a second time so near, so the nearest one is rarely another one.
"""

_QUESTIONS: Final = (("question",), ("query",))
_CONTEXTS: Final = (("context",), ("passage", "paragraph"), ("document", "text"))
_ANSWERS: Final = (("answers",), ("answer",))
_IMPOSSIBLE: Final = "is_impossible"
_OFFICIAL: Final = ColumnNames("question", "context", "answers", "id")  # to take these is no guess


def read_squad(path: Path, encoding: str = "utf-8", has_header: bool = True) -> Table:
    """The questions of a file as the rows of a table: SQuAD's JSON, or any table whose rows are questions.

    Raises:
        DataError: the file is missing, damaged, empty or not in SQuAD's format; with the place of what is wrong.
    """
    if Path(path.name.lower().removesuffix(".gz")).suffix != ".json":
        return read_table(path, encoding, has_header)
    text, source = load_text(path, encoding), str(path)
    if not text.lstrip().startswith("{"):
        return read_table(path, encoding, has_header)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line
            return read_table(path, encoding, has_header)
        raise DataError(f"{source}:{error.lineno}: is not JSON ({error.msg}); is the file whole?") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: is not JSON that can be read ({error}); is the file whole?") from None
    if "data" not in whole:
        return read_table(path, encoding, has_header)
    return _official(whole["data"], source)


def _official(data: Any, source: str) -> Table:
    """The table of ``data[].paragraphs[].qas[]``; or of ``data[]``, if its items are questions already."""
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
        raise DataError(f"{source}: holds no questions; is it the right file?")

    def where_is(i: int) -> str:
        a, p, q = places[i]
        return f"{root}[{a}].paragraphs[{p}].qas[{q}]"

    return table_of_dicts(rows, source, where_is)


def _get(item: Any, key: str, where: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        found = ", ".join(item) if isinstance(item, dict) else type(item).__name__
        raise DataError(f'{where}: expected an object with "{key}", as in SQuAD\'s format, found {found}.')
    return item[key]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, as in SQuAD's format, found {type(value).__name__}.")
    return value


def build_answers(table: Table, wanted: ColumnNames, need_target: bool) -> Dataset:
    """The examples of a table of questions, contexts and answers (``{"text": […], "answer_start": […]}``).

    A question that its context does not answer has no answers in its list. An answer whose offset is wrong is moved
    to where its text stands in the context, if that is in one place only or within ``NEAR`` characters; else it keeps
    its text and starts ``NOWHERE``. The report counts both. Examples share the text of their context.

    Raises:
        DataError: a column is not there or cannot be guessed, an id stands twice, answers are not as they should be,
            or are missing where they are needed.
    """
    columns, guessed = _resolve(table, wanted, need_target)
    notes = list(table.notes)
    questions = read_texts(table, columns.text or "", notes)
    contexts = read_texts(table, columns.text_pair or "", notes)
    known: dict[str, str] = {}
    contexts = [known.setdefault(context, context) for context in contexts]
    targets: list[tuple[Answer, ...] | None] = [None] * len(questions)
    if isinstance(columns.label, str):
        reader = _Answers()
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
            f"{table.where(i)}: has no answers; every question needs some here, or to be marked is_impossible "
            f"({n:,} questions have none)."
        )
    ids = _ids(table, columns, notes)
    examples = [Example(ids[i], questions[i], contexts[i], targets[i], table.where(i)) for i in range(table.n_rows)]
    used = tuple(key for key in guessed if getattr(columns, key) not in (None, getattr(_OFFICIAL, key)))
    report = make_report(table, examples, columns, used, notes)
    return Dataset(examples, report)


def _resolve(table: Table, wanted: ColumnNames, need_target: bool) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were guessed."""
    label = check_named(table, wanted)
    if len(label) > 1:
        raise DataError(f"{table.source}: questions take one column of answers, found {', '.join(label)}; name one.")
    columns, guessed = replace(wanted, label=label[0] if label else None), []
    taken = {columns.text, columns.text_pair, *label}
    if columns.text is None:
        columns = replace(columns, text=the_one(table, by_name(table, _QUESTIONS, taken), "question", "text"))
        guessed.append("text")
    if columns.text_pair is None:
        found = by_name(table, _CONTEXTS, {*taken, columns.text})
        columns = replace(columns, text_pair=the_one(table, found, "context", "text_pair"))
        guessed.append("text_pair")
    if wanted.label is None and ((found := by_name(table, _ANSWERS, taken)) or need_target):
        columns = replace(columns, label=the_one(table, found, "answers", "label"))
        guessed.append("label")
    if columns.id is None and (key := guess_id(table, columns, ("qid", "question_id"))):
        columns = replace(columns, id=key)
        guessed.append("id")
    return columns, tuple(guessed)


def _ids(table: Table, columns: ColumnNames, notes: list[str]) -> list[str]:
    """The ids of the questions; predictions are written under them, so a guessed column must tell them apart too."""
    try:
        return read_ids(table, columns, False, notes)[0]
    except DataError as error:
        first = str(error).partition(";")[0]
        raise DataError(f"{first}; predictions are written under the ids, so each question needs its own.") from None


@dataclass
class _Answers:
    """The answers of one question after the other, with a count of what was not as it should be."""

    moved: int = 0
    missing: int = 0
    ignored: int = 0

    def read(self, cell: Any, context: str, impossible: Any) -> tuple[Answer, ...] | None:
        """The answers in a cell; none if the question has no answer, None if that is not known."""
        items = None if cell is None or cell is ABSENT else parse_records(cell)
        if impossible is not None and impossible is not ABSENT:
            if not isinstance(impossible, (bool, np.bool_)):
                raise ValueError(f"{_IMPOSSIBLE} should be true or false, found {shortened(impossible)}")
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
            raise ValueError(f'an answer is {{"text": "…", "answer_start": 0}}, found {shortened(item)}')
        if not text.strip():
            raise ValueError("the text of an answer is empty; a question without an answer has an empty list")
        if start is not None and start < 0:
            start = None
        if start is not None and context.startswith(text, start):
            return Answer(text, start)
        found = _found(text, context, start)
        self.moved += found != NOWHERE and start is not None and start != found
        self.missing += found == NOWHERE
        return Answer(text, found)

    def notes(self) -> list[str]:
        """What was not as it should be, as sentences."""
        notes = []
        if self.moved:
            notes.append(f"{self.moved:,} answers whose offset was wrong are moved to where their text stands")
        if self.missing:
            notes.append(
                f"{self.missing:,} answers do not stand in their context; they count in evaluation, "
                "but nothing can be learnt from them"
            )
        if self.ignored:
            notes.append(f"{self.ignored:,} questions are marked {_IMPOSSIBLE}, so their answers are not read")
        return notes


def _found(text: str, context: str, start: int | None) -> int:
    """Where an answer stands that is not where it was said to be."""
    first = context.find(text)
    if first < 0 or first == context.rfind(text):
        return first
    if start is None:
        return NOWHERE
    before = context.rfind(text, max(start - NEAR, 0), start + len(text))
    after = context.find(text, start, start + NEAR + len(text))
    near = [place for place in (before, after) if place >= 0]
    return min(near, key=lambda place: abs(place - start), default=NOWHERE)
