"""What the cells of a table mean: texts, ids, and targets as labels, numbers or lists of labels."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any, Final

from bertwright.data.cell_lists import has_indicator_vectors, infer_separator, parse_list
from bertwright.data.dataset import ColumnNames
from bertwright.data.example import Target
from bertwright.data.table_files import ABSENT, Table
from bertwright.errors import DataError

_FLAGS: Final[dict[Any, bool]] = {
    **dict.fromkeys((0, "0", "0.0", "false", "False", "FALSE"), False),
    **dict.fromkeys((1, "1", "1.0", "true", "True", "TRUE"), True),
}
_LARGEST: Final = 3.4028234e38  # of float32, which models compute in
_WHOLE: Final = re.compile(r"(-?\d+)\.0+")


def format_names(names: Sequence[str]) -> str:
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
    texts, n_missing = fill_missing_texts(table, name)
    notes += describe_missing_texts(table.source, name, n_missing)
    return texts


def fill_missing_texts(table: Table, name: str) -> tuple[list[str], int]:
    """The texts of a column, and the number of missing ones, which are empty texts.

    Raises:
        DataError: a value is no text, or no valid Unicode.
    """
    values = table.column(name)
    n_missing = 0
    if set(map(type, values)) - {str}:
        values = [_text_value(table, name, i, value) for i, value in enumerate(values)]
        n_missing = values.count(None)
        values = [value or "" for value in values]
    check_unicode(table, name, values)
    return list(values), n_missing


def describe_missing_texts(source: str, name: str, n: int) -> list[str]:
    """A note that texts are missing; none if none are."""
    return [f'{source}: {n:,} values of the column "{name}" are missing and read as empty texts'] if n else []


def check_unicode(table: Table, name: str, values: Sequence[str]) -> None:
    """Check that the texts of a column are valid Unicode.

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
    raise DataError(f'{table.where(i)}: the column "{name}" should hold a text, found {shorten(value)} ({kind}).')


def shorten(value: Any) -> str:
    """A value for a message."""
    shown = value if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def read_ids(table: Table, columns: ColumnNames, inferred: bool, notes: list[str]) -> tuple[list[str], ColumnNames]:
    """The ids of the rows, and the columns: without an id if the inferred one is not unique.

    Raises:
        DataError: the column that the user named is not unique.
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
            what = f'"{value}" is also that of {table.where(seen[value])}' if value else "is empty"
            message = f'{table.where(i)}: the id in "{columns.id}" {what}'
            break
        seen[value] = i
    if not inferred:
        raise DataError(f"{message}; ids must be unique; name another column, or remove data.id to number the rows.")
    notes.append(f"{message}, so rows are numbered instead")
    return numbers, replace(columns, id=None)


def _id_text(value: Any) -> str:
    try:
        return label_text(value) or ""
    except TypeError:  # a date, a UUID
        return str(value)


def read_class_targets(
    table: Table, name: str, unlabeled: Container[int]
) -> tuple[list[Target | None], tuple[str, ...] | None]:
    """Read one label from each cell of a column, and the classes that the table declares for it.

    Args:
        table: whose rows are read.
        name: the column.
        unlabeled: rows whose label means "no label"; see :func:`find_unlabeled`.

    Raises:
        DataError: a value is no label.
    """
    classes = table.labels.get(name)
    values = _read_labeled_values(table, name, unlabeled)
    return _convert_values(table, name, values, class_namer(classes) if classes else label_text), classes


def read_number_targets(table: Table, name: str, unlabeled: Container[int]) -> list[Target | None]:
    """Read one number from each cell of a column.

    Raises:
        DataError: a value is no number.
    """
    return _convert_values(table, name, _read_labeled_values(table, name, unlabeled), _number)


def _read_labeled_values(table: Table, name: str, unlabeled: Container[int]) -> list[Any]:
    return [None if i in unlabeled else value for i, value in enumerate(table.column(name))]


def find_unlabeled(table: Table, columns: ColumnNames) -> dict[int, str]:
    """Find the rows whose label means "no label": row → its value.

    These are the values that ``data.skip_labels`` lists, "-" in a column ``gold_label`` (SNLI and MNLI: the annotators
    did not agree) and -1 where a data set declares its classes.
    """
    names = (columns.label,) if isinstance(columns.label, str) else columns.label or ()
    skipped: dict[int, str] = {}
    for position, name in enumerate(names):
        placeholders = set(columns.skip_labels)
        placeholders |= {"-"} if name.lower() == "gold_label" else set()
        placeholders |= {"-1"} if name in table.labels else set()
        if not placeholders:
            return {}
        texts = {i: _placeholder_text(value) for i, value in enumerate(table.column(name))}
        matches = {i: text for i, text in texts.items() if text in placeholders}
        skipped = {i: text for i, text in matches.items() if position == 0 or i in skipped}
    return skipped


def _placeholder_text(value: Any) -> str:
    try:
        return label_text(value) or ""
    except TypeError:  # a list of labels
        return ""


def require_targets(table: Table, name: str, rows: Sequence[int], targets: Sequence[Target | None]) -> None:
    """Check that each of these rows has a target.

    Raises:
        DataError: one has none; names the first and counts all.
    """
    empty = [i for i, target in zip(rows, targets, strict=True) if target is None]
    if empty:
        raise DataError(
            f'{table.where(empty[0])}: the label column "{name}" is empty; every row needs a target here '
            f"({len(empty):,} rows have none)."
        )


def _convert_values(table: Table, name: str, values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Each value converted, each distinct one once; a value that cannot be is named with its place."""
    converted_values: dict[tuple[type, Any], Any] = {}
    converted = []
    for i, value in enumerate(values):
        try:
            key = (type(value), value)
            if key not in converted_values:
                converted_values[key] = convert(value)
            converted.append(converted_values[key])
        except (TypeError, ValueError) as error:
            what = str(error)
            if isinstance(error, TypeError):
                what = f"{shorten(value)} is no single label; lists of labels need the kind multilabel"
            raise DataError(f'{table.where(i)}: label column "{name}": {what}.') from None
    return converted


def label_text(value: Any) -> str | None:
    """A label as a string: whole numbers without a fraction ("1", also for 1.0), others as they are, trimmed.

    The rule depends on one value only, so a label reads the same in train and dev.

    >>> label_text(1.0), label_text(" positive "), label_text("2.50"), label_text("")
    ('1', 'positive', '2.50', None)
    """
    if isinstance(value, str):
        value = value.strip()
        number_match = _WHOLE.fullmatch(value)
        return number_match[1] if number_match else value or None
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
        raise ValueError(f'"{shorten(value)}" is not a number{remedy}') from None
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    if abs(number) > _LARGEST:
        raise ValueError(f"{value} is more than a model can be trained on; scale the column down")
    return number


def class_namer(classes: Sequence[str]) -> Callable[[Any], str | None]:
    """A function from the number of a class to its name; -1 means that there is none, as in hidden test sets."""

    def name(value: Any) -> str | None:
        text = label_text(value)
        # A string may be the name itself; a number never is, even of a class that is called "1".
        if text is None or (isinstance(value, str) and text in classes):
            return text
        if text == "-1":
            return None
        if not text.isdecimal() or int(text) >= len(classes):
            raise ValueError(f"{shorten(value)} is none of the {len(classes)} classes {format_names(classes)}")
        return classes[int(text)]

    return name


def read_flag_targets(table: Table, names: tuple[str, ...], unlabeled: Container[int]) -> list[Target | None]:
    """Read the names of the 0/1 columns that are 1; None where all are missing.

    Raises:
        DataError: a value is neither 0 nor 1, or only some of the columns are empty.
    """
    flags: list[list[bool | None]] = []
    for name in names:
        values = _read_labeled_values(table, name, unlabeled)
        for i, value in enumerate(values):
            if not is_flag(value) and value not in (None, ABSENT, ""):
                raise DataError(f'{table.where(i)}: the column "{name}" should hold 0 or 1, found {shorten(value)}.')
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


def read_list_targets(
    table: Table, name: str, separator: str | None, unlabeled: Container[int], notes: list[str]
) -> tuple[list[Target | None], tuple[str, ...] | None]:
    """Read the labels of each row from a column of lists, of delimited texts or of 0/1 vectors.

    Args:
        table: whose rows are read.
        name: the column.
        separator: what separates the labels of a delimited text; None infers it.
        unlabeled: rows whose label means "no label"; see :func:`find_unlabeled`.
        notes: receives what was inferred.

    Returns:
        the labels of each row, and the labels that the table declares.

    Raises:
        DataError: a value is not a list of labels.
    """
    values, declared = _read_labeled_values(table, name, unlabeled), table.labels.get(name)
    if separator is None and (separator := infer_separator(table.source, name, values)) is not None:
        notes.append(
            f'{table.source}: the cells of "{name}" are split into labels at {separator!r} '
            "(inferred; data.label_separator=… overrides it)"
        )
    lists: list[list[Any] | None] = []
    for i, value in enumerate(values):
        try:
            lists.append(None if value is None or value is ABSENT else parse_list(value, separator))
        except ValueError as error:
            raise _no_list(table, i, name, value, error) from None
    if has_indicator_vectors(lists):
        return _indicator_targets(table, name, lists, notes), declared
    convert = label_text if declared is None else class_namer(declared)
    targets: list[Target | None] = []
    for i, items in enumerate(lists):
        try:
            labels = None if items is None else [convert(_unquote(item)) for item in items]
            if labels is not None and None in labels:
                raise ValueError("a label in it is empty")
        except (TypeError, ValueError) as error:
            raise _no_list(table, i, name, values[i], error) from None
        targets.append(None if labels is None else tuple(dict.fromkeys(label for label in labels if label)))
    return targets, declared


def _no_list(table: Table, i: int, name: str, value: Any, error: Exception) -> DataError:
    return DataError(f'{table.where(i)}: label column "{name}": {shorten(value)} is not a list of labels ({error}).')


def _unquote(item: Any) -> Any:
    """A label without the quotes around it in a delimited list: ``'a', 'b'``."""
    if isinstance(item, str) and re.fullmatch(r"""(['"]).*\1""", item.strip(), re.DOTALL) and len(item.strip()) > 2:
        return item.strip()[1:-1]
    return item


def _indicator_targets(
    table: Table, name: str, vectors: Sequence[Sequence[Any] | None], notes: list[str]
) -> list[Target | None]:
    """The labels of 0/1 vectors, named as the table declares them, else by their positions."""
    width = max(len(vector) for vector in vectors if vector is not None)
    classes = table.labels.get(name) or tuple(map(str, range(width)))
    if len(classes) != width:
        raise DataError(
            f'{table.source}: the vectors in "{name}" have {width} numbers, but the data set declares {len(classes)} '
            "classes; write lists of labels."
        )
    notes.append(
        f'{table.source}: the cells of "{name}" are read as 0/1 vectors, one number for each of the {width} labels '
        f"{format_names(classes)}"
    )
    flag_rows = [None if vector is None else [float(number) > 0 for number in vector] for vector in vectors]
    return [
        None if flags is None else tuple(label for label, flag in zip(classes, flags, strict=True) if flag)
        for flags in flag_rows
    ]
