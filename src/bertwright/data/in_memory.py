"""Rows that are in memory already: lists, tuples, dicts, examples, data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bertwright.data.dataset import ColumnNames
from bertwright.data.example import Example
from bertwright.data.table_files import Table, table_of_dicts
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError


def table_in_memory(source: Any, columns: ColumnNames, target: TargetSpec) -> tuple[Table, ColumnNames]:
    """The table of a source in memory, and the columns to use, which are known for tuples and examples.

    Args:
        source: a list of texts, tuples, dicts or examples, or a data frame.
        columns: those that the user names.
        target: the kind of target; it decides what the values of a tuple mean.

    Raises:
        DataError: the source is empty, or its items are of an unknown type or of several types.
    """
    name = type(source).__name__
    if type(source).__module__.partition(".")[0] == "pandas":
        return _of_pandas(source, columns)
    if isinstance(source, (Mapping, bytes)) or not isinstance(source, Iterable):
        raise DataError(
            f"{name}: cannot be read as rows; give a path, a list of texts, tuples or dicts, a DataFrame or a Dataset."
        )
    items = source.tolist() if hasattr(source, "tolist") else list(source)
    if not items:
        raise DataError(f"{name}: holds no rows; give at least one.")
    form = next((form for form in (str, Example, Mapping, tuple, list) if isinstance(items[0], form)), None)
    for i, item in enumerate(items):
        if form is None or not isinstance(item, form):
            expected = form.__name__ if form and i else "a text, a tuple, a dict or an Example"
            raise DataError(f"{name}[{i}]: expected {expected}, found {type(item).__name__}.")

    def where(i: int) -> str:
        return f"{name}[{i}]"

    if form is Mapping:
        return table_of_dicts([dict(item) for item in items], name, where), columns
    if form is Example:
        fields = {"id": [e.id for e in items], **target.example_columns(items)}
        fields["text_pair"] = [e.text_pair for e in items]
        pair = "text_pair" if any(value is not None for value in fields["text_pair"]) else None
        label = columns.label if columns.label == () else "label"
        table = Table(name, list(fields), len(items), fields.__getitem__, lambda i: items[i].where or where(i))
        choices, first = ("choices", 0) if "choices" in fields else (None, None)
        return table, ColumnNames("text", pair, label, "id", choices=choices, first_choice=first)
    rows = [(item,) for item in items] if form is str else target.prepare_items(items, where)
    return _of_tuples(rows, name, where, columns, target)


def _of_tuples(
    rows: list[Any], name: str, where: Callable[[int], str], columns: ColumnNames, target: TargetSpec
) -> tuple[Table, ColumnNames]:
    width = len(rows[0])
    names, expected = target.tuple_columns(width, labeled=columns.label != ())
    for i, row in enumerate(rows):
        if len(row) != width or width != len(names):
            raise DataError(f"{where(i)}: expected {expected}, the same for every row, found {len(row)} values.")
    values = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    label = columns.label if columns.label == () else "label" if "label" in names else None
    pair = "text_pair" if "text_pair" in names else None
    choices = "choices" if "choices" in names else None
    return Table(name, names, len(rows), values.__getitem__, where), ColumnNames("text", pair, label, choices=choices)


def _of_pandas(source: Any, columns: ColumnNames) -> tuple[Table, ColumnNames]:
    """A DataFrame, or a Series of texts; what pandas calls missing becomes None."""
    name = type(source).__name__
    if not len(source):
        raise DataError(f"{name}: holds no rows; give at least one.")
    if name == "Series":
        source, columns = source.to_frame("text"), ColumnNames("text", None, columns.label)
    names = [str(column) for column in source.columns]
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise DataError(f'{name}: two columns have the name "{twice}"; rename one of them.')

    def column(column_name: str) -> list[Any]:
        series = source.iloc[:, names.index(column_name)]
        return [None if gone else value for value, gone in zip(series.tolist(), series.isna().tolist(), strict=True)]

    return Table(name, names, len(source), column, lambda i: f"{name}[{i}]"), columns
