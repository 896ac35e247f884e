"""Rows that are in memory already: lists, tuples, dicts, examples, data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bertwright.data.dataset import ColumnNames, Kind
from bertwright.data.example import Example
from bertwright.data.table_files import Table, table_of_dicts
from bertwright.errors import DataError


def in_memory(source: Any, columns: ColumnNames, kind: Kind = "classification") -> tuple[Table, ColumnNames]:
    """The table of an in-memory source, and the columns to use: those of tuples and examples are known.

    What the values of a tuple mean depends on the kind of target wanted.

    Raises:
        DataError: it is empty, of another kind, or of mixed kinds.
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
            due = form.__name__ if form and i else "a text, a tuple, a dict or an Example"
            raise DataError(f"{name}[{i}]: expected {due}, found {type(item).__name__}.")

    def where(i: int) -> str:
        return f"{name}[{i}]"

    if form is Mapping:
        return table_of_dicts([dict(item) for item in items], name, where), columns
    if form is Example:
        fields = {"id": [e.id for e in items], "text": [e.text for e in items], "label": [e.target for e in items]}
        if kind == "tagging":
            fields["text"] = items  # with the places of their words, which the text alone does not tell
        fields["text_pair"] = [e.text_pair for e in items]
        choices = None
        if kind == "multiple_choice":
            fields["choices"], choices = [e.choices for e in items], "choices"
        pair = "text_pair" if any(value is not None for value in fields["text_pair"]) else None
        label = columns.label if columns.label == () else "label"
        table = Table(name, list(fields), len(items), fields.__getitem__, lambda i: items[i].where or where(i))
        first = None if choices is None else 0
        return table, ColumnNames("text", pair, label, "id", choices=choices, first_choice=first)
    rows = [(item,) for item in items] if form is str else items
    if kind == "tagging" and form is not str:
        rows = _of_words(rows, where)
    return _of_tuples(rows, name, where, columns, kind)


def _of_words(rows: list[Any], where: Any) -> list[Any]:
    """Each row as (words,) or (words, tags); a row of texts alone is a list of words."""
    plain = [all(isinstance(item, str) for item in row) for row in rows]
    for i, row in enumerate(rows):
        if plain[i] != plain[0] or not (plain[i] or len(row) == 2):
            raise DataError(f"{where(i)}: expected (words, tags) or a list of words, the same for every row.")
    return [(row,) for row in rows] if plain[0] else rows


def _of_tuples(
    rows: list[Any], name: str, where: Any, columns: ColumnNames, kind: Kind = "classification"
) -> tuple[Table, ColumnNames]:
    width = len(rows[0])
    if kind == "qa":
        names = ["text", "text_pair", "label"][:width] if width > 1 else []
        meant = "(question, context) or (question, context, answers)"
    elif kind == "multiple_choice":
        names = ["text", "choices", "label"][:width] if width > 1 else []
        meant = "(context, choices) or (context, choices, label)"
    elif kind == "tagging":
        names = ["text", "label"][:width]
        meant = "(words, tags) or words"
    elif columns.label == ():
        names = ["text", "text_pair"][:width]
        meant = "(text,) or (text, text_pair)"
    else:
        names = {1: ["text"], 2: ["text", "label"], 3: ["text", "text_pair", "label"]}.get(width, [])
        meant = "(text, label) or (text, text_pair, label)"
    for i, row in enumerate(rows):
        if len(row) != width or width != len(names):
            raise DataError(f"{where(i)}: expected {meant}, the same for every row, found {len(row)} values.")
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
        raise DataError(f'{name}: two columns are named "{twice}"; rename one of them.')

    def column(wanted: str) -> list[Any]:
        series = source.iloc[:, names.index(wanted)]
        return [None if gone else value for value, gone in zip(series.tolist(), series.isna().tolist(), strict=True)]

    return Table(name, names, len(source), column, lambda i: f"{name}[{i}]"), columns
