"""JSON files with rows in other shapes than a list of objects: wrapped lists, and the output of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

WORD_LISTS: Final = ("tokens", "words")
"""Lists of strings under these keys are the words of one row, not a column of texts."""

_WRAPPERS: Final = ("data", "rows", "examples", "records", "items", "results", "samples", "instances")
_SHAPE: Final = 'write the rows as [{"text": …, "label": …}, …] or as JSON Lines'


class JsonRows(NamedTuple):
    """Rows inside a JSON value.

    Attributes:
        rows: the rows; objects in a valid file.
        root: the path of the list of rows inside the file, such as ``data``; empty for the top level.
        note: what was inferred; None for a list of objects.
    """

    rows: Sequence[Any]
    root: str = ""
    note: str | None = None


def find_rows(value: dict[str, Any], source: str) -> JsonRows:
    """Find the rows in one JSON object: the object itself, a list in it, or the output of pandas' ``to_json``.

    Raises:
        DataError: there are several lists of rows, or columns of different lengths.
    """
    if _is_split(value):
        names = [str(name) for name in value["columns"]]
        for i, row in enumerate(value["data"]):
            if not isinstance(row, list) or len(row) != len(names):
                raise DataError(
                    f"{source}:data[{i}]: expected a list of {len(names)} values, one per column; {_SHAPE}."
                )
        rows = [dict(zip(names, row, strict=True)) for row in value["data"]]
        return JsonRows(rows, "data", 'read as pandas\' orient="split"')
    lists = {name: items for name, items in value.items() if isinstance(items, list) and _holds_objects(items)}
    if lists and not any(isinstance(item, str) for name, item in value.items() if name.lower() in ("text", "sentence")):
        name = next((name for name in _WRAPPERS if name in lists), next(iter(lists)))
        if len(lists) > 1 and name not in _WRAPPERS:
            raise DataError(f"{source}: has several lists of rows ({', '.join(lists)}); save each as a separate file.")
        return JsonRows(lists[name], name, f'reads the rows from the list "{name}"')
    if value and all(isinstance(item, dict) for item in value.values()):
        return _from_dicts(value, source)
    if value and all(isinstance(item, list) for item in value.values()) and not _is_row_of_words(value):
        return _from_lists(value, source)
    return JsonRows([value])


def describe(row: Any) -> str | None:
    """Describe an element that is not a row, or an object that a tool wraps around its rows; None if it is unknown."""
    if isinstance(row, list) and row and isinstance(row[0], dict):
        return "a list of objects; rename a file that is one JSON list to .json"
    if isinstance(row, list):
        return 'a list without column names, as pandas writes it with orient="values"; write it with orient="records"'
    if isinstance(row, dict) and isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list):
        return "a task of Label Studio's full JSON export; export the project as JSON-MIN instead"
    return None


def _is_split(value: dict[str, Any]) -> bool:
    """Whether the object is the output of pandas' ``orient="split"``."""
    columns, data = value.get("columns"), value.get("data")
    return isinstance(columns, list) and isinstance(data, list) and bool(data) and isinstance(data[0], list)


def _holds_objects(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) for item in items)


def _is_row_of_words(value: dict[str, Any]) -> bool:
    """Whether an object of lists is one row of words and tags."""
    return any(
        name.lower() in WORD_LISTS and all(isinstance(item, str) for item in items) for name, items in value.items()
    )


def _from_dicts(value: dict[str, dict[str, Any]], source: str) -> JsonRows:
    """The rows of an object of objects: pandas' default, by column, or ``orient="index"``, by row."""
    by_row = all(name.removeprefix("-").isdecimal() for name in value)
    if by_row:
        return JsonRows(list(value.values()), "", 'read as pandas\' orient="index", an object per row')
    index = list(next(iter(value.values())))
    for name, column in value.items():
        if list(column) != index:
            raise DataError(
                f'{source}: is read by column, as pandas\' to_json writes it by default, but the keys of "{name}" '
                f"({pluralize(len(column), 'value')}) differ from those of the first column ({len(index):,}); {_SHAPE}."
            )
    rows = [{name: column[key] for name, column in value.items()} for key in index]
    return JsonRows(rows, "", f"read by column, as pandas' to_json writes it by default: {', '.join(value)}")


def _from_lists(value: dict[str, list[Any]], source: str) -> JsonRows:
    """The rows of an object of lists, one per column."""
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {n:,}" for name, n in lengths.items())
        raise DataError(f"{source}: lists differ in length ({sizes}), so they cannot be columns; {_SHAPE}.")
    rows = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return JsonRows(rows, "", f"read by column, one list per column: {', '.join(value)}")
