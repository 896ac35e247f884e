"""What the cells of a table mean: texts, ids, and targets as labels, numbers or lists of labels."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from bertwright.errors import DataError
from bertwright.text.example import Target
from bertwright.text.rows import Columns, Kind
from bertwright.text.tables import ABSENT, Table

_FLAGS: Final[dict[Any, bool]] = {
    **dict.fromkeys((0, "0", "0.0", "false", "False", "FALSE"), False),
    **dict.fromkeys((1, "1", "1.0", "true", "True", "TRUE"), True),
}
_LARGEST: Final = 3.4028234e38  # of float32, which models compute in
_WHOLE: Final = re.compile(r"(-?\d+)\.0+")


def shown_names(names: Sequence[str]) -> str:
    """Names for a message, no more than a dozen."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def is_flag(value: Any) -> bool:
    """Whether a value says 0 or 1."""
    try:
        return value in _FLAGS
    except TypeError:  # a list
        return False


def read_texts(table: Table, name: str, notes: list[str]) -> list[str]:
    """The texts of a column; missing ones are empty texts, which ``notes`` then says.

    Raises:
        DataError: a value is no text, or no valid Unicode.
    """
    values = table.column(name)
    if set(map(type, values)) - {str}:
        values = [_text_value(table, name, i, value) for i, value in enumerate(values)]
        if missing := values.count(None):
            notes.append(
                f'{table.source}: {missing:,} values of the column "{name}" are missing and read as empty texts'
            )
            values = [value or "" for value in values]
    check_unicode(table, name, values)
    return list(values)


def check_unicode(table: Table, name: str, values: Sequence[str]) -> None:
    """See that the texts of a column are valid Unicode.

    Raises:
        DataError: one holds half of a surrogate pair, which JSON can.
    """
    try:
        "\n".join(values).encode()
    except UnicodeEncodeError:
        i = next(i for i, value in enumerate(values) if re.search("[\ud800-\udfff]", value))
        raise DataError(
            f'{table.where(i)}: the text in "{name}" holds half of a surrogate pair, so it is no valid Unicode; '
            "write the file again as UTF-8."
        ) from None


def _text_value(table: Table, name: str, i: int, value: Any) -> str | None:
    if value is ABSENT:
        raise DataError(f'{table.where(i)}: lacks the column "{name}"; every row needs one.')
    if value is None or isinstance(value, str):
        return value
    kind = type(value).__name__
    raise DataError(f'{table.where(i)}: the column "{name}" should hold a text, found {shortened(value)} ({kind}).')


def shortened(value: Any) -> str:
    """A value for a message."""
    shown = value if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def read_ids(table: Table, columns: Columns, guessed: bool, notes: list[str]) -> tuple[list[str], Columns]:
    """The ids of the rows, and the columns: without an id where the guessed one does not tell rows apart.

    Raises:
        DataError: the column that the user named does not tell rows apart.
    """
    numbers = [str(i) for i in range(table.n_rows)]
    if columns.id is None:
        return numbers, columns
    values = list(map(_id_text, table.column(columns.id)))
    if len(set(values)) == len(values) and "" not in values:
        return values, columns
    seen: dict[str, int] = {}
    for i, value in enumerate(values):
        if not value or value in seen:
            what = f'"{value}" stands at {table.where(seen[value])} too' if value else "is empty"
            message = f'{table.where(i)}: the id in "{columns.id}" {what}'
            break
        seen[value] = i
    if not guessed:
        raise DataError(f"{message}; ids must be unique, or leave data.id out and rows are numbered.")
    notes.append(f"{message}, so rows are numbered instead")
    return numbers, replace(columns, id=None)


def _id_text(value: Any) -> str:
    try:
        return label_text(value) or ""
    except TypeError:  # a date, a UUID
        return str(value)


def read_targets(
    table: Table, label: str | tuple[str, ...], kind: Kind, need_target: bool
) -> tuple[list[Target | None], tuple[str, ...] | None]:
    """The target of each row, and the labels the table declares.

    Raises:
        DataError: a value cannot be a target of this kind, or is missing where one is needed.
    """
    targets: list[Target | None]
    names = (label,) if isinstance(label, str) else label
    if kind == "multilabel":
        flagged = not isinstance(label, str) or (all(map(is_flag, table.column(label))) and label not in table.labels)
        targets = _flag_targets(table, names) if flagged else _list_targets(table, names[0])
        labels = names if flagged else table.labels.get(names[0])
    else:
        values = table.column(names[0])
        classes = table.labels.get(names[0]) if kind == "classification" else None
        convert = _number if kind == "regression" else class_namer(classes) if classes else label_text
        targets = _converted(table, names[0], values, convert)
        labels = classes
    if need_target and None in targets:
        i = targets.index(None)
        raise DataError(
            f'{table.where(i)}: the label column "{names[0]}" is empty; every row needs a target here '
            f"({targets.count(None):,} rows have none)."
        )
    return targets, labels


def _converted(table: Table, name: str, values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Each value converted, each distinct one once; a value that cannot be is named with its place."""
    known: dict[tuple[type, Any], Any] = {}
    converted = []
    for i, value in enumerate(values):
        try:
            key = (type(value), value)
            if key not in known:
                known[key] = convert(value)
            converted.append(known[key])
        except (TypeError, ValueError) as error:
            what = str(error)
            if isinstance(error, TypeError):
                what = f"{shortened(value)} is no single label; lists of labels need the kind multilabel"
            raise DataError(f'{table.where(i)}: label column "{name}": {what}.') from None
    return converted


def label_text(value: Any) -> str | None:
    """A label as a string: whole numbers without a fraction ("1", also for 1.0), others as they are, trimmed.

    The rule looks at one value alone, so a label reads the same in train and dev whatever else is there.

    >>> label_text(1.0), label_text(" positive "), label_text("2.50"), label_text("")
    ('1', 'positive', '2.50', None)
    """
    if isinstance(value, str):
        value = value.strip()
        whole = _WHOLE.fullmatch(value)
        return whole[1] if whole else value or None
    if value is None or value is ABSENT or value != value:  # NaN differs from itself
        return None
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no label")


def whole_number(value: Any) -> int | None:
    """A whole number in a cell, such as the offset of a character, or None if it is none.

    Whole numbers of numpy are those of Python; ``17.0`` is 17, as pandas writes the whole numbers of a column with
    missing values.
    """
    try:
        return operator.index(value)
    except TypeError:
        return int(value) if isinstance(value, float) and value.is_integer() else None


def _number(value: Any) -> float | None:
    if value is None or value is ABSENT or value != value or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except ValueError:
        remedy = "; write decimals with a point" if "," in value else ""
        raise ValueError(f'"{shortened(value)}" is not a number{remedy}') from None
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    if abs(number) > _LARGEST:
        raise ValueError(f"{value} is more than a model can be trained on; scale the column down")
    return number


def class_namer(classes: Sequence[str]) -> Callable[[Any], str | None]:
    """A function from the number of a class to its name; -1 is how hidden test sets say that there is none."""

    def name(value: Any) -> str | None:
        text = label_text(value)
        # A string may be the name itself; a number never is, even of a class that is called "1".
        if text is None or (isinstance(value, str) and text in classes):
            return text
        if text == "-1":
            return None
        if not text.isdecimal() or int(text) >= len(classes):
            raise ValueError(f"{shortened(value)} is none of the {len(classes)} classes {shown_names(classes)}")
        return classes[int(text)]

    return name


def _flag_targets(table: Table, names: tuple[str, ...]) -> list[Target | None]:
    """The names of the 0/1 columns that are 1; None where all are missing."""
    flags: list[list[bool | None]] = []
    for name in names:
        values = table.column(name)
        for i, value in enumerate(values):
            if not is_flag(value) and value not in (None, ABSENT, ""):
                raise DataError(f'{table.where(i)}: the column "{name}" should hold 0 or 1, found {shortened(value)}.')
        flags.append([None if value in (None, ABSENT, "") else _FLAGS[value] for value in values])
    targets: list[Target | None] = []
    for i, row in enumerate(zip(*flags, strict=True)):
        if None in row and set(row) != {None}:
            empty = names[row.index(None)]
            raise DataError(
                f'{table.where(i)}: the column "{empty}" is empty while others are not; it should hold 0 or 1.'
            )
        targets.append(None if None in row else tuple(name for name, flag in zip(names, row, strict=True) if flag))
    return targets


def _list_targets(table: Table, name: str) -> list[Target | None]:
    """The labels of each row of a column of lists, "a,b" strings, or lists written as JSON or Python."""
    convert = class_namer(table.labels[name]) if name in table.labels else label_text
    targets: list[Target | None] = []
    for i, value in enumerate(table.column(name)):
        try:
            labels = None if value is None or value is ABSENT else [convert(item) for item in items_of(value)]
            if labels is not None and None in labels:
                raise ValueError("an empty label in the list")
        except (TypeError, ValueError) as error:
            raise DataError(
                f'{table.where(i)}: label column "{name}": {shortened(value)} is no list of labels ({error}).'
            ) from None
        targets.append(None if labels is None else tuple(dict.fromkeys(label for label in labels if label)))
    return targets


def items_of(value: Any) -> Iterable[Any]:
    """The items of a list, of an array, of a list written as JSON or Python, or of a text with commas.

    Raises:
        ValueError: a text begins like a list and is none.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return value
    if not isinstance(value, str):
        return [value]
    text = value.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            try:
                found = ast.literal_eval(text)  # how pandas writes a list into a CSV
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                raise ValueError("it is neither JSON nor a Python list") from None
        return list(found)
    return [part for part in text.split(",") if part.strip()]


def records_of(value: Any) -> list[Any]:
    """The items of a list of dicts, or of the dict of lists that ``datasets`` makes of one.

    >>> records_of({"text": ["a", "b"], "start": [0, 5]})
    [{'text': 'a', 'start': 0}, {'text': 'b', 'start': 5}]

    Raises:
        TypeError: it is neither.
        ValueError: the lists differ in length.
    """
    if isinstance(value, dict):
        columns = {name: list(items_of(items)) for name, items in value.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(f"{shortened(value)} ({type(value).__name__}) is no list of objects")
    return list(value)
