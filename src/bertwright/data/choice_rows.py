"""Dataset of multiple choice: a context, maybe a question, the choices, and which of them is right."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bertwright.data.cell_lists import is_bracketed, parse_list
from bertwright.data.cell_values import (
    check_unicode,
    find_unlabeled,
    label_text,
    read_ids,
    read_texts,
    require_targets,
    shorten,
)
from bertwright.data.column_inference import by_name, check_column_names, infer_id, make_report, require_one
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example, Target
from bertwright.data.table_files import ABSENT, Table
from bertwright.errors import DataError

MIN_CHOICES: Final = 2

# In lower case; of the first group that has a member in the table. SWAG has sent1 and sent2, and both in startphrase;
# RACE article, question, options and answer; COPA premise and question.
_CONTEXTS: Final = (
    *(("context",), ("article",), ("premise",), ("passage",), ("sent1",), ("startphrase",), ("ctx",)),
    *(("paragraph",), ("text",), ("story",), ("goal",), ("sentence",)),
)
_QUESTIONS: Final = (("question",), ("sent2",), ("query",), ("question_stem",), ("asks_for", "asks-for"))
_LISTS: Final = (("choices",), ("options",), ("endings",), ("candidates",))
_NUMBERED: Final = re.compile(
    r"(?P<stem>choice|option|ending|answer|alternative|candidate|sol|solution|opt)[ _-]?(?P<mark>\d+|[a-z])", re.I
)
_LABELS: Final = (
    ("label",),
    ("labels",),
    ("answer",),
    ("answerkey", "answer_key"),
    ("correct",),
    ("target",),
    ("gold",),
)

_BLANK: Final = re.compile(r"(?<![^\W_])_+(?![^\W_])")
"""The gap of a cloze question, as RACE writes it; an underscore inside a word is none."""

_COPA: Final = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
"""The questions that COPA abbreviates to a word, as Roemmele et al. 2011 ask them."""


def choice_text(question: str | None, choice: str) -> str:
    """The second text of a sequence: a choice behind the question, or in its gap.

    >>> choice_text(None, "it rains"), choice_text("Why?", "It rains."), choice_text("He is _ .", "tall")
    ('it rains', 'Why? It rains.', 'He is tall .')
    """
    if not question:
        return choice
    if _BLANK.search(question):
        return _BLANK.sub(lambda _: choice, question)
    return f"{question} {choice}"


def build_choices(table: Table, wanted: ColumnNames, need_target: bool) -> Dataset:
    """The examples of a table whose rows have a context and choices; ``text_pair`` is the question, if there is one.

    Raises:
        DataError: a column is missing or cannot be inferred, a row has fewer than two choices, or a label is none of
            the choices of its row.
    """
    columns, inferred = _resolve(table, wanted, need_target)
    notes = list(table.notes)
    contexts = read_texts(table, columns.text or "", notes)
    questions: Sequence[str | None] = [None] * len(contexts)
    if columns.text_pair is not None:
        questions = _read_questions(table, columns.text_pair, notes)
    choices = _read_choices(table, columns.choices or ())
    targets: Sequence[Target | None] = [None] * len(contexts)
    rows: Sequence[int] = range(table.n_rows)
    skipped = Counter(table.skipped)
    if isinstance(columns.label, str):
        unlabeled = find_unlabeled(table, columns)
        values = [None if i in unlabeled else value for i, value in enumerate(table.column(columns.label))]
        targets, columns = _read_positions(table, columns, values, choices, notes)
        if len(unlabeled) < table.n_rows:
            rows = [i for i in rows if i not in unlabeled]
            skipped.update(f'no label ("{value}")' for value in unlabeled.values())
        if need_target:
            require_targets(table, str(columns.label), rows, [targets[i] for i in rows])
    ids, columns = read_ids(table, columns, "id" in inferred, notes)
    examples = [
        Example(ids[i], contexts[i], questions[i], targets[i], table.where(i), choices=choices[i]) for i in rows
    ]
    used = tuple(name for name in inferred if getattr(columns, name) is not None)
    report = make_report(table, examples, columns, used, notes, skipped=skipped)
    return Dataset(examples, report)


def _resolve(table: Table, wanted: ColumnNames, need_target: bool) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were inferred."""
    label = check_column_names(table, wanted)
    if len(label) > 1:
        raise DataError(f"{table.source}: multiple choice takes one label column, found {', '.join(label)}; name one.")
    columns, inferred = replace(wanted, label=label[0] if label else None), []
    taken = {columns.text, columns.text_pair, columns.id, *label}
    if columns.choices is None:
        columns = replace(columns, choices=_infer_choices(table, taken))
        inferred.append("choices")
    taken |= {columns.choices} if isinstance(columns.choices, str) else set(columns.choices or ())
    if columns.text_pair is None and (questions := by_name(table, _QUESTIONS, taken)):
        columns = replace(columns, text_pair=questions[0])
        inferred.append("text_pair")
    if columns.text is None:
        contexts = by_name(table, _CONTEXTS, {*taken, columns.text_pair})
        if not contexts and columns.text_pair is not None and "text_pair" in inferred:
            # a question without a context is used as the context
            contexts, columns = [columns.text_pair], replace(columns, text_pair=None)
            inferred.remove("text_pair")
        columns = replace(columns, text=require_one(table, contexts, "context", "text"))
        inferred.append("text")
    if wanted.label is None and (
        (labels := by_name(table, _LABELS, {*taken, columns.text, columns.text_pair})) or need_target
    ):
        columns = replace(columns, label=require_one(table, labels, "label", "label"))
        inferred.append("label")
    if columns.id is None and (key := infer_id(table, columns)):
        columns = replace(columns, id=key)
        inferred.append("id")
    return columns, tuple(inferred)


def _infer_choices(table: Table, taken: set[str | None]) -> str | tuple[str, ...]:
    """The column of lists of choices, or the numbered columns of one choice each, in their order."""
    if lists := by_name(table, _LISTS, taken):
        return require_one(table, lists, "choices", "choices")
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in table.names:
        match = _NUMBERED.fullmatch(name.strip())
        if match is not None and name not in taken:
            mark = match["mark"].lower()
            number = int(mark) if mark.isdecimal() else string.ascii_lowercase.index(mark)
            groups.setdefault(match["stem"].lower(), []).append((number, name))
    letters = [name for name in table.names if name.strip() in tuple(string.ascii_uppercase[:10]) and name not in taken]
    groups["letters"] = [(string.ascii_uppercase.index(name.strip()), name) for name in letters]
    numbered = {
        stem: tuple(name for _, name in sorted(group))
        for stem, group in groups.items()
        if len(group) >= MIN_CHOICES and _is_consecutive(sorted(number for number, _ in group))
    }
    if len(numbered) != 1:
        stems = " or ".join(", ".join(names) for names in numbered.values())
        what = f"{stems} could be the choices" if numbered else "cannot infer the columns of the choices"
        raise DataError(
            f"{table.source}: {what} (columns: {', '.join(table.names[:12])}); name a column of lists with "
            "data.choices=…, or columns of one choice each with 'data.choices=[…, …]'."
        )
    return next(iter(numbered.values()))


def _is_consecutive(numbers: Sequence[int]) -> bool:
    return numbers[0] in (0, 1) and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def _read_questions(table: Table, name: str, notes: list[str]) -> list[str | None]:
    """The questions, None where a row has none; COPA's in full, where all are ``cause`` or ``effect``."""
    values = [None if value is ABSENT else value for value in table.column(name)]
    questions = [text.strip() for text in read_texts(replace(table, column=lambda _: values), name, [])]
    if set(questions) - _COPA.keys():
        return [question or None for question in questions]
    notes.append(
        f'{table.source}: "cause" and "effect" in "{name}" are read as "{_COPA["cause"]}" and "{_COPA["effect"]}"'
    )
    return [_COPA[question] for question in questions]


def _read_choices(table: Table, names: str | Sequence[str]) -> list[tuple[str, ...]]:
    """The choices of each row.

    Raises:
        DataError: a cell holds no list of texts, there are fewer than two choices, or one in between is empty.
    """
    if isinstance(names, str):
        rows = [_parse_choices(table, names, i, value) for i, value in enumerate(table.column(names))]
    else:
        cells = zip(*(table.column(name) for name in names), strict=True)
        rows = [_drop_missing(table, names, i, row) for i, row in enumerate(cells)]
    for i, choices in enumerate(rows):
        if len(choices) < MIN_CHOICES:
            raise DataError(f"{table.where(i)}: has {len(choices)} choices; expected at least {MIN_CHOICES}.")
    check_unicode(table, names if isinstance(names, str) else names[0], [" ".join(choices) for choices in rows])
    return rows


def _parse_choices(table: Table, name: str, i: int, value: Any) -> tuple[str, ...]:
    try:
        items = [] if value is None or value is ABSENT else parse_list(value)
        if isinstance(value, str) and not is_bracketed(value.strip()):
            raise ValueError('write a JSON list such as ["yes", "no"]')
        texts = [item if isinstance(item, str) else label_text(item) for item in items]
        if None in texts:
            raise ValueError("a choice in it is empty")
    except (TypeError, ValueError) as error:
        raise DataError(
            f'{table.where(i)}: column "{name}": {shorten(value)} is not a list of choices ({error}).'
        ) from None
    return tuple(text for text in texts if text is not None)


def _drop_missing(table: Table, names: Sequence[str], i: int, row: Sequence[Any]) -> tuple[str, ...]:
    """The choices in the columns of a row; a row with fewer choices than others leaves the last columns empty."""
    texts = [None if value is ABSENT or value == "" else value for value in row]
    texts = [text if text is None or isinstance(text, str) else label_text(text) for text in texts]
    n = max((k + 1 for k, text in enumerate(texts) if text is not None), default=0)
    if None in texts[:n]:
        k = texts.index(None)
        raise DataError(
            f'{table.where(i)}: the choice in "{names[k]}" is empty, but "{names[n - 1]}" is not; fill it in.'
        )
    return tuple(text for text in texts[:n] if text is not None)


Convention = Callable[[str, tuple[str, ...]], int | None]
"""A label and the choices of its row → the position that the label means; None if it means none."""


def _by_text(label: str, choices: tuple[str, ...]) -> int | None:
    matches = [i for i, choice in enumerate(choices) if choice.strip() == label]
    return matches[0] if len(matches) == 1 else None


def _by_letter(label: str, choices: tuple[str, ...]) -> int | None:
    position = string.ascii_uppercase.find(label.upper()) if len(label) == 1 else -1
    return position if 0 <= position < len(choices) else None


def _by_number(first: int) -> Convention:
    def convention(label: str, choices: tuple[str, ...]) -> int | None:
        position = int(label) - first if label.isdecimal() else -1
        return position if 0 <= position < len(choices) else None

    return convention


def _read_positions(
    table: Table, columns: ColumnNames, values: Sequence[Any], choices: Sequence[tuple[str, ...]], notes: list[str]
) -> tuple[list[Target | None], ColumnNames]:
    """The position of each row's right choice, and the columns with the number of the first choice, where known.

    All labels of a table follow one convention: the text of a choice, its position counted from 0 or 1, or its letter.
    Positions count from 1 only where no other convention fits all rows.

    Raises:
        DataError: a label is none of the choices of its row.
    """
    name = str(columns.label)
    labels = [_label_text(table, name, i, value) for i, value in enumerate(values)]
    if labels and set(labels) == {"-1"}:  # a test set whose labels are not published
        return [None] * len(labels), columns
    starts = (0, 1) if columns.first_choice is None else (columns.first_choice,)
    conventions: dict[str, Convention] = {"text": _by_text}
    conventions |= {f"positions from {start}": _by_number(start) for start in starts}
    conventions["letters"] = _by_letter
    read: dict[str, list[int | None]] = {
        key: [None if label is None else convention(label, row) for label, row in zip(labels, choices, strict=True)]
        for key, convention in conventions.items()
    }
    failed = {
        key: [i for i, position in enumerate(positions) if position is None and labels[i] is not None]
        for key, positions in read.items()
    }
    order = ("text", "positions from 0", "letters", "positions from 1")
    best = min(sorted(failed, key=order.index), key=lambda key: len(failed[key]))
    if failed[best]:
        i = failed[best][0]
        raise DataError(_no_choice(table, name, i, str(labels[i]), choices[i], starts))
    if best.startswith("positions"):
        first = int(best[-1])
        if columns.first_choice is None and first == 1:
            notes.append(
                f'{table.source}: the labels in "{name}" are positions counted from 1 (inferred; data.first_choice=0 '
                "overrides it)"
            )
        elif columns.first_choice is None and not failed.get("positions from 1", [0]):
            notes.append(
                f'{table.source}: the labels in "{name}" are read as positions counted from 0, although none is 0; '
                "if the first choice has the number 1, use data.first_choice=1"
            )
        columns = replace(columns, first_choice=first)
    return [None if position is None else str(position) for position in read[best]], columns


def _label_text(table: Table, name: str, i: int, value: Any) -> str | None:
    try:
        return label_text(value)
    except TypeError:
        raise DataError(
            f'{table.where(i)}: label column "{name}": {shorten(value)} is not a label; expected the position of a '
            "choice, its letter or its text."
        ) from None


def _no_choice(table: Table, name: str, i: int, label: str, choices: tuple[str, ...], starts: Sequence[int]) -> str:
    """The sentence about a label that is none of its row's choices."""
    last = len(choices) - 1 + starts[0]
    copies = sum(choice.strip() == label for choice in choices)
    if copies > 1:
        return (
            f'{table.where(i)}: the label "{shorten(label)}" in "{name}" is the text of {copies} choices; '
            f"give the position of one, {starts[0]} to {last}."
        )
    letter = string.ascii_uppercase[: len(choices)][-1]
    return (
        f'{table.where(i)}: the label "{shorten(label)}" in "{name}" is none of the {len(choices)} choices; expected '
        f"a position from {starts[0]} to {last}, a letter from A to {letter}, or the text of a choice."
    )
